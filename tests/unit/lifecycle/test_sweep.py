from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from c2d.database.jobs import JobRepository, JobRow
from c2d.jobs.model import Job
from c2d.lifecycle.sweep import is_left_behind, sweep
from tests.unit.examples import job

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def owner(age: timedelta = timedelta(0)) -> dict[str, Any]:
    return {"metadata": {"name": "j1", "creationTimestamp": (NOW - age).isoformat().replace("+00:00", "Z")}}


def row(finished: timedelta | None, reason: str = "Completed") -> JobRow:
    ended = None if finished is None else NOW - finished
    return JobRow("j1", "env", "0x", None, None, "raw", [], 70, "", NOW, ended, 0, 0, [], [], {"reason": reason})


@pytest.mark.parametrize(
    ("job_row", "age", "left_behind"),
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
def test_objects_are_left_behind_once_nobody_needs_them(job_row: JobRow | None, age: timedelta, left_behind: bool) -> None:
    assert is_left_behind(owner(age), job_row, NOW) == left_behind


def test_a_job_ends_with_its_run(database_url: str) -> None:
    repository = JobRepository(database_url)
    for job_id in ("ended", "active"):
        repository.open_job(job_id, "env", Job.parse(job(), "env"))
    sweep(repository, _NoPods(), lambda dag_id, run_id: run_id == "active")  # type: ignore[arg-type]
    assert [r.jobId for r in repository.unfinished_with_run()] == ["active"]


def test_a_sweep_that_cannot_ask_airflow_ends_no_job(database_url: str) -> None:
    def unknown(dag_id: str, run_id: str) -> bool:
        raise ConnectionError

    repository = JobRepository(database_url)
    repository.open_job("j1", "env", Job.parse(job(), "env"))
    with pytest.raises(ConnectionError):
        sweep(repository, _NoPods(), unknown)  # type: ignore[arg-type]
    assert len(repository.unfinished_with_run()) == 1


class _NoPods:
    def owners(self, label: str) -> list[dict[str, Any]]:
        return []
