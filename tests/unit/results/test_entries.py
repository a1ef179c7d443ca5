"""How a file of the manifest is given out."""

from __future__ import annotations

from c2d.results.entries import DownloadableFile, downloadable, is_admin_log, stored_path, stored_size

CLEAR = {"path": "data/outputs/a", "filename": "a", "size": 3, "sha256": "aa", "type": "output", "contentType": "text/plain"}
STORED = {"stored": {"path": "data/0", "size": 90, "sha256": "bb"}}


def test_a_file_in_clear_is_given_out_as_it_is() -> None:
    assert downloadable(CLEAR) == DownloadableFile("a", 3, "aa", "text/plain")
    assert (stored_path(CLEAR), stored_size(CLEAR)) == ("data/outputs/a", 3)


def test_a_file_that_the_operator_decrypts_is_given_out_decrypted() -> None:
    entry = {**CLEAR, **STORED, "encrypted": "store"}
    assert downloadable(entry) == DownloadableFile("a", 3, "aa", "text/plain")
    assert (stored_path(entry), stored_size(entry)) == ("data/0", 90)


def test_a_file_that_only_the_consumer_decrypts_is_given_out_encrypted() -> None:
    assert downloadable({**CLEAR, **STORED, "encrypted": "consumer"}) == DownloadableFile("a.c2d", 90, "bb", None, ".c2d")


def test_admin_logs_are_told_by_their_folder() -> None:
    assert is_admin_log({"path": "data/adminlogs/filter.log"})
    assert not is_admin_log({"path": "data/outputs/adminlogs/x"})
