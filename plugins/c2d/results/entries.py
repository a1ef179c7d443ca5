"""What the APIs give out for a published file."""

from __future__ import annotations

from dataclasses import dataclass

from c2d.contract import ManifestEntry
from c2d.crypto import result_files


@dataclass(frozen=True)
class DownloadableFile:
    """A result as the APIs give it out. A file that only the consumer can decrypt is given out encrypted.

    suffix: what ``filename`` has after the file's own name. contentType: None for an encrypted file.
    """

    filename: str
    size: int
    sha256: str
    contentType: str | None
    suffix: str = ""


def downloadable(entry: ManifestEntry) -> DownloadableFile:
    """How the file is given out."""
    if entry.encrypted != "consumer":
        return DownloadableFile(entry.filename, entry.size, entry.sha256, entry.contentType)
    stored, suffix = entry.in_store, result_files.SUFFIX
    return DownloadableFile(entry.filename + suffix, stored.size, stored.sha256, None, suffix)
