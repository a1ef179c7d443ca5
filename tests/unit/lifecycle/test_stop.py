"""Every stop of a job goes through stop_job: recorded first, then the run ends, then the job if nothing else will end it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import c2d
from c2d.database.jobs import JobRepository
from c2d.jobs.model import Job
from c2d.lifecycle.stop import stop_job
from tests.unit.examples import job


@pytest.fixture
def repository(database_url: str) -> JobRepository:
    repository = JobRepository(database_url)
    repository.open_job("j1", "ocean-compute", Job.parse(job(), "ocean-compute"))
    return repository


def test_the_request_is_recorded_before_the_run_ends(repository: JobRepository) -> None:
    recorded = []

    def end_run() -> bool:
        row = repository.job("j1")
        recorded.append(row.stopreq if row else None)
        return False

    stop_job(repository, "j1", end_run)
    row = repository.job("j1")
    assert recorded == [1] and row is not None and row.dateFinished is None, "the run's own tasks end the job"


def test_a_job_whose_run_is_over_ends_as_stopped(repository: JobRepository) -> None:
    for _ in range(2):  # a repeated stop changes nothing
        stop_job(repository, "j1", lambda: True)
    row = repository.job("j1")
    assert row is not None and row.dateFinished is not None and row.terminationDetails is not None
    assert row.terminationDetails["reason"] == "Stopped"


def test_nothing_else_requests_a_stop_or_stops_a_run() -> None:
    callers: dict[str, set[str]] = {"request_stop": set(), "runs.stop": set()}
    package = Path(c2d.__file__).parent
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = ast.unparse(node.func)
                if name == "repository.request_stop":
                    callers["request_stop"].add(str(file.relative_to(package)))
                if name.endswith("runs.stop"):
                    callers["runs.stop"].add(str(file.relative_to(package)))
    assert callers == {"request_stop": {"lifecycle/stop.py"}, "runs.stop": {"lifecycle/dispatch.py"}}
