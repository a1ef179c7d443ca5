"""The results volume, where each job has a folder. Publish's pod mounts this folder only."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from c2d.errors import ResultStoreError
from c2d.results.entries import Entry, path, stored_path, stored_size


class VolumeResultStore:
    """A job's folder (:class:`c2d.results.stores.ResultStore`)."""

    def __init__(self, volume: Path, job_name: str):
        self.folder = volume / job_name

    def upload_rights(self, seconds: int, log_bytes: int) -> dict[str, Any]:
        return {"type": "directory", "path": "/results"}

    def answer_plan(self, seconds: int) -> bool:
        """Publish writes files directly and has no plans."""
        return False

    def manifest(self, cids: dict[str, Any]) -> bytes:
        try:
            return (self.folder / "manifest.json").read_bytes()
        except OSError as e:
            raise ResultStoreError(f"the manifest cannot be read ({e.strerror})") from None

    def verify(self, entries: list[Entry], cids: dict[str, Any]) -> None:
        for entry in entries:
            file = self.folder / stored_path(entry)
            if not file.is_file() or file.stat().st_size != stored_size(entry):
                raise ResultStoreError(f"{path(entry)}: is not in the store as it was sent")

    def remove(self, cids: dict[str, Any]) -> None:
        try:
            shutil.rmtree(self.folder)
        except FileNotFoundError:
            return
        except OSError as e:
            raise ResultStoreError(f"the results volume cannot be written ({e.strerror})") from None
