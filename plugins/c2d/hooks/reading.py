"""A job's published files, read: any part of any file, decrypted, from the store where it lies, in constant memory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from c2d.encryption import Decryption, Tampered, header_for
from c2d.keys import key_of
from c2d.objects import object_name
from c2d.settings import Settings
from c2d.store import JobRow

PIECE = 1 << 20


class NotReadable(Exception):
    """A file cannot be given out; the text may be shown to its owner.

    :param status: HTTP's: 404 it is not there, 410 it has been removed, 502 it is not what was published or the store does not answer.
    """

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status, self.text = status, text


GONE = "the result is not in the store any more"
EXPIRED = "the results of this job have expired and were removed"


@dataclass(frozen=True)
class Reader:
    """A job's published files.

    :param keys: the job's :meth:`c2d.store.Store.result_keys`.
    """

    settings: Settings
    row: JobRow
    keys: dict[str, str] | None

    def read(self, file: dict[str, Any], first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """The bytes ``first`` up to ``last`` (not included) of a file of the manifest, as it is :func:`c2d.keys.offered`.

        Closing the iterator ends the request to the store.

        :raises NotReadable: before the first piece, or in between where the store fails or the file was changed; no wrong byte comes out.
        """
        if self.row.removed:
            raise NotReadable(410, EXPIRED)
        stored = file.get("stored", file)
        try:
            key = key_of(file, self.keys, self.settings.OPERATOR_PRIVATE_KEY, self.row.jobId)
        except LookupError:
            raise NotReadable(410, EXPIRED) from None
        if key is None:
            size = stored["size"]
            yield from self._stored(file, first, (size if last is None else min(last, size)) - first)
            return
        header = header_for(key, file["path"], file["sha256"])
        decryption = Decryption(key, file["path"], header, file["size"], first, last)
        try:
            for piece in self._stored(file, decryption.offset, decryption.length):
                yield from decryption.feed(piece)
            decryption.end()
        except Tampered:
            raise NotReadable(502, "the result in the store is not what was published") from None

    def _stored(self, file: dict[str, Any], offset: int, length: int) -> Iterator[bytes]:
        """Stored bytes, exactly as many as are asked for."""
        left = length
        for piece in _directory(self.settings.C2D_RESULTS_PATH / object_name(self.row.jobId), file, offset, length):
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise NotReadable(502, "the store did not give the whole result; try again")


def _directory(folder: Path, file: dict[str, Any], offset: int, length: int) -> Iterator[bytes]:
    stored = file.get("stored", file)
    path = regular_below(folder, str(stored["path"]))
    if path is None or path.stat().st_size != stored["size"]:
        raise NotReadable(404, GONE)
    with path.open("rb", buffering=0) as opened:
        opened.seek(offset)
        while length and (piece := opened.read(min(PIECE, length))):
            length -= len(piece)
            yield piece


def regular_below(folder: Path, path: str) -> Path | None:
    """The regular file at ``path`` below ``folder``; None where there is none, or where a symbolic link is on the way."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    at = folder
    for n, part in enumerate(parts):
        at = at / part
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            return None
        if not (stat.S_ISREG(mode) if n == len(parts) - 1 else stat.S_ISDIR(mode)):
            return None
    return at
