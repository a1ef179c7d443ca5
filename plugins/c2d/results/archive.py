"""All results of a job as one tar archive, which is made while it is sent and stored nowhere.

It is a tar archive rather than a zip because its length and any part of it can be computed from the files' sizes. So a download can be
resumed.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from c2d.contract import ManifestEntry
from c2d.results.entries import downloadable
from c2d.results.reader import Reader

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class _Member:
    """A file in the archive.

    header: the member's header block. content: an entry of the manifest, or the content itself. size: of the content in bytes.
    """

    header: bytes
    content: ManifestEntry | bytes
    size: int

    @property
    def length(self) -> int:
        """With header and padding."""
        return len(self.header) + self.size + -self.size % BLOCK


class Archive:
    """``<job>/manifest.json``, then the files of the manifest in its order, as ``<job>/outputs/...``, ``<job>/logs/...`` and so on.

    size: of the whole archive in bytes. sha256: of the archive's description; two archives with the same value are the same.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        row = reader.row
        mtime = int((row.dateFinished or row.dateCreated).timestamp())
        manifest = json.dumps({"job": row.jobId, "files": row.results, "withheld": row.withheld}, ensure_ascii=False, indent=1).encode()
        self._members = [_Member(_header(f"{row.jobId}/manifest.json", len(manifest), mtime), manifest, len(manifest))]
        for entry in map(ManifestEntry.trusted, row.results):
            file = downloadable(entry)
            name = f"{row.jobId}/{entry.path.removeprefix('data/')}{file.suffix}"
            self._members.append(_Member(_header(name, file.size, mtime), entry, file.size))
        self._offsets = [0]
        for member in self._members:
            self._offsets.append(self._offsets[-1] + member.length)
        self.size = self._offsets[-1] + len(END)
        self.sha256 = hashlib.sha256(b"tar" + str(mtime).encode() + manifest).hexdigest()

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes of the archive from ``first`` up to ``last`` (exclusive).

        :raises ResultNotReadable: as :meth:`c2d.results.reader.Reader.read`.
        """
        for n in range(bisect_right(self._offsets, first) - 1, len(self._members)):
            offset = self._offsets[n]
            if offset >= last:
                return
            yield from self._part(self._members[n], max(first - offset, 0), min(last - offset, self._members[n].length))
        if end := END[max(first - self._offsets[-1], 0) : max(last - self._offsets[-1], 0)]:
            yield end

    def _part(self, member: _Member, first: int, last: int) -> Iterator[bytes]:
        """Bytes of one member: of its header, its content and its padding."""
        if header := member.header[first:last]:
            yield header
        begin, end = max(first - len(member.header), 0), min(last - len(member.header), member.size)
        if begin < end:
            if isinstance(member.content, bytes):
                yield member.content[begin:end]
            else:
                yield from self._reader.read(member.content, begin, end)
        padding = len(member.header) + member.size
        if last > padding:
            yield bytes(last - max(first, padding))


def _header(name: str, size: int, mtime: int) -> bytes:
    """A member's header. The PAX format allows names in any language and files of any size."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, mtime, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
