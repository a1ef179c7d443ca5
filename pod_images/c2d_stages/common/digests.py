"""Digests of a file's parts, as S3 takes them. The filter computes them too, so that publish need not read a large file once more."""

import base64
import hashlib

LARGE = 64 << 20
"""The filter gives a file of more bytes than this the digests of its parts and its CID."""

PART_BYTES = 32 << 20
PARTS = 10_000  # S3 takes no more of one object


def part_bytes(size: int) -> int:
    """The part size for a file: whole MiB, and so large that there are at most PARTS parts."""
    return max(PART_BYTES, -(-size // PARTS >> 20) + 1 << 20) if size > PART_BYTES * PARTS else PART_BYTES


class PartDigests:
    """Computes the sha256 of each part of a file, in base64, while its bytes pass through."""

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
        """The digests. Call it once, after all bytes."""
        if self._left < self._bytes:
            self._close()
        return self._digests


def in_base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
