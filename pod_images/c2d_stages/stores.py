"""Where results go. Each kind is one class with the methods of Store, chosen by `store.type`."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, TypeVar

from c2d_stages.content import Content, checked
from c2d_stages.fields import Field
from c2d_stages.stage import Paths, StageError, StageLog
from c2d_stages.tree import NotRegular, new_buffer, regular_below

MANIFEST = "manifest.json"
MANIFEST_BYTES = 64 << 20
PROGRESS_SECONDS = 3

T = TypeVar("T", bytes, memoryview, bytes | memoryview)


@dataclass(frozen=True)
class Item:
    """One file that is published. path, contentType: in the store; name: its path in the manifest; size, sha256: of the file; content: what
    goes into the store; encrypted: who can read that (docs/encryption.md), None where it is the file itself."""

    path: str
    name: str
    type: str
    contentType: str
    size: int
    sha256: str
    content: Content
    encrypted: str | None = None


class Progress:
    """How many of all bytes have been sent, said in the log now and then in configure's form: the live view reads it.

    Without a lock: of a number that is only shown, several threads may lose a little.
    """

    def __init__(self, log: StageLog):
        self._log, self._total, self._sent = log, 0, 0
        self._begun = self._said = time.monotonic()

    def begin(self, total: int) -> None:
        self._total, self._begun = total, time.monotonic()
        self._say()

    def counted(self, pieces: Iterable[T]) -> Iterator[T]:
        """The same pieces; each counts once the next one is asked for."""
        for piece in pieces:
            yield piece
            self._sent += len(piece)
            if time.monotonic() - self._said > PROGRESS_SECONDS:
                self._say()

    def _say(self) -> None:
        self._said = time.monotonic()
        sent = min(self._sent, self._total)  # what is sent again was counted already, and forms have heads
        rate = sent / 1e6 / max(self._said - self._begun, 0.001)
        self._log.line(f"store: {sent / 1e6:.1f} of {self._total / 1e6:.1f} MB, {rate:.0f} MB/s")


@dataclass(frozen=True)
class Run:
    """What all uploads of one run share. deadline: of time.monotonic(); seconds: what that was; the rest as in PublishInput."""

    job: str
    log: StageLog
    progress: Progress
    deadline: float
    seconds: int
    retrySeconds: int
    connections: int = 8

    def check(self) -> None:
        """Raises StageError when the time is over."""
        if time.monotonic() > self.deadline:
            raise StageError(f"publishing took more than {self.seconds} s (limits.seconds)", "limits.seconds")


class Store(Protocol):
    """The place for one job's results. Nothing counts as published before commit() returned."""

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """The manifest of an earlier run of this job, if it and every file is whole. opened: decrypts it, or raises ValueError."""

    def put(self, items: Sequence[Item], run: Run) -> dict[str, dict[str, Any]]:
        """Keep these files. Returns what the manifest is to say of each, by its path."""

    def commit(self, manifest: bytes, run: Run) -> None:
        """Keep the manifest, the last of all."""

    def kept(self) -> dict[str, str]:
        """What the answer is to say of this store."""

    def abort(self) -> None:
        """Something failed: remove what nobody could use."""


class DirectoryStore:
    """A folder on a mounted volume. Files are staged beside their place, so that commit is two renames."""

    def __init__(self, path: str):
        self.path = path
        self._staging = f"{path}/.staging"
        self._folders: set[str] = set()
        self._begun = False

    @classmethod
    def from_field(cls, store: Field, paths: Paths) -> "DirectoryStore":
        path = store.get("path")
        if not path.text().startswith("/") or ".." in path.text().split("/"):
            raise path.wrong("must be an absolute path")
        return cls(paths.root + path.text().rstrip("/"))

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """Raises StageError when the store is another job's."""
        try:
            with open(f"{self.path}/{MANIFEST}", "rb") as file:
                stored = file.read(MANIFEST_BYTES)
        except FileNotFoundError:
            return None
        try:
            manifest = opened(stored)
            value = json.loads(manifest)
            owner, files = value["job"], value["files"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
        if owner != job:
            raise StageError("store: holds the results of another job", "store")
        buffer = new_buffer()
        try:
            for file in files:
                digest = hashlib.sha256()
                stored_as = file.get("stored", file)
                for chunk in self._read(stored_as["path"], buffer):
                    digest.update(chunk)
                if digest.hexdigest() != stored_as["sha256"]:
                    return None
        except (OSError, NotRegular, KeyError, TypeError):
            return None
        return manifest

    def _read(self, path: str, chunk: memoryview) -> Iterator[memoryview]:
        """The content of a published file. Raises NotRegular or OSError."""
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with regular_below(folder, path) as (fd, _):
                while count := os.readv(fd, [chunk]):
                    yield chunk[:count]
        finally:
            os.close(folder)

    def put(self, items: Sequence[Item], run: Run) -> dict[str, dict[str, Any]]:
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
        # The old manifest goes first: at no time does one stand beside files that are not its own.
        _remove(f"{self.path}/{MANIFEST}")
        _remove(f"{self.path}/data")
        self._sync()
        os.rename(f"{self._staging}/data", f"{self.path}/data")
        os.rename(f"{self._staging}/{MANIFEST}", f"{self.path}/{MANIFEST}")
        self._sync()
        _remove(self._staging)

    def kept(self) -> dict[str, str]:
        return {}

    def abort(self) -> None:
        _remove(self._staging)
        self._folders.clear()
        self._begun = False

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


# Only the store of the job is imported: what speaks HTTP is half of a pod's start-up.
STORES = {"directory": ("stores", "DirectoryStore"), "s3": ("s3", "S3Store"), "ipfs": ("ipfs", "IpfsStore")}


def store_from_field(store: Field, paths: Paths) -> Store:
    module, name = STORES[store.get("type").choice(tuple(STORES))]
    made: Store = getattr(import_module(f"c2d_stages.{module}"), name).from_field(store, paths)
    return made
