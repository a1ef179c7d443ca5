"""The format of encrypted results: each file is encrypted with Tink's streaming AEAD (AES256_GCM_HKDF_1MB) and the job's key.

The publish stage, the APIs and ``c2d results`` use it, so it needs nothing but the standard library and ``cryptography``. The format is
specified in docs/reference/encryption.md; Google's Tink reads and writes the same bytes.

    file     = prefix ‖ header ‖ segment 0 ‖ segment 1 ‖ ...      segments of 1 MiB; the header is part of the first one
    prefix   = empty, or one line of JSON with the job's key sealed to the consumer and the encrypted path
    header   = 40 ‖ salt (32) ‖ nonce prefix (7)
    segment  = AES-256-GCM(file key, nonce prefix ‖ number (4) ‖ 1 for the last segment, else 0)
    file key = HKDF-SHA256(the job's key, salt, info = path)

Salt and nonce prefix are derived from the job's key, the path and the content's sha256. Different content therefore gets a different file
key, so that no nonce is used twice, and repeating a part of an upload produces the same bytes.
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
"""Bytes of content in a segment. The header takes the first 40 of them in the first segment."""

SUFFIX = ".c2d"
"""Suffix of the names of files that only the consumer can read."""

PREFIX = b'{"c2d": "encrypted result 1'
"""How a file that only the consumer can read begins. A header never begins like this."""

Read = Callable[[int, int], bytes]
"""``read(offset, length)`` returns ``length`` bytes of a file from ``offset``."""


def new_key() -> bytes:
    """A new key for a job: 32 bytes."""
    return os.urandom(32)


def stored_size(size: int, prefix: bytes = b"") -> int:
    """Size of the encrypted file of ``size`` bytes of content."""
    return len(prefix) + HEADER + size + TAG * _segments(size)


def content_size(stored: int, prefix: bytes = b"") -> int:
    """Size of the content of an encrypted file of ``stored`` bytes.

    :raises TamperedResult: no encrypted file has this size.
    """
    rest = stored - len(prefix)
    size = rest - HEADER - TAG * -(-rest // SEGMENT)
    if size < 0 or stored_size(size, prefix) != stored:
        raise TamperedResult("the file is truncated")
    return size


def prefix_for(key: bytes, sealed_key: str, path: str) -> bytes:
    """The prefix of a file that only the consumer can read.

    :param sealed_key: the job's key as :func:`c2d.crypto.ecies.seal` makes it for the consumer's public key.
    """
    encrypted_path = _siv(key).encrypt(path.encode(), None).hex()
    prefix = {"c2d": "encrypted result 1, see `c2d results --decrypt`", "key": sealed_key, "path": encrypted_path}
    return json.dumps(prefix).encode() + b"\n"


def read_prefix(line: bytes) -> tuple[str, str]:
    """The sealed key and the encrypted path in a prefix.

    :param line: the first line of a file.
    :raises ValueError: it is not the prefix of an encrypted result.
    """
    try:
        prefix = json.loads(line)
        sealed_key, path = prefix["key"], prefix["path"]
        if not prefix["c2d"].startswith("encrypted result 1") or not isinstance(sealed_key, str) or not isinstance(path, str):
            raise ValueError
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("is not a result that was encrypted to a consumer") from None
    return sealed_key, path


def open_path(key: bytes, encrypted: str) -> str:
    """The decrypted path of a prefix.

    :raises TamperedResult: it was changed, or the key is another job's.
    """
    from cryptography.exceptions import InvalidTag

    try:
        return _siv(key).decrypt(bytes.fromhex(encrypted), None).decode()
    except (InvalidTag, ValueError):
        raise TamperedResult("its path was changed, or the key is another job's") from None


def header_for(key: bytes, path: str, sha256: str) -> bytes:
    """The header of the file with this content.

    :param sha256: of the content, in hex.
    """
    return bytes([HEADER]) + _hkdf(key, HEADER - 1, None, b"c2d header\0" + bytes.fromhex(sha256) + path.encode())


class Encrypted:
    """An encrypted file, produced from its content on the fly. Several threads may read any part any number of times.

    :param content: reads the content.
    :param size: of the content, in bytes.
    :param sha256: of the content, in hex. With a wrong one, a nonce could be used twice: it must be verified before the file is published.
    """

    def __init__(self, content: Read, size: int, sha256: str, key: bytes, path: str, prefix: bytes = b""):
        self.size = stored_size(size, prefix)
        self._content, self._content_size = content, size
        self._header = header_for(key, path, sha256)
        self._before = prefix + self._header
        self._prefix = len(prefix)
        self._segments = _Segments(key, path, self._header, size)
        self._cached: tuple[int, bytes] = (-1, b"")

    def read(self, offset: int, length: int) -> bytes:
        """``length`` bytes of the encrypted file from ``offset``, fewer at its end."""
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
        cached = self._cached
        if cached[0] != number:  # cached, because an upload reads a segment in several pieces
            first, end = self._segments.content(number)
            content = self._content(first, end - first)
            if len(content) != end - first:
                raise OSError(f"the content no longer has {end - first} bytes at offset {first}")
            self._cached = cached = (number, self._segments.seal(number, content))
        return cached[1]


class Decryption:
    """Decrypts a file, or a part of it, while its bytes arrive.

    Pass the ``length`` bytes from ``offset``, counted from the end of the prefix, to :meth:`feed` in pieces of any size. Then call
    :meth:`end`.

    :param header: that the file must have. A reader that knows the content's sha256 computes it with :func:`header_for`; others take the
        file's own.
    :param size: of the content, in bytes.
    :param first, last: the part of the content to decrypt, ``last`` not included.
    """

    def __init__(self, key: bytes, path: str, header: bytes, size: int, first: int = 0, last: int | None = None):
        self._segments = _Segments(key, path, header, size)
        self._header = header
        self._first, self._last = first, size if last is None else last
        self._number = self._segments.of(first)
        self._until = self._segments.of(max(self._last - 1, first)) + 1
        self.offset = self._number * SEGMENT
        self.length = min(self._until * SEGMENT, stored_size(size)) - self.offset
        self._pending = bytearray()

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The content of the segments that this piece completes.

        :raises TamperedResult: a segment is not what publish wrote.
        """
        if not self._pending and self._number < self._until and len(piece) == self._segments.stored(self._number):
            yield from self._open(memoryview(piece))  # a whole segment, as stores deliver it: no copy needed
            return
        self._pending += piece
        while self._number < self._until and len(self._pending) >= (length := self._segments.stored(self._number)):
            segment = bytes(memoryview(self._pending)[:length])
            del self._pending[:length]
            yield from self._open(memoryview(segment))

    def _open(self, segment: memoryview) -> Iterator[bytes]:
        if self._number == 0:
            if segment[:HEADER] != self._header:
                raise TamperedResult("this is another file, or its beginning was changed")
            segment = segment[HEADER:]
        begin, _ = self._segments.content(self._number)
        content = self._segments.open(self._number, segment)
        self._number += 1
        if requested := content[max(self._first - begin, 0) : self._last - begin]:
            yield requested

    def end(self) -> None:
        """:raises TamperedResult: bytes are missing, or there are too many."""
        if self._number < self._until or self._pending:
            raise TamperedResult("the file is truncated" if self._number < self._until else "the file is too long")


