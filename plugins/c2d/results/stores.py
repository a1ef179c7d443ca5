"""The stores of a job's results from the operator's side: what publish may do there, whether the results have arrived, their removal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from c2d.errors import ResultStoreError
from c2d.jobs.ids import object_name
from c2d.results.destinations import Destination, Destinations, storage_term
from c2d.results.entries import Entry, is_admin_log
from c2d.results.ipfs_store import IpfsResultStore
from c2d.results.s3_store import S3ResultStore
from c2d.results.volume_store import VolumeResultStore
from c2d.settings.installation import Environment, Settings

PLAN_LINE = "plan "
"""A line of publish's log that begins so announces an upload plan in the store."""

Cids = dict[str, Any]
"""``cid`` of the job's directory and ``manifest`` of its manifest, as publish answered them; empty unless the store is IPFS."""


class ResultStore(Protocol):
    """One job's part of one store."""

    def upload_rights(self, seconds: int, log_bytes: int) -> dict[str, Any]:
        """The target in publish's stage.json (``store`` or ``adminLogs``), with rights that end after ``seconds``.

        :param log_bytes: the size of the largest log.
        :raises ResultStoreError: the store cannot give the pod these rights, or gives it more.
        """

    def answer_plan(self, seconds: int) -> bool:
        """Answers the upload plan that the pod has put into the store; False if there is none.

        :raises ResultStoreError: the plan asks for something outside the job's results.
        """

    def manifest(self, cids: Cids) -> bytes:
        """The stored manifest.

        :raises ResultStoreError: there is none.
        """

    def verify(self, entries: list[Entry], cids: Cids) -> None:
        """Returns if the store has every file as the pod sent it. IPFS pins them.

        :raises ResultStoreError: naming the first file that is missing or different.
        """

    def remove(self, cids: Cids) -> None:
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

    manifest: dict[str, Any]
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

    def upload_rights(self, seconds: int) -> dict[str, Any]:
        """``store`` and ``adminLogs`` of publish's stage.json.

        :raises ResultStoreError: as :meth:`ResultStore.upload_rights`.
        """
        rights = {"store": self.results.upload_rights(seconds, self.env.C2D_LOG_BYTES)}
        if self.destinations.admin_logs != self.destinations.results:
            rights["adminLogs"] = self.store(self.destinations.admin_logs).upload_rights(seconds, self.env.C2D_LOG_BYTES)
        return rights

    def answer_plans(self, seconds: int) -> None:
        """Answers the pod's plan. The line in its log does not name the store, so all are searched.

        :raises ResultStoreError: no store has a plan, or it asks for something outside the job's results.
        """
        if not any([self.store(destination).answer_plan(seconds) for destination in self.destinations.all]):
            raise ResultStoreError("the plan is not in the store")

    def remove_partial_uploads(self) -> None:
        """Removes what a run that failed has left in the stores."""
        for destination in self.destinations.all:
            self.store(destination).remove({})

    def verify_published(self, answer: dict[str, Any], open_manifest: Callable[[bytes], bytes] = bytes) -> Published:
        """The manifest and the stores, once every file of the manifest has been found in its store.

        :param answer: publish's.
        :param open_manifest: decrypts the stored manifest; raises ValueError if publish did not write it.
        :raises ResultStoreError: a file is missing or different.
        """
        all_cids = answer.get("stores") or {}
        cids = dict(all_cids.get("results") or {})
        manifest = self._manifest(answer, cids, open_manifest)
        term = storage_term(self.env, self.destinations.results)
        # Expiry needs the term in the row if the environment is no longer in the settings.
        details = {**cids, **({"keptSeconds": int(term.total_seconds())} if term else {})}
        stores = {"results": self.destinations.results.dump(**details)}
        entries = manifest["files"]
        if self.destinations.admin_logs == self.destinations.results:
            self.results.verify(entries, cids)
            return Published(manifest, stores)
        admin_cids = dict(all_cids.get("adminLogs") or {})
        self.results.verify([e for e in entries if not is_admin_log(e)], cids)
        self.store(self.destinations.admin_logs).verify([e for e in entries if is_admin_log(e)], admin_cids)
        return Published(manifest, {**stores, "adminLogs": self.destinations.admin_logs.dump(**admin_cids)})

    def _manifest(self, answer: dict[str, Any], cids: Cids, open_manifest: Callable[[bytes], bytes]) -> dict[str, Any]:
        try:
            content = open_manifest(self.results.manifest(cids))
        except ValueError as e:
            raise ResultStoreError(str(e)) from None
        if hashlib.sha256(content).hexdigest() != answer.get("manifestSha256"):
            raise ResultStoreError("the manifest's sha256 differs from publish's answer")
        return dict(json.loads(content))
