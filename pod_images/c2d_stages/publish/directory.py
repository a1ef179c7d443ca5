"""Results in a folder on a mounted volume."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence

from c2d.contract import MANIFEST, DirectoryTarget, Manifest, StoreCids
from c2d.errors import InvalidField
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.common.untrusted_files import NotRegular, new_buffer, regular_below
from c2d_stages.publish.content import checked
from c2d_stages.publish.store import Item, Location, Run

MANIFEST_BYTES = 64 << 20


class DirectoryStore:
    """A folder. Files are staged beside their place, so that commit is two renames."""

    def __init__(self, target: DirectoryTarget, name: str, paths: Paths):
        if not target.path.startswith("/") or ".." in target.path.split("/"):
            raise InvalidField(f"{name}.path", "must be an absolute path without ..")
        self.path = paths.root + target.path.rstrip("/")
        self._staging = f"{self.path}/.staging"
        self._folders: set[str] = set()
        self._begun = False

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """Raises StageError if the folder holds another job's results."""
        try:
            with open(f"{self.path}/{MANIFEST}", "rb") as file:
                stored = file.read(MANIFEST_BYTES)
        except FileNotFoundError:
            return None
        try:
            text = opened(stored)
            manifest = Manifest.from_json(json.loads(text))
        except (ValueError, RecursionError):
            return None
        if manifest.job != job:
            raise StageError("store: holds the results of another job", "store")
        buffer = new_buffer()
        try:
            for entry in manifest.files:
                digest = hashlib.sha256()
                for chunk in self._read(entry.in_store.path, buffer):
                    digest.update(chunk)
                if digest.hexdigest() != entry.in_store.sha256:
                    return None
        except (OSError, NotRegular):
            return None
        return text

    def _read(self, path: str, chunk: memoryview) -> Iterator[memoryview]:
        """The content of a published file. Raises NotRegular or OSError."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with regular_below(folder, path) as (fd, _):
                while count := os.readv(fd, [chunk]):
                    yield chunk[:count]
        finally:
            os.close(folder)

    def put(self, items: Sequence[Item], run: Run) -> dict[str, Location]:
        os.makedirs(self.path, exist_ok=True)
        if not self._begun:
            _remove(self._staging)
            os.makedirs(f"{self._staging}/data")
            self._begun = True
        for item in items:
            self._put(item, run)
        return {}

    def _put(self, item: Item, run: Run) -> None:
        place = f"{self._staging}/{item.path}"
        folder = os.path.dirname(place)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            for piece in run.progress.counted(checked(item.content)):
                run.check()
                while piece:
                    piece = piece[os.write(fd, piece) :]
        finally:
            os.close(fd)

    def commit(self, manifest: bytes, run: Run) -> None:
        with open(f"{self._staging}/{MANIFEST}", "wb") as file:
            file.write(manifest)
        # The old manifest goes first: a manifest must never stand beside files that are not its own.
        _remove(f"{self.path}/{MANIFEST}")
        _remove(f"{self.path}/data")
        self._sync()
        os.rename(f"{self._staging}/data", f"{self.path}/data")
        os.rename(f"{self._staging}/{MANIFEST}", f"{self.path}/{MANIFEST}")
        self._sync()
        _remove(self._staging)

    def cids(self) -> StoreCids:
        return StoreCids()

    def abort(self) -> None:
        _remove(self._staging)
        self._folders.clear()
        self._begun = False

    def _sync(self) -> None:
        """Write to the disk, so that a crash of the node cannot leave a manifest without its files. One syncfs, not 10,000 times fsync."""
        import ctypes  # imported here, as shutil below: a run that finds its work done needs neither

        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(folder)


def _remove(path: str) -> None:
    """Remove a file or a whole folder, if it exists."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
