"""What is published: bytes of known length that can be read in any part and more than once, so that uploads can be resumed.

A store takes a Content and nothing else. Whatever lies between a file and its store (encryption) is one more class of this shape.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

from c2d_stages.common.digests import PartDigests
from c2d_stages.common.stage import StageError
from c2d_stages.common.untrusted_files import BUFFER, NotRegular, regular_below


class Content(Protocol):
    """Bytes that are the same each time they are read. Several threads may read at once.

    size: known in advance. sha256: of all bytes, 64 hex digits; None if it is known only after they were read once.
    parts: as PartDigests computes them; cid: as FileCid does; None if they are not known.
    """

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str | None: ...

    @property
    def parts(self) -> Sequence[str] | None: ...

    @property
    def cid(self) -> str | None: ...

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        """The `length` bytes from `offset` on, in pieces; each piece overwrites the one before it.

        Raises StageError if they are gone. Whether they are still the same is for the caller to verify (`checked`), or for the store.
        """

    def changed(self) -> StageError:
        """The error to raise if they are not the same any more."""
        ...


class BytesContent:
    """Bytes in memory."""

    parts: Sequence[str] | None = None
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
    """The first `size` bytes of a file below an open folder. sha256, parts, cid: of what the filter read."""

    def __init__(self, root: int, path: str, size: int, sha256: str, parts: Sequence[str] | None = None, cid: str | None = None):
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
    """All bytes. Raises StageError after the last one if they are not what they must be."""
    if content.sha256 is None:  # the content verifies itself
        yield from content.read(0, content.size)
        return
    digest = hashlib.sha256()
    for piece in content.read(0, content.size):
        digest.update(piece)
        yield piece
    if digest.hexdigest() != content.sha256:
        raise content.changed()


def parts_of(content: Content) -> Sequence[str]:
    """The digests of its parts. If they are not known, this reads all bytes, and raises StageError if they have changed."""
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
