"""The stores of a job's results from the operator's side: what publish may do there, whether the results have arrived, their removal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from c2d.contract import Manifest, ManifestEntry, PublishAnswer, StoreCids, StoresAnswer, Target, is_admin_log
from c2d.errors import ResultStoreError
from c2d.jobs.ids import object_name
from c2d.results.destinations import Destination, Destinations, storage_term
from c2d.results.ipfs_store import IpfsResultStore
from c2d.results.s3_store import S3ResultStore
from c2d.results.volume_store import VolumeResultStore
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings


class UploadRights(NamedTuple):
    """What publish's pod may do in the job's stores. admin_logs: None if they go to the store of the results."""

    store: Target
    admin_logs: Target | None


class ResultStore(Protocol):
    """One job's part of one store. ``cids`` are what publish answered about it; they are empty unless the store is IPFS."""

    def upload_rights(self, seconds: int, log_bytes: int) -> Target:
        """The target in publish's stage.json (``store`` or ``adminLogs``), with rights that end after ``seconds``.

        :param log_bytes: the size of the largest log.
        :raises ResultStoreError: the store cannot give the pod these rights, or gives it more.
        """

    def answer_plan(self, seconds: int) -> bool:
        """Answers the upload plan that the pod has put into the store; False if there is none.

        :raises ResultStoreError: the plan asks for something outside the job's results.
        """

    def manifest(self, cids: StoreCids) -> bytes:
        """The stored manifest.

        :raises ResultStoreError: there is none.
        """

    def verify(self, entries: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """Returns if the store has every file as the pod sent it. IPFS pins them.

        :raises ResultStoreError: naming the first file that is missing or different.
        """

    def remove(self, cids: StoreCids) -> None:
        """Removes everything of the job, including partial uploads of a failed run.

        :raises ResultStoreError: the store refuses.
        """


def result_store(destination: Destination, env: Environment, settings: Settings, job_id: str) -> ResultStore:
    """The job's part of the store."""
    name = object_name(job_id)
    if destination.type == "s3":
        return S3ResultStore(env, destination.location, name)
    if destination.type == "ipfs":
        return IpfsResultStore(env, destination.location, destination.prefix, name)
    return VolumeResultStore(settings.C2D_RESULTS_PATH, name)


class Published(NamedTuple):
    """manifest: of the published files. stores: the record of the stores in the job's row."""

    manifest: Manifest
    stores: dict[str, Any]


@dataclass
class JobResultStores:
    """All stores of one job."""

    destinations: Destinations
    env: Environment
    settings: Settings
    job_id: str

    def store(self, destination: Destination) -> ResultStore:
        """The job's part of one of its stores."""
        return result_store(destination, self.env, self.settings, self.job_id)

    @property
    def results(self) -> ResultStore:
        """The store of the results and the manifest."""
        return self.store(self.destinations.results)

    def upload_rights(self, seconds: int) -> UploadRights:
        """``store`` and ``adminLogs`` of publish's stage.json.

        :raises ResultStoreError: as :meth:`ResultStore.upload_rights`.
        """
        store = self.results.upload_rights(seconds, self.env.C2D_LOG_BYTES)
        if self.destinations.admin_logs == self.destinations.results:
            return UploadRights(store, None)
        return UploadRights(store, self.store(self.destinations.admin_logs).upload_rights(seconds, self.env.C2D_LOG_BYTES))

    def answer_plans(self, seconds: int) -> None:
        """Answers the pod's plan. The line in its log does not name the store, so all are searched.

        :raises ResultStoreError: no store has a plan, or it asks for something outside the job's results.
        """
        if not any([self.store(destination).answer_plan(seconds) for destination in self.destinations.all]):
            raise ResultStoreError("the plan is not in the store")

    def remove_partial_uploads(self) -> None:
        """Removes what a run that failed has left in the stores."""
        for destination in self.destinations.all:
            self.store(destination).remove(StoreCids())

    def verify_published(self, answer: PublishAnswer, open_manifest: Callable[[bytes], bytes] = bytes) -> Published:
        """The manifest and the stores, once every file of the manifest has been found in its store.

        :param answer: publish's.
        :param open_manifest: decrypts the stored manifest; raises ValueError if publish did not write it.
        :raises ResultStoreError: a file is missing or different.
        """
        cids = answer.stores or StoresAnswer(results=StoreCids(), adminLogs=StoreCids())
        manifest = self._manifest(answer, cids.results, open_manifest)
        term = storage_term(self.env, self.destinations.results)
        # Expiry needs the term in the row if the environment is no longer in the settings.
        details = {**cids.results.to_json(), **({"keptSeconds": int(term.total_seconds())} if term else {})}
        stores = {"results": self.destinations.results.dump(**details)}
        if self.destinations.admin_logs == self.destinations.results:
            self.results.verify(manifest.files, cids.results)
            return Published(manifest, stores)
        self.results.verify([e for e in manifest.files if not is_admin_log(e.type)], cids.results)
        self.store(self.destinations.admin_logs).verify([e for e in manifest.files if is_admin_log(e.type)], cids.adminLogs)
        return Published(manifest, {**stores, "adminLogs": self.destinations.admin_logs.dump(**cids.adminLogs.to_json())})

    def _manifest(self, answer: PublishAnswer, cids: StoreCids, open_manifest: Callable[[bytes], bytes]) -> Manifest:
        try:
            content = open_manifest(self.results.manifest(cids))
        except ValueError as e:
            raise ResultStoreError(str(e)) from None
        if hashlib.sha256(content).hexdigest() != answer.manifestSha256:
            raise ResultStoreError("the manifest's sha256 differs from publish's answer")
        try:
            return Manifest.from_json(json.loads(content))
        except ValueError as e:
            raise ResultStoreError(f"the manifest: {e}") from None
