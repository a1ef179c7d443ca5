"""publish: brings the results to their store, and the job to its end."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from c2d import keys, objects
from c2d.operators.pod import C2DPodOperator
from c2d.pod_state import PodEnd
from c2d.status import Reason, Stage, StageEnd, Status


class BadManifest(ValueError):
    """The manifest in the store is not the one that publish wrote."""


class PublishOperator(C2DPodOperator):
    """Runs whatever happened before, so that logs always reach the owner. Ends the job and removes its objects.

    The task fails where the job failed, so that the DAG run tells the truth; its message says that the results were published all the same.
    """

    stage = Stage.PUBLISH

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.PUBLISHING)

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        kept = keys.new_keys(self.job_id, self.job, self.environment, self.settings.public_key)
        if kept:
            kept = self.store.keep_keys(self.job_id, kept)
        encryption = keys.for_publish(kept, self.settings.OPERATOR_PRIVATE_KEY, self.job_id)
        return objects.stage_input(self.stage, self.job_id, self.job, self.environment, ends_ok, encryption=encryption)

    def record(self, end: PodEnd) -> StageEnd:
        of_stage = end.of_stage(self.stage)
        if of_stage.ok:
            try:
                self._manifest(of_stage)
            except (OSError, BadManifest) as e:
                of_stage = StageEnd(self.stage, Reason.ERROR, message=f"the published manifest cannot be verified: {e}")
        return self.store.end_stage(self.job_id, of_stage, end.started, end.finished)

    def conclude(self, end: StageEnd) -> None:
        row = self.store.job(self.job_id)
        ended = row is not None and row.dateFinished is not None  # by a former try: then the manifest's key may be gone
        outcome = self.store.finish_job(self.job_id, self._manifest(end) if end.ok and not ended else None)
        if end.ok:
            self.pods.delete_owner(objects.object_name(self.job_id))
        details = outcome.terminationDetails
        if not end.ok:
            raise AirflowFailException(f"publish: {end.message or end.reason}")  # the volume stays for the janitor's grace time
        if not outcome.ok:
            raise AirflowFailException(f"the job failed, its logs are published: {details['reason']}: {details['message']}")

    def _manifest(self, end: StageEnd) -> dict[str, Any]:
        path = self.settings.C2D_RESULTS_PATH / objects.object_name(self.job_id) / "manifest.json"
        kept = self.store.result_keys(self.job_id)
        try:
            content = keys.open_manifest(path.read_bytes(), kept, self.settings.OPERATOR_PRIVATE_KEY, self.job_id)
        except ValueError as e:
            raise BadManifest(str(e)) from None
        return read_manifest(content, str(end.answer.get("manifestSha256", "")))


def read_manifest(content: bytes, sha256: str) -> dict[str, Any]:
    """The manifest in ``content``.

    :raises BadManifest: its digest is not ``sha256``.
    """
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadManifest("its sha256 is not what publish said")
    return dict(json.loads(content))
