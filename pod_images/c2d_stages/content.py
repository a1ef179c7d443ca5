"""What is published, as bytes of known length that can be read in any part and more than once: what lets an upload be resumed.

A store takes a Content and nothing else, so what lies between a file and its store (encryption) is one more class with this shape.
"""

import base64
import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

from c2d_stages.stage import StageError
from c2d_stages.tree import BUFFER, NotRegular, regular_below

LARGE = 64 << 20
"""A file of more bytes is sent in parts, and the filter gives their digests with the file's own: so it need not be read once more."""

PART_BYTES = 32 << 20
PARTS = 10_000  # that S3 takes of one object


def part_bytes(size: int) -> int:
    """The size of a file's parts: whole MiB, so that there are never more than S3 takes."""
    return max(PART_BYTES, -(-size // PARTS >> 20) + 1 << 20) if size > PART_BYTES * PARTS else PART_BYTES


class PartDigests:
    """sha256 of each part of a file, base64, while its bytes go by."""

    def __init__(self, size: int):
        self._bytes = self._left = part_bytes(size)
        self._digests: list[str] = []
        self._digest = hashlib.sha256()

    def update(self, data: memoryview) -> None:
        while data:
            taken = data[: self._left]
            self._digest.update(taken)
            self._left -= len(taken)
            data = data[len(taken) :]
            if not self._left:
                self._close()

    def _close(self) -> None:
        self._digests.append(in_base64(self._digest.digest()))
        self._digest, self._left = hashlib.sha256(), self._bytes

    def all(self) -> list[str]:
        """No more bytes may come after."""
        if self._left < self._bytes:
            self._close()
        return self._digests


def in_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


class Content(Protocol):
    """Bytes that are the same each time they are read. Several threads may read at once.

    size: known in advance. sha256: of all bytes, 64 hex digits; None where it is only known once they were read.
    parts: as PartDigests; cid: as unixfs.FileCid; None where they are not known.
    """

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def parts(self) -> list[str] | None: ...

    @property
    def cid(self) -> str | None: ...

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        """The `length` bytes from `offset` on, in pieces; the next piece overwrites the last.

        Raises StageError when they are not there any more. Whether they are still the same is for the reader to see: `checked`,
        or the store itself.
        """

    def changed(self) -> StageError:
        """What is raised when they are not the same."""
        ...


class BytesContent:
    """Bytes in memory."""

    parts: list[str] | None = None
    cid: str | None = None

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        self.size = len(data)
        self.sha256: str | None = hashlib.sha256(data).hexdigest()

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        if length:
            yield self._data[offset : offset + length]

    def changed(self) -> StageError:
        raise AssertionError("bytes in memory do not change")


class FileContent:
    """The first `size` bytes of a file below a folder that is open. sha256, parts, cid: of what the filter saw."""

    def __init__(self, root: int, path: str, size: int, sha256: str, parts: list[str] | None = None, cid: str | None = None):
        self.root, self.path, self.size, self.parts, self.cid = root, path, size, parts, cid
        self.sha256: str | None = sha256

    def changed(self) -> StageError:
        return StageError(f"{self.path}: is not what the filter released; nothing is published", self.path)

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        buffer = memoryview(bytearray(min(BUFFER, length)))
        try:
            with regular_below(self.root, self.path) as (fd, _):
                while length:
                    count = os.preadv(fd, [buffer[: min(length, len(buffer))]], offset)
                    if not count:
                        raise self.changed()
                    yield buffer[:count]
                    offset += count
                    length -= count
        except (NotRegular, FileNotFoundError, NotADirectoryError):
            raise self.changed() from None


def checked(content: Content) -> Iterator[memoryview]:
    """All bytes; StageError at their end when they are not what they must be."""
    if content.sha256 is None:  # it sees to that itself
        yield from content.read(0, content.size)
        return
    digest = hashlib.sha256()
    for piece in content.read(0, content.size):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != content.sha256:
        raise content.changed()


def parts_of(content: Content) -> list[str]:
    """The digests of its parts. Where they are not known all bytes are read, and a file that is not what the filter released is found."""
    if content.parts is not None:
        return content.parts
    parts = PartDigests(content.size)
    for piece in checked(content):
        parts.update(piece)
    return parts.all()


def digest_of(content: Content) -> str:
    """The sha256 of all bytes, in hex."""
    if content.sha256 is not None:
        return content.sha256
    digest = hashlib.sha256()
    for piece in content.read(0, content.size):
        digest.update(piece)
    return digest.hexdigest()
