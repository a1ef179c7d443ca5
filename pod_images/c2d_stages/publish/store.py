"""What publish asks of a store. Each kind of store is a class with the methods of Store, in a module of its own."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

from c2d.contract import FileType, IpfsTarget, PublishLimits, S3Target, StoreCids, Target
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.publish.content import Content

CONNECTIONS = 8
PROGRESS_SECONDS = 3

T = TypeVar("T", bytes, memoryview, bytes | memoryview)


@dataclass(frozen=True)
class Item:
    """One file to publish.

    path, contentType, content: of what goes into the store. name: its path in the manifest. size, sha256: of the file itself.
    encrypted: who can decrypt the content (docs/reference/encryption.md); None if it is the file itself.
    """

    path: str
    name: str
    type: FileType
    contentType: str
    size: int
    sha256: str
    content: Content
    encrypted: Literal["store", "consumer"] | None = None


class Location(NamedTuple):
    """What the manifest says of a file's place in its store."""

    url: str | None = None
    etag: str | None = None
    cid: str | None = None


class Progress:
    """Logs now and then how many of all bytes have been sent, in the same form as configure: the live view reads it.

    Without a lock: the number is only shown, and threads may miscount a little.
    """

    def __init__(self, log: StageLog):
        self._log, self._total, self._sent = log, 0, 0
        self._begun = self._logged = time.monotonic()

    def begin(self, total: int) -> None:
        self._total, self._begun = total, time.monotonic()
        self._write()

    def counted(self, pieces: Iterable[T]) -> Iterator[T]:
        """The same pieces. Each counts once the next one is asked for."""
        for piece in pieces:
            yield piece
            self._sent += len(piece)
            if time.monotonic() - self._logged > PROGRESS_SECONDS:
                self._write()

    def _write(self) -> None:
        self._logged = time.monotonic()
        sent = min(self._sent, self._total)  # bytes that are sent again count again, and so does what surrounds a file in a form
        rate = sent / 1e6 / max(self._logged - self._begun, 0.001)
        self._log.line(f"store: {sent / 1e6:.1f} of {self._total / 1e6:.1f} MB, {rate:.0f} MB/s")


class Run:
    """What all uploads of one run of publish share. Its time begins when this is made."""

    def __init__(self, job: str, limits: PublishLimits, log: StageLog):
        self.job, self.limits, self.log = job, limits, log
        self.connections = limits.connections or CONNECTIONS
        self.progress = Progress(log)
        self._deadline = time.monotonic() + limits.seconds

    def check(self) -> None:
        """Raises StageError if limits.seconds are over."""
        if time.monotonic() > self._deadline:
            raise StageError(f"publishing took more than {self.limits.seconds} s (limits.seconds)", "limits.seconds")


class Store(Protocol):
    """The place for one job's results. Nothing counts as published before commit() has returned."""

    def published(self, job: str, opened: Callable[[bytes], bytes]) -> bytes | None:
        """The manifest of an earlier run of this job, if it and every file is intact.

        :param opened: decrypts a manifest, or raises ValueError.
        """

    def put(self, items: Sequence[Item], run: Run) -> dict[str, Location]:
        """Store these files. Returns where they are, by `Item.path`."""

    def commit(self, manifest: bytes, run: Run) -> None:
        """Store the manifest, last of all."""

    def cids(self) -> StoreCids:
        """What the answer says of this store."""
        ...

    def abort(self) -> None:
        """Something failed: remove what nobody can use."""


def store_at(target: Target, name: str, paths: Paths) -> Store:
    """The store that stage.json describes.

    Imports the job's kind of store only: the modules that speak HTTP take half of a pod's start-up.

    :param name: the field of stage.json, for errors.
    :raises InvalidField: the store cannot be used as described.
    """
    if isinstance(target, S3Target):
        from c2d_stages.publish.s3 import S3Store

        return S3Store(target, name)
    if isinstance(target, IpfsTarget):
        from c2d_stages.publish.ipfs import IpfsStore

        return IpfsStore(target, name)
    from c2d_stages.publish.directory import DirectoryStore

    return DirectoryStore(target, name, paths)
