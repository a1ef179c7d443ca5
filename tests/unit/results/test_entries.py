"""How a file of the manifest is given out."""

from __future__ import annotations

from typing import Any

from c2d.contract import ManifestEntry, StoredFile
from c2d.results.entries import DownloadableFile, downloadable

STORED = StoredFile(path="data/0", size=90, sha256="bb" * 32)


def entry(**changes: Any) -> ManifestEntry:
    values = {"index": 0, "path": "data/outputs/a", "filename": "a", "size": 3, "sha256": "aa" * 32, "type": "output"}
    return ManifestEntry(**{**values, "contentType": "text/plain", **changes})


def test_a_file_in_clear_is_given_out_unchanged() -> None:
    assert downloadable(entry()) == DownloadableFile("a", 3, "aa" * 32, "text/plain")


def test_a_file_that_the_operator_decrypts_is_given_out_decrypted() -> None:
    assert downloadable(entry(encrypted="store", stored=STORED)) == DownloadableFile("a", 3, "aa" * 32, "text/plain")


def test_a_file_that_only_the_consumer_decrypts_is_given_out_encrypted() -> None:
    expected = DownloadableFile("a.c2d", 90, "bb" * 32, None, ".c2d")
    assert downloadable(entry(encrypted="consumer", stored=STORED)) == expected


def test_an_entry_of_a_jobs_row_is_given_out_like_the_record() -> None:
    record = entry(encrypted="consumer", stored=STORED)
    assert downloadable(ManifestEntry.trusted(record.to_json())) == downloadable(record)
