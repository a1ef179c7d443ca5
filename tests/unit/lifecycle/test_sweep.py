from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from c2d.database.jobs import JobRepository, JobRow
from c2d.jobs.model import Job
from c2d.lifecycle.sweep import is_left_behind
from tests.unit.examples import job

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def owner(age: timedelta = timedelta(0)) -> dict[str, Any]:
    return {"metadata": {"name": "j1", "creationTimestamp": (NOW - age).isoformat().replace("+00:00", "Z")}}


def row(finished: timedelta | None, reason: str = "Completed") -> JobRow:
    ended = None if finished is None else NOW - finished
    return JobRow("j1", "env", "0x", None, None, "raw", [], 70, "", NOW, ended, 0, 0, [], [], {"reason": reason})


@pytest.mark.parametrize(
    ("known", "age", "gone"),
    [
        (row(None), timedelta(days=9), False),
        (row(timedelta(seconds=1)), timedelta(0), True),
        (row(timedelta(hours=23), "PublishFailed"), timedelta(0), False),
        (row(timedelta(hours=25), "PublishFailed"), timedelta(0), True),
        (None, timedelta(minutes=59), False),
        (None, timedelta(minutes=61), True),
    ],
    ids=["runs", "ended", "unpublished", "unpublished for long", "unknown", "unknown for long"],
)
def test_objects_go_when_they_serve_nobody(known: JobRow | None, age: timedelta, gone: bool) -> None:
    assert is_left_behind(owner(age), known, NOW) == gone


def test_a_job_whose_run_has_ended_is_ended_and_one_that_goes_on_is_not(database_url: str) -> None:
    from c2d.lifecycle.sweep import sweep

    store = JobRepository(database_url)
    for job_id in ("ended", "goes-on"):
        store.open_job(job_id, "env", Job.parse(job(), "env"))
    sweep(store, _NoPods(), lambda dag_id, run_id: run_id == "goes-on")  # type: ignore[arg-type]
    assert [r.jobId for r in store.unfinished_with_run()] == ["goes-on"]


def test_a_sweep_that_cannot_tell_whether_a_run_goes_on_ends_nothing(database_url: str) -> None:
    from c2d.lifecycle.sweep import sweep

    def unknown(dag_id: str, run_id: str) -> bool:
        raise ConnectionError

    store = JobRepository(database_url)
    store.open_job("j1", "env", Job.parse(job(), "env"))
    with pytest.raises(ConnectionError):
        sweep(store, _NoPods(), unknown)  # type: ignore[arg-type]
    assert len(store.unfinished_with_run()) == 1


class _NoPods:
    def owners(self, label: str) -> list[dict[str, Any]]:
        return []
