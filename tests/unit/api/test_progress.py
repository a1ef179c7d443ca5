from __future__ import annotations

from c2d.api.operator_service.progress import progress


def test_a_log_without_progress_says_nothing() -> None:
    assert progress("") is None
    assert progress("inputs[0].files[0]: https refused\n") is None


def test_the_last_line_about_each_file_counts() -> None:
    log = "a: 1.0 of 4.0 MB, 1 MB/s\nb: 2.0 of 2.0 MB, 1 MB/s\na: 3.0 of 4.0 MB, 1 MB/s\n"
    assert progress(log) == {"bytes": 5_000_000, "totalBytes": 6_000_000}


def test_a_complete_file_is_its_own_total() -> None:
    assert progress("a: complete, 2.5 MB in 0.1 s\n") == {"bytes": 2_500_000, "totalBytes": 2_500_000}


def test_one_file_of_unknown_size_makes_the_total_unknown() -> None:
    assert progress("a: 1.0 MB, 1 MB/s\nb: 1.0 of 2.0 MB, 1 MB/s\n") == {"bytes": 2_000_000, "totalBytes": None}
