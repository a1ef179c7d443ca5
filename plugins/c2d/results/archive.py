"""All results of a job as one tar archive that is nowhere stored: made while it is sent, the same each time, so that it can be resumed.

A tar archive and not a zip: sizes are known, so it has a length before it exists, and any part of it can be made again.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from c2d.contract import ManifestEntry
from c2d.results.keys import client_file
from c2d.results.reader import Reader

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)


@dataclass(frozen=True)
class _Entry:
    """header: of the archive's entry; file: of the manifest, or the content itself; size: of the content."""

    header: bytes
    file: ManifestEntry | bytes
    size: int

    @property
    def length(self) -> int:
        return len(self.header) + self.size + -self.size % BLOCK


class Archive:
    """``<job>/manifest.json``, then the files of the manifest, in its order, as ``<job>/outputs/...``, ``<job>/logs/...`` and so on.

    size: of the whole archive; sha256: of what it holds, not of its bytes; the same archive has the same.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        row = reader.row
        at = int((row.dateFinished or row.dateCreated).timestamp())
        manifest = json.dumps({"job": row.jobId, "files": row.results, "withheld": row.withheld}, ensure_ascii=False, indent=1).encode()
        self._entries = [_Entry(_header(f"{row.jobId}/manifest.json", len(manifest), at), manifest, len(manifest))]
        for file in map(ManifestEntry.trusted, row.results):
            shown = client_file(file)
            name = f"{row.jobId}/{file.path.removeprefix('data/')}{shown.suffix}"
            self._entries.append(_Entry(_header(name, shown.size, at), file, shown.size))
        self._begins = [0]
        for entry in self._entries:
            self._begins.append(self._begins[-1] + entry.length)
        self.size = self._begins[-1] + len(END)
        self.sha256 = hashlib.sha256(b"tar" + str(at).encode() + manifest).hexdigest()

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """The bytes of the archive from ``first`` up to ``last``, not included.

        :raises ResultNotReadable: see :meth:`c2d.results.reader.Reader.read`.
        """
        for n in range(bisect_right(self._begins, first) - 1, len(self._entries)):
            begin = self._begins[n]
            if begin >= last:
                return
            yield from self._part(self._entries[n], max(first - begin, 0), min(last - begin, self._entries[n].length))
        if rest := END[max(first - self._begins[-1], 0) : max(last - self._begins[-1], 0)]:
            yield rest

    def _part(self, entry: _Entry, first: int, last: int) -> Iterator[bytes]:
        if piece := entry.header[first:last]:
            yield piece
        begin, end = max(first - len(entry.header), 0), min(last - len(entry.header), entry.size)
        if begin < end:
            if isinstance(entry.file, bytes):
                yield entry.file[begin:end]
            else:
                yield from self._reader.read(entry.file, begin, end)
        filled = len(entry.header) + entry.size
        if last > filled:
            yield bytes(last - max(first, filled))


def _header(name: str, size: int, at: int) -> bytes:
    """An entry's header: PAX, so that names may be of any language and length, and files of any size."""
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = size, at, 0o644
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
