"""Entries of manifest.json: the only place that knows their fields. An entry describes one published file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from c2d.crypto import result_files

Entry = dict[str, Any]
"""``path``, ``filename``, ``size``, ``sha256`` and ``type`` of the content; ``stored`` describes the encrypted file, if there is one."""


def path(entry: Entry) -> str:
    """``data/outputs/...``, ``data/logs/...`` or ``data/adminlogs/...``."""
    return str(entry["path"])


def stored_path(entry: Entry) -> str:
    """The path in the store, which is a random one for an encrypted file."""
    return str(entry.get("stored", entry)["path"])


def stored_size(entry: Entry) -> int:
    """The size in the store, in bytes."""
    return int(entry.get("stored", entry)["size"])


def etag(entry: Entry) -> str | None:
    """The ETag in S3."""
    return entry.get("etag")


def cid(entry: Entry) -> str | None:
    """The CID in IPFS."""
    return entry.get("cid")


def is_admin_log(entry: Entry) -> bool:
    """Whether the file is in the store of the admin logs."""
    return path(entry).startswith("data/adminlogs/")


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


def downloadable(entry: Entry) -> DownloadableFile:
    """How the file is given out."""
    if entry.get("encrypted") != "consumer":
        return DownloadableFile(entry["filename"], entry["size"], entry["sha256"], entry.get("contentType"))
    stored, suffix = entry["stored"], result_files.SUFFIX
    return DownloadableFile(entry["filename"] + suffix, stored["size"], stored["sha256"], None, suffix)
