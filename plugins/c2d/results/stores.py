"""The stores of a job's results, as the operators see them: what a pod may do there, whether all has arrived, and its removal."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from c2d.errors import ResultStoreError
from c2d.hooks.ipfs import IpfsResultStore
from c2d.hooks.s3 import S3ResultStore
from c2d.jobs.ids import object_name
from c2d.results.destinations import Destination, Destinations, is_admin_log, kept_for
from c2d.settings.installation import Environment, Settings

PLAN_LINE = "plan "
"""How a line of publish's log begins that says: a plan is in the store, please answer."""


class ResultStore(Protocol):
    """One store of one job. What publish answered about it is ``kept`` (``stores`` of its answer)."""

    def right(self, seconds: int, log_bytes: int) -> dict[str, Any]:
        """``store`` or ``adminLogs`` of publish's stage.json: a right that ends after ``seconds``."""

    def answer(self, seconds: int) -> bool:
        """Answers the plan that the pod has put into the store; False: there is none."""

    def manifest(self, kept: dict[str, Any]) -> bytes:
        """The manifest as it lies in the store. :raises ResultStoreError: there is none."""

    def verify(self, files: list[dict[str, Any]], kept: dict[str, Any]) -> None:
        """:raises ResultStoreError: a file of the manifest is not in the store as it was sent."""

    def remove(self, kept: dict[str, Any]) -> None:
        """Removes everything of the job, also what a failed run left half."""


class VolumeResultStore:
    """The results volume; each job has its folder."""

    def __init__(self, path: Path, job_name: str):
        self.folder = path / job_name

    def right(self, seconds: int, log_bytes: int) -> dict[str, Any]:
        return {"type": "directory", "path": "/results"}

    def answer(self, seconds: int) -> bool:
        return False

    def manifest(self, kept: dict[str, Any]) -> bytes:
        try:
            return (self.folder / "manifest.json").read_bytes()
        except OSError as e:
            raise ResultStoreError(f"the manifest cannot be read ({e.strerror})") from None

    def verify(self, files: list[dict[str, Any]], kept: dict[str, Any]) -> None:
        for file in files:
            lies = file.get("stored", file)
            path = self.folder / lies["path"]
            if not path.is_file() or path.stat().st_size != lies["size"]:
                raise ResultStoreError(f"{file['path']}: is not in the store as it was sent")

    def remove(self, kept: dict[str, Any]) -> None:
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

    def rights(self, seconds: int) -> dict[str, Any]:
        """``store`` and ``adminLogs`` of publish's stage.json."""
        given = {"store": self.at(self.destinations.results).right(seconds, self.env.C2D_LOG_BYTES)}
        if self.destinations.admin_logs != self.destinations.results:
            given["adminLogs"] = self.at(self.destinations.admin_logs).right(seconds, self.env.C2D_LOG_BYTES)
        return given

    def answer_plans(self, seconds: int) -> None:
        """Answers what a pod asks for in a plan; a line of its log does not say in which store that is.

        :raises ResultStoreError: in none, or it asks for what is not the job's.
        """
        if not any([self.at(place).answer(seconds) for place in self.destinations.all]):
            raise ResultStoreError("the plan is not in the store")

    def published(self, answer: dict[str, Any], opened: Callable[[bytes], bytes] = bytes) -> tuple[dict[str, Any], dict[str, Any]]:
        """The manifest, once everything in it is seen to be in its store, and what the job's row keeps of the stores.

        :param answer: publish's.
        :param opened: gives the manifest's text for what lies in the store; raises ValueError where it is not what publish wrote.
        :raises ResultStoreError: something is not there, or not as it was sent.
        """
        kept = answer.get("stores") or {}
        of_results = dict(kept.get("results") or {})
        try:
            content = opened(self.at(self.destinations.results).manifest(of_results))
        except ValueError as e:
            raise ResultStoreError(str(e)) from None
        if hashlib.sha256(content).hexdigest() != answer.get("manifestSha256"):
            raise ResultStoreError("the manifest's sha256 is not what publish said")
        manifest = dict(json.loads(content))
        kept_here = kept_for(self.env, self.destinations.results)
        term = {"keptSeconds": int(kept_here.total_seconds())} if kept_here else {}  # for when the environment is not in the settings
        stores = {"results": self.destinations.results.dump(**of_results, **term)}
        if self.destinations.admin_logs == self.destinations.results:
            self.at(self.destinations.results).verify(manifest["files"], of_results)
            return manifest, stores
        of_logs = dict(kept.get("adminLogs") or {})
        for place, files_of, named in ((self.destinations.results, False, of_results), (self.destinations.admin_logs, True, of_logs)):
            self.at(place).verify([f for f in manifest["files"] if is_admin_log(f) == files_of], named)
        return manifest, {**stores, "adminLogs": self.destinations.admin_logs.dump(**of_logs)}
