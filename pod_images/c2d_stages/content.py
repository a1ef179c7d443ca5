"""What is published, as bytes of known length that can be read in any part and more than once: what lets an upload be resumed.

A store takes a Content and nothing else, so what lies between a file and its store (encryption) is one more class with this shape.
"""

import hashlib
import os
from collections.abc import Iterator
from typing import Protocol

from c2d_stages.stage import StageError
from c2d_stages.tree import BUFFER, NotRegular, regular_below


class Content(Protocol):
    """Bytes that are the same each time they are read. Several threads may read at once.

    size: known in advance. sha256: of all bytes, 64 hex digits; None where it is only known once they were read.
    """

    @property
    def size(self) -> int: ...

    @property
    def sha256(self) -> str | None: ...

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        """The `length` bytes from `offset` on, in pieces; the next piece overwrites the last.

        Raises StageError when the bytes are not there or not the same any more.
        """


class BytesContent:
    """Bytes in memory."""

    def __init__(self, data: bytes):
        self._data = memoryview(data)
        self.size = len(data)
        self.sha256: str | None = hashlib.sha256(data).hexdigest()

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        if length:
            yield self._data[offset : offset + length]


class FileContent:
    """The first `size` bytes of a file below a folder that is open.

    sha256: what they must be. Whoever reads all of them at once is told when they are not: at the end, by a StageError.
    """

    def __init__(self, root: int, path: str, size: int, sha256: str):
        self.root, self.path, self.size = root, path, size
        self.sha256: str | None = sha256

    def changed(self) -> StageError:
        return StageError(f"{self.path}: is not what the filter released; nothing is published", self.path)

    def read(self, offset: int, length: int) -> Iterator[memoryview]:
        digest = hashlib.sha256() if offset == 0 and length == self.size else None
        buffer = memoryview(bytearray(min(BUFFER, length)))
        try:
            with regular_below(self.root, self.path) as (fd, _):
                while length:
                    count = os.preadv(fd, [buffer[: min(length, len(buffer))]], offset)
                    if not count:
                        raise self.changed()
                    if digest is not None:
                        digest.update(buffer[:count])
                    yield buffer[:count]
                    offset += count
                    length -= count
        except (NotRegular, FileNotFoundError, NotADirectoryError):
            raise self.changed() from None
        if digest is not None and digest.hexdigest() != self.sha256:
            raise self.changed()


def digest_of(content: Content) -> str:
    """The sha256 of all bytes, in hex."""
    if content.sha256 is not None:
        return content.sha256
    digest = hashlib.sha256()
    for piece in content.read(0, content.size):
        digest.update(piece)
    return digest.hexdigest()