def decrypted(file: bytes, key: bytes, path: str) -> bytes:
    """The content of a whole encrypted file, with or without a prefix, in memory.

    :raises TamperedResult: the file is not what publish wrote.
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
            raise TamperedResult("the file has an invalid header")
        self._aead = AESGCM(_hkdf(key, 32, header[1:33], path.encode()))
        self._nonce_prefix = header[33:]
        self._size, self._count = size, _segments(size)

    def of(self, offset: int) -> int:
        """The number of the segment that contains this byte of the content."""
        return min((offset + HEADER) // PLAIN, self._count - 1)

    def content(self, number: int) -> tuple[int, int]:
        """Where the content of a segment begins and ends."""
        return max(number * PLAIN - HEADER, 0), min((number + 1) * PLAIN - HEADER, self._size)

    def stored(self, number: int) -> int:
        """Bytes of an encrypted segment, including the header."""
        first, end = self.content(number)
        return end - first + TAG + (HEADER if number == 0 else 0)

    def seal(self, number: int, content: bytes) -> bytes:
        return self._aead.encrypt(self._nonce(number), content, None)

    def open(self, number: int, segment: memoryview) -> bytes:
        from cryptography.exceptions import InvalidTag

        try:
            return self._aead.decrypt(self._nonce(number), segment, None)
        except InvalidTag:
            raise TamperedResult("the file was changed, has another path, or the key is another job's") from None

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
