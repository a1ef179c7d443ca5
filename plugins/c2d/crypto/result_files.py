"""Results that are confidential where they lie: each file is a Tink streaming AEAD (AES256_GCM_HKDF_1MB) under the job's key.

Used by the publish stage, the APIs and ``c2d results``, so it needs Python's library and ``cryptography`` alone. Format and vector:
docs/encryption.md; Google's Tink reads and writes the same bytes.

    file     = prefix ‖ header ‖ segment 0 ‖ segment 1 ‖ ...      segments of 1 MiB, the header counts as a part of the first one
    prefix   = nothing, or for the consumer one line of JSON with the job's key sealed to the consumer and the encrypted path
    header   = 40 ‖ salt (32) ‖ nonce prefix (7)
    segment  = AES-256-GCM(key of the file, nonce prefix ‖ number (4) ‖ 1 for the last one else 0)
    key of the file = HKDF-SHA256(the job's key, salt, info = path)

Salt and nonce prefix are derived from the job's key, the path and the content's sha256: other content has another key, so that no nonce is
used twice, and a part of an upload that is made again is the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from c2d.errors import TamperedResult

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

SEGMENT = 1 << 20
TAG = 16
HEADER = 40
PLAIN = SEGMENT - TAG
"""Of the content in a segment; in the first one the header takes the first 40 of them."""

SUFFIX = ".c2d"
"""After the name of a file that only the consumer can read."""

PREFIX = b'{"c2d": "encrypted result 1'
"""What a file for the consumer begins with; a header never does."""

Read = Callable[[int, int], bytes]
"""``read(offset, length)``: that many bytes of a file from there."""


def new_key() -> bytes:
    """A job's key."""
    return os.urandom(32)


def stored_size(size: int, prefix: bytes = b"") -> int:
    """Bytes of the file that ``size`` bytes of content become."""
    return len(prefix) + HEADER + size + TAG * _segments(size)


