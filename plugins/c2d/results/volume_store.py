"""The results volume, where each job has a folder. Publish's pod mounts this folder only."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from c2d.contract import MANIFEST, DirectoryTarget, ManifestEntry, StoreCids, Target
from c2d.errors import ResultStoreError


class VolumeResultStore:
    """A job's folder (:class:`c2d.results.stores.ResultStore`)."""

    def __init__(self, volume: Path, job_name: str):
        self.folder = volume / job_name

    def upload_rights(self, seconds: int, log_bytes: int) -> Target:
        return DirectoryTarget(path="/results")

    def answer_plan(self, seconds: int) -> bool:
        """Publish writes files directly and has no plans."""
        return False

    def manifest(self, cids: StoreCids) -> bytes:
        try:
            return (self.folder / MANIFEST).read_bytes()
        except OSError as e:
            raise ResultStoreError(f"the manifest cannot be read ({e.strerror})") from None

    def verify(self, entries: Sequence[ManifestEntry], cids: StoreCids) -> None:
        for entry in entries:
            file = self.folder / entry.in_store.path
            if not file.is_file() or file.stat().st_size != entry.in_store.size:
                raise ResultStoreError(f"{entry.path}: is not in the store as it was sent")

    def remove(self, cids: StoreCids) -> None:
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as e:
            raise ResultStoreError(f"the results volume cannot be written ({e.strerror})") from None
