"""CIDs of files, computed as an IPFS node does when it adds them, to verify that what arrived is what was sent.

UnixFS (specs.ipfs.tech/unixfs) in DAG-PB: chunks of 256 KiB as raw leaves, 174 links to a node, balanced, sha2-256, CID version 1.
"""

import hashlib
from base64 import b32encode
from collections.abc import Iterator

CHUNK = 262_144
LINKS = 174
RAW, DAG_PB = 0x55, 0x70
EMPTY = "bafkqaaa"  # the identity of no bytes
OPTIONS = {
    "cid-version": "1",
    "raw-leaves": "true",
    "hash": "sha2-256",
    "chunker": f"size-{CHUNK}",
    "max-file-links": str(LINKS),
    "trickle": "false",
    # An empty file has no block, for its CID holds all of it: nodes do not send each other empty blocks, so a cluster would wait forever.
    "inline": "true",
    "inline-limit": "0",
}
"""The same choices as parameters of kubo's `add`. Without them the node's import profile could make other CIDs."""


class FileCid:
    """Computes the CID of a file while its bytes pass through."""

    def __init__(self) -> None:
        self._leaves: list[tuple[bytes, int]] = []
        self._leaf, self._filled = hashlib.sha256(), 0

    def update(self, data: memoryview) -> None:
        while data:
            piece = data[: CHUNK - self._filled]
            self._leaf.update(piece)
            self._filled += len(piece)
            data = data[len(piece) :]
            if self._filled == CHUNK:
                self._close()

    def _close(self) -> None:
        self._leaves.append((self._leaf.digest(), self._filled))
        self._leaf, self._filled = hashlib.sha256(), 0

    def text(self) -> str:
        """The CID, in base32. Call it once, after all bytes."""
        if self._filled:
            self._close()
        if not self._leaves:
            return EMPTY
        # For each node: its CID, the bytes of the file below it, and the bytes of its own block and all blocks below.
        nodes = [(_cid(RAW, digest), size, size) for digest, size in self._leaves]
        while len(nodes) > 1:
            nodes = [_node(nodes[begin : begin + LINKS]) for begin in range(0, len(nodes), LINKS)]
        return "b" + b32encode(nodes[0][0]).decode().lower().rstrip("=")


def _node(children: list[tuple[bytes, int, int]]) -> tuple[bytes, int, int]:
    """The node above these children."""
    size = sum(child[1] for child in children)
    links = b"".join(_field(2, _field(1, cid) + _field(2, b"") + b"\x18" + _varint(whole)) for cid, _, whole in children)
    unixfs = b"\x08\x02" + b"\x18" + _varint(size) + b"".join(b"\x20" + _varint(child[1]) for child in children)
    block = links + _field(1, unixfs)
    return _cid(DAG_PB, hashlib.sha256(block).digest()), size, len(block) + sum(child[2] for child in children)


def _cid(codec: int, digest: bytes) -> bytes:
    return bytes((1, codec, 0x12, 0x20)) + digest


def _field(number: int, content: bytes) -> bytes:
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*out, number))


def watched(pieces: Iterator[memoryview], cid: FileCid) -> Iterator[memoryview]:
    """The same pieces, which `cid` reads as they pass."""
    for piece in pieces:
        cid.update(piece)
        yield piece
