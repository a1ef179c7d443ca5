"""Where results go. A new kind (S3, IPFS) is one more class with the methods of Store, chosen by `store.type`."""

import os
from collections.abc import Iterator
from typing import Protocol

from c2d_stages.fields import Field
from c2d_stages.stage import Paths
from c2d_stages.tree import regular_below

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 << 20


class Store(Protocol):
    """The place for one job's results. Nothing counts as published before commit() returned."""

    def manifest(self) -> bytes | None:
        """The manifest of an earlier run that was complete."""

    def begin(self) -> None:
        """Make room; what an earlier run left half is gone."""

    def put(self, path: str, size: int, content_type: str, content: Iterator[memoryview]) -> None:
        """Keep one file; what `content` raises goes through."""

    def commit(self, manifest: bytes) -> None:
        """Make all files visible, the manifest last."""

    def abort(self) -> None:
        """Remove what was put since begin()."""


class DirectoryStore:
    """A folder on a mounted volume. Files are staged beside their place, so that commit is two renames."""

    def __init__(self, path: str):
        self.path = path
        self._staging = f"{path}/.staging"
        self._folders: set[str] = set()

    @classmethod
    def from_field(cls, store: Field, paths: Paths) -> "DirectoryStore":
        path = store.get("path")
        if not path.text().startswith("/") or ".." in path.text().split("/"):
            raise path.wrong("must be an absolute path")
        return cls(paths.root + path.text().rstrip("/"))

    def manifest(self) -> bytes | None:
        try:
            with open(f"{self.path}/{MANIFEST}", "rb") as file:
                return file.read(MANIFEST_BYTES)
        except FileNotFoundError:
            return None

    def read(self, path: str, chunk: memoryview) -> Iterator[memoryview]:
        """The content of a published file. Raises NotRegular or OSError."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with regular_below(folder, path) as (fd, _):
                while count := os.readv(fd, [chunk]):
                    yield chunk[:count]
        finally:
            os.close(folder)

    def begin(self) -> None:
        os.makedirs(self.path, exist_ok=True)
        self.abort()
        os.makedirs(f"{self._staging}/data")

    def put(self, path: str, size: int, content_type: str, content: Iterator[memoryview]) -> None:
        place = f"{self._staging}/{path}"
        folder = os.path.dirname(place)
        if folder not in self._folders:
            os.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            for piece in content:
                while piece:
                    piece = piece[os.write(fd, piece) :]
        finally:
            os.close(fd)

    def commit(self, manifest: bytes) -> None:
        with open(f"{self._staging}/{MANIFEST}", "wb") as file:
            file.write(manifest)
        # The old manifest goes first: at no time does one stand beside files that are not its own.
        _remove(f"{self.path}/{MANIFEST}")
        _remove(f"{self.path}/data")
        self._sync()
        os.rename(f"{self._staging}/data", f"{self.path}/data")
        os.rename(f"{self._staging}/{MANIFEST}", f"{self.path}/{MANIFEST}")
        self._sync()
        _remove(self._staging)

    def abort(self) -> None:
        _remove(self._staging)
        self._folders.clear()

    def _sync(self) -> None:
        """To the disk, so that a crash of the node cannot leave a manifest without its files. One syncfs, not 10,000 times fsync."""
        import ctypes  # here, as shutil below: a run that finds its work done needs neither

        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).syncfs(folder) != 0:
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
        finally:
            os.close(folder)


def _remove(path: str) -> None:
    """Remove a file or a whole folder; nothing there is fine."""
    if os.path.isdir(path) and not os.path.islink(path):
        import shutil

        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


STORES: dict[str, type[DirectoryStore]] = {"directory": DirectoryStore}


def store_from_field(store: Field, paths: Paths) -> DirectoryStore:
    return STORES[store.get("type").choice(tuple(STORES))].from_field(store, paths)
