"""The stores of a job's results, as the operators see them: what a pod may do there, whether all has arrived, and its removal."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from c2d.contract import (
    MANIFEST,
    DirectoryTarget,
    Manifest,
    ManifestEntry,
    PublishAnswer,
    StoreCids,
    StoresAnswer,
    Target,
    is_admin_log,
)
from c2d.errors import ResultStoreError
from c2d.hooks.ipfs import IpfsResultStore
from c2d.hooks.s3 import S3ResultStore
from c2d.jobs.ids import object_name
from c2d.results.destinations import Destination, Destinations, kept_for
from c2d.settings.installation import Environment, Settings


class Rights(NamedTuple):
    """What publish's pod may do in the job's stores. ``admin_logs``: None if they go to the store of the results."""

    store: Target
    admin_logs: Target | None


class Published(NamedTuple):
    """What publish has brought to the job's stores. ``stores``: what the job's row says of them (:meth:`Destination.dump`)."""

    manifest: Manifest
    stores: dict[str, Any]


class ResultStore(Protocol):
    """One store of one job. ``cids``: what publish answered about the store; empty unless it is in IPFS."""

    def right(self, seconds: int, log_bytes: int) -> Target:
        """What publish's pod may do in the store, for ``seconds``.

        :raises ResultStoreError: the store refuses, or the pod would get more rights than it needs.
        """

    def answer(self, seconds: int) -> bool:
        """Answer the plan that the pod has put into the store. False: there is none.

        :raises ResultStoreError: the plan asks for something outside of the job's results.
        """

    def manifest(self, cids: StoreCids) -> bytes:
        """The manifest as it is stored. :raises ResultStoreError: there is none."""

    def verify(self, files: Sequence[ManifestEntry], cids: StoreCids) -> None:
        """:raises ResultStoreError: a file of the manifest is not in the store as it was sent."""

    def remove(self, cids: StoreCids) -> None:
        """Remove everything of the job, including what a failed run has left."""


class VolumeResultStore:
    """The results volume. Each job has a folder there, which its publish pod sees as /results."""

    def __init__(self, path: Path, job_name: str):
        self.folder = path / job_name

    def right(self, seconds: int, log_bytes: int) -> Target:
        return DirectoryTarget(path="/results")

    def answer(self, seconds: int) -> bool:
        return False

    def manifest(self, cids: StoreCids) -> bytes:
        try:
            return (self.folder / MANIFEST).read_bytes()
        except OSError as e:
            raise ResultStoreError(f"the manifest cannot be read ({e.strerror})") from None

    def verify(self, files: Sequence[ManifestEntry], cids: StoreCids) -> None:
        for file in files:
            path = self.folder / file.in_store.path
            if not path.is_file() or path.stat().st_size != file.in_store.size:
                raise ResultStoreError(f"{file.path}: is not in the store as it was sent")

    def remove(self, cids: StoreCids) -> None:
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as e:
            raise ResultStoreError(f"the results volume cannot be written ({e.strerror})") from None


def results_at(place: Destination, env: Environment, settings: Settings, job_id: str) -> ResultStore:
    """The job's part of one store."""
    name = object_name(job_id)
    if place.type == "s3":
        return S3ResultStore(env, place.at, name)
    if place.type == "ipfs":
        return IpfsResultStore(env, place.at, place.prefix, name)
    return VolumeResultStore(settings.C2D_RESULTS_PATH, name)


@dataclass
class JobResultStores:
    """All stores of one job."""

    destinations: Destinations
    env: Environment
    settings: Settings
    job_id: str

    def at(self, place: Destination) -> ResultStore:
        return results_at(place, self.env, self.settings, self.job_id)

    def rights(self, seconds: int) -> Rights:
        """What the pod may do, for ``seconds``. :raises ResultStoreError: a store refuses."""
        store = self.at(self.destinations.results).right(seconds, self.env.C2D_LOG_BYTES)
        if self.destinations.admin_logs == self.destinations.results:
            return Rights(store, None)
        return Rights(store, self.at(self.destinations.admin_logs).right(seconds, self.env.C2D_LOG_BYTES))

    def answer_plans(self, seconds: int) -> None:
        """Answer the plans in all stores: the line in the pod's log does not name the store.

        :raises ResultStoreError: there is no plan, or one asks for something outside of the job's results.
        """
        if not any([self.at(place).answer(seconds) for place in self.destinations.all]):
            raise ResultStoreError("the plan is not in the store")

    def published(self, answer: PublishAnswer, opened: Callable[[bytes], bytes] = bytes) -> Published:
        """The manifest, once everything in it is known to be in its store.

        :param opened: decrypts a stored manifest; raises ValueError if it is not what publish wrote.
        :raises ResultStoreError: something is missing, or not as it was sent.
        """
        cids = answer.stores or StoresAnswer(results=StoreCids(), adminLogs=StoreCids())
        manifest = self._manifest(answer, cids.results, opened)
        logs_apart = self.destinations.admin_logs != self.destinations.results
        self.at(self.destinations.results).verify([f for f in manifest.files if not (logs_apart and is_admin_log(f.type))], cids.results)
        kept_here = kept_for(self.env, self.destinations.results)
        term = {"keptSeconds": int(kept_here.total_seconds())} if kept_here else {}  # for when the environment is not in the settings
        stores = {"results": self.destinations.results.dump(**cids.results.to_json(), **term)}
        if logs_apart:
            self.at(self.destinations.admin_logs).verify([f for f in manifest.files if is_admin_log(f.type)], cids.adminLogs)
            stores["adminLogs"] = self.destinations.admin_logs.dump(**cids.adminLogs.to_json())
        return Published(manifest, stores)

    def _manifest(self, answer: PublishAnswer, cids: StoreCids, opened: Callable[[bytes], bytes]) -> Manifest:
        try:
            content = opened(self.at(self.destinations.results).manifest(cids))
        except ValueError as e:
            raise ResultStoreError(str(e)) from None
        if hashlib.sha256(content).hexdigest() != answer.manifestSha256:
            raise ResultStoreError("the manifest's sha256 is not the one that publish answered")
        try:
            return Manifest.from_json(json.loads(content))
        except ValueError as e:
            raise ResultStoreError(f"the manifest: {e}") from None
