"""publish: brings the results to their store, and the job to its end."""

from __future__ import annotations

import secrets
from typing import Any

from airflow.sdk.exceptions import AirflowFailException

from c2d.contract import PLAN_LINE, PublishAnswer
from c2d.database.jobs import JobRepository
from c2d.database.retention import Retention
from c2d.errors import ManifestRejected, ResultStoreError
from c2d.jobs import ids
from c2d.jobs.status import Reason, Stage, StageEnd, Status
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import publish_input, secret_content
from c2d.pods.status import PodEnd
from c2d.results import keys
from c2d.results.destinations import destinations
from c2d.results.stores import JobResultStores, Published


class PublishOperator(C2DPodOperator):
    """Runs whatever happened before, so that logs always reach the owner. Ends the job and removes its objects.

    The task fails where the job failed, so that the DAG run tells the truth; its message says that the results were published all the same.
    """

    stage = Stage.PUBLISH
    _published: Published | None = None
    """What this try has verified."""

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.PUBLISHING)

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        kept = keys.new_keys(self.job_id, self.job, self.environment, self.settings.public_key)
        if kept:
            kept = self.store.store_result_keys(self.job_id, kept)
        encryption_keys = keys.for_publish(kept, self.settings.OPERATOR_PRIVATE_KEY, self.job_id)
        try:
            rights = self._results.upload_rights(self._seconds)
        except ResultStoreError as e:
            raise ManifestRejected(str(e)) from None
        return secret_content(publish_input(self.job_id, self.environment, ends_ok, rights.store, rights.admin_logs, encryption_keys))

    def make_pod(self, ends_ok: dict[Stage, bool], may_exist: bool) -> dict[str, Any]:
        row = self.store.job(self.job_id)
        if row is not None and row.dateFinished is not None and self.pods.owner(ids.object_name(self.job_id)) is None:
            raise ManifestRejected("the job had ended, and its volume is gone: there is nothing left to publish")
        return super().make_pod(ends_ok, may_exist)

    def secret_name(self) -> str:
        """A new one for each pod: the rights of a former one have ended, or soon will."""
        return f"{super().secret_name()}-{secrets.token_hex(4)}"

    def heard(self, line: str) -> None:
        if line.startswith(PLAN_LINE):
            try:
                self._results.answer_plans(self._seconds)
            except ResultStoreError as e:
                raise ManifestRejected(f"the plan of publish is refused: {e}") from None

    def stopped(self, store: JobRepository) -> None:
        Retention(store).abandon(self.job_id, destinations(self.environment).dump())

    @property
    def _results(self) -> JobResultStores:
        return JobResultStores(destinations(self.environment), self.environment, self.settings, self.job_id)

    @property
    def _seconds(self) -> int:
        """How long a right lives: until the pod must have ended, also one that waited to be started."""
        return self.environment.C2D_STAGE_SECONDS + self.environment.C2D_START_SECONDS

    def record(self, end: PodEnd) -> StageEnd:
        of_stage = end.of_stage(self.stage)
        if of_stage.ok:
            try:
                self._published = self._verified(of_stage)
            except ResultStoreError as e:
                of_stage = StageEnd(self.stage, Reason.ERROR, message=f"what was published cannot be verified: {e}")
        return self.store.end_stage(self.job_id, of_stage, end.started, end.finished)

    def conclude(self, end: StageEnd) -> None:
        row = self.store.job(self.job_id)
        # By a former try: then the manifest's key may be gone. At 62 it ended without results, which are there now.
        ended = row is not None and row.dateFinished is not None and row.status != Status.UPLOAD_FAILED
        published = (self._published or self._verified(end)) if end.ok and not ended else None
        if published:
            outcome = self.store.finish_job(self.job_id, published.manifest.to_json(), published.stores)
        else:
            outcome = self.store.finish_job(self.job_id)
        if end.ok:
            self.pods.delete_owner(ids.object_name(self.job_id))
        details = outcome.terminationDetails
        if not end.ok:
            raise AirflowFailException(f"publish: {end.message or end.reason}")  # the volume stays for the janitor's grace time
        if not outcome.ok:
            raise AirflowFailException(f"the job failed, its logs are published: {details['reason']}: {details['message']}")

    def _verified(self, end: StageEnd) -> Published:
        """What a successful publish has published. :raises ResultStoreError: something is missing, or not as it was sent."""
        if not isinstance(end.answer, PublishAnswer):
            raise ResultStoreError("publish did not answer what it has published")
        result_keys = self.store.result_keys(self.job_id)

        def opened(content: bytes) -> bytes:
            return keys.open_manifest(content, result_keys, self.settings.OPERATOR_PRIVATE_KEY, self.job_id)

        return self._results.verify_published(end.answer, opened)