def content_size(stored: int, prefix: bytes = b"") -> int:
    """The reverse of :func:`stored_size`.

    :raises TamperedResult: no content becomes a file of this size.
    """
    rest = stored - len(prefix)
    size = rest - HEADER - TAG * -(-rest // SEGMENT)
    if size < 0 or stored_size(size, prefix) != stored:
        raise TamperedResult("the file has been cut off")
    return size


def prefix_for(key: bytes, sealed_key: str, path: str) -> bytes:
    """What a file for the consumer begins with.

    :param sealed_key: the job's key as :func:`c2d.crypto.ecies.seal` makes it for the consumer's public key.
    """
    hidden = _siv(key).encrypt(path.encode(), None).hex()
    return json.dumps({"c2d": "encrypted result 1, see `c2d results --decrypt`", "key": sealed_key, "path": hidden}).encode() + b"\n"


def read_prefix(line: bytes) -> tuple[str, str]:
    """The sealed key and the encrypted path in a file's first line.

    :raises ValueError: it is no file for a consumer.
    """
    try:
        found = json.loads(line)
        sealed_key, path = found["key"], found["path"]
        if not found["c2d"].startswith("encrypted result 1") or not isinstance(sealed_key, str) or not isinstance(path, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("is not a result that was encrypted to a consumer") from None
    return sealed_key, path


def open_path(key: bytes, encrypted: str) -> str:
    """The path in a prefix.

    :raises TamperedResult: it was changed, or the key is another job's.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return _siv(key).decrypt(bytes.fromhex(encrypted), None).decode()
    except (InvalidTag, ValueError):
        raise TamperedResult("its path was changed, or the key is another job's") from None


def header_for(key: bytes, path: str, sha256: str) -> bytes:
    """The header of the file with this content (``sha256`` in hex)."""
    return bytes([HEADER]) + _hkdf(key, HEADER - 1, None, b"c2d header\0" + bytes.fromhex(sha256) + path.encode())


class Encrypted:
    """A file as it is stored, made from its content while it is read: any part, any number of times, by several threads.

    :param content: reads the file's content.
    :param sha256: of the content, in hex. A wrong one may have a nonce used twice: give what was verified, or is verified before the
        file counts as published.
    """

    def __init__(self, content: Read, size: int, sha256: str, key: bytes, path: str, prefix: bytes = b""):
        self.size = stored_size(size, prefix)
        self._content, self._content_size = content, size
        self._header = header_for(key, path, sha256)
        self._before = prefix + self._header
        self._prefix = len(prefix)
        self._segments = _Segments(key, path, self._header, size)
        self._made: tuple[int, bytes] = (-1, b"")

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes of the file from ``offset``, fewer at its end."""
        end = min(offset + length, self.size)
        pieces = [self._before[offset:end]]
        at = max(offset, len(self._before))
        while at < end:
            number, within = divmod(at - self._prefix, SEGMENT)
            segment = self._segment(number)
            if number == 0:
                within -= HEADER
            pieces.append(segment[within : within + end - at])
            at += len(pieces[-1])
        return b"".join(pieces)

    def _segment(self, number: int) -> bytes:
        made = self._made
        if made[0] != number:  # kept, for uploads read on from the middle of one
            first, end = self._segments.content(number)
            content = self._content(first, end - first)
            if len(content) != end - first:
                raise OSError(f"the content has no {end - first} bytes at {first} any more")
            self._made = made = (number, self._segments.seal(number, content))
        return made[1]


class Decryption:
    """Content from the stored bytes as they come.

    Give what :attr:`offset` and :attr:`length` say (of the file behind its prefix) to :meth:`feed`, in pieces of any size, then call
    :meth:`end`.

    :param header: the file's own. A reader that knows the content's sha256 makes it (:func:`header_for`); the file must have the same.
    :param size: of the content.
    :param first, last: the part of the content that is wanted, ``last`` not included.
    """

    def __init__(self, key: bytes, path: str, header: bytes, size: int, first: int = 0, last: int | None = None):
        self._segments = _Segments(key, path, header, size)
        self._header = header
        self._first, self._last = first, size if last is None else last
        self._number = self._segments.of(first)
        self._until = self._segments.of(max(self._last - 1, first)) + 1
        self.offset = self._number * SEGMENT
        self.length = min(self._until * SEGMENT, stored_size(size)) - self.offset
        self._got = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The content that is whole with this piece.

        :raises TamperedResult:
        """
        if not self._got and self._number < self._until and len(piece) == self._segments.stored(self._number):
            yield from self._open(memoryview(piece))  # as stores give it: nothing is copied
            return
        self._got += piece
        while self._number < self._until and len(self._got) >= (length := self._segments.stored(self._number)):
            segment = bytes(memoryview(self._got)[:length])
            del self._got[:length]
            yield from self._open(memoryview(segment))

    def _open(self, segment: memoryview) -> Iterator[bytes]:
        if self._number == 0:
            if segment[:HEADER] != self._header:
                raise TamperedResult("the file is another one, or its beginning was changed")
            segment = segment[HEADER:]
        begin, _ = self._segments.content(self._number)
        content = self._segments.open(self._number, segment)
        self._number += 1
        if wanted := content[max(self._first - begin, 0) : self._last - begin]:
            yield wanted

    def end(self) -> None:
        """:raises TamperedResult: bytes are missing, or there are more than there should be."""
        if self._number < self._until or self._got:
            raise TamperedResult("the file has been cut off" if self._number < self._until else "the file is too long")


def decrypted(file: bytes, key: bytes, path: str) -> bytes:
    """The content of a whole file in memory, with or without a prefix.

    :raises TamperedResult:
    """
    if file.startswith(PREFIX):
        file = file.partition(b"\n")[2]
    decryption = Decryption(key, path, file[:HEADER], content_size(len(file)))
    content = b"".join(decryption.feed(file))
    decryption.end()
    return content


class _Segments:
    """The segments of one file."""

    def __init__(self, key: bytes, path: str, header: bytes, size: int):
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if len(header) != HEADER or header[0] != HEADER:
            raise TamperedResult("the file's header is not one of ours")
        self._aead = AESGCM(_hkdf(key, 32, header[1:33], path.encode()))
        self._nonce_prefix = header[33:]
        self._size, self._count = size, _segments(size)

    def of(self, offset: int) -> int:
        """The number of the segment that has this byte of the content."""
        return min((offset + HEADER) // PLAIN, self._count - 1)

    def content(self, number: int) -> tuple[int, int]:
        """The part of the content that is in a segment."""
        return max(number * PLAIN - HEADER, 0), min((number + 1) * PLAIN - HEADER, self._size)

    def stored(self, number: int) -> int:
        """Bytes of a segment, the header included."""
        first, end = self.content(number)
        return end - first + TAG + (HEADER if number == 0 else 0)

    def seal(self, number: int, content: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(number), content, None)

    def open(self, number: int, segment: memoryview) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(self._nonce(number), segment, None)
        except InvalidTag:
            raise TamperedResult("the file was changed, or belongs elsewhere, or the key is another job's") from None

    def _nonce(self, number: int) -> bytes:
        return self._nonce_prefix + number.to_bytes(4, "big") + bytes([number == self._count - 1])


def _segments(size: int) -> int:
    return -(-(size + HEADER) // PLAIN)


def _hkdf(key: bytes, length: int, salt: bytes | None, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt, info).derive(key)


def _siv(key: bytes) -> AESSIV:
    from cryptography.hazmat.primitives.ciphers.aead import AESSIV

    return AESSIV(_hkdf(key, 64, None, b"c2d path"))
