from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from c2d.database import jobs as store_module
from c2d.database.jobs import JobRepository
from c2d.database.tables import metadata
from c2d.errors import JobIdTaken
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd, Status
from tests.unit.examples import OWNER, job

JOB = Job.parse(job(agreementId="0xagreed", chainId=8996), "env")
NOW = datetime.now(UTC)


@pytest.fixture
def repository(database_url: str) -> JobRepository:
    return JobRepository(database_url)


def end(stage: str, reason: Reason = Reason.COMPLETED, code: int | None = 0) -> StageEnd:
    return StageEnd(Stage(stage), reason, code)


def test_a_new_job_is_warming_up_and_has_oceans_fields(repository: JobRepository) -> None:
    row = repository.open_job("j1", "env", JOB)
    assert (row.status, row.statusText, row.owner, row.agreementId, row.chainId) == (1, "Warming up", OWNER, "0xagreed", 8996)
    assert (row.algoDID, row.inputDID, row.stopreq, row.removed, row.results, row.dateFinished) == (
        "did:op:cc",
        ["did:op:aa"],
        0,
        0,
        [],
        None,
    )
    assert repository.job("j1") == row


def test_opening_a_job_again_changes_nothing(repository: JobRepository) -> None:
    first = repository.open_job("j1", "env", JOB)
    repository.set_status("j1", Status.CONFIGURING)
    assert repository.open_job("j1", "env", JOB).dateCreated == first.dateCreated
    assert repository.open_job("j1", "env", JOB).status == 20


def test_a_job_id_of_another_environment_is_refused(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    with pytest.raises(JobIdTaken, match="j1 is in use"):
        repository.open_job("j1", "other", JOB)


def test_the_status_never_goes_back(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    seen = []
    for status in (Status.CONFIGURING, Status.RUNNING, Status.CONFIGURED, Status.CONFIGURING, Status.FILTERING):
        repository.set_status("j1", status)
        seen.append(repository.job("j1").status)  # type: ignore[union-attr]
    assert seen == [20, 40, 40, 40, 50]


def test_the_status_of_a_failed_configure_stays_through_filter_and_publish(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    repository.end_stage("j1", end("configure", Reason.ERROR, 1), NOW, NOW, Status.INPUT_FAILED)
    repository.set_status("j1", Status.FILTERING)
    repository.set_status("j1", Status.PUBLISHING)
    repository.end_stage("j1", end("filter"), NOW, NOW)
    repository.end_stage("j1", end("publish"), NOW, NOW)
    assert repository.job("j1").status == 31  # type: ignore[union-attr]
    assert repository.finish_job("j1", {"files": [], "withheld": []}).status == 31
    assert repository.job("j1").statusText == "Data provisioning failed"  # type: ignore[union-attr]


def test_the_first_record_of_a_stages_end_stays(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    repository.end_stage("j1", end("algorithm", Reason.ERROR, 3), NOW, NOW)
    kept = repository.end_stage("j1", end("algorithm"), NOW, NOW)
    assert (kept.reason, kept.exit_code) == (Reason.ERROR, 3)
    assert repository.stage_ends("j1")[Stage.ALGORITHM].exit_code == 3


def test_a_job_ends_once_with_its_results(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    for stage in Stage:
        repository.end_stage("j1", end(stage), NOW, NOW)
    manifest = {"files": [{"filename": "a.csv", "size": 1}], "withheld": [{"path": "b", "reason": "c"}]}
    assert repository.finish_job("j1", manifest).ok
    ended = repository.job("j1")
    assert ended is not None and ended.dateFinished is not None
    assert (ended.status, ended.statusText, ended.results, ended.withheld) == (70, "Job finished", manifest["files"], manifest["withheld"])
    repository.finish_job("j1")
    repository.request_stop("j1")
    repository.set_status("j1", Status.RUNNING)
    assert repository.job("j1") == ended


def test_a_stop_request_shows_in_the_row(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    repository.request_stop("j1")
    repository.end_stage("j1", end("algorithm", Reason.STOPPED, None), NOW, NOW)
    repository.end_stage("j1", end("publish"), NOW, NOW)
    repository.finish_job("j1", {"files": [], "withheld": []})
    row = repository.job("j1")
    assert row is not None and row.terminationDetails is not None
    assert (row.status, row.stopreq, row.terminationDetails["reason"]) == (70, 1, "Stopped")


def test_a_job_that_exceeded_its_deadline_has_stopreq_2_as_in_operator_engine(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    for stage in Stage:
        repository.end_stage("j1", end(stage, Reason.DEADLINE_EXCEEDED if stage is Stage.ALGORITHM else Reason.COMPLETED), NOW, NOW)
    repository.finish_job("j1")
    assert repository.job("j1").stopreq == 2  # type: ignore[union-attr]


def test_ending_an_unknown_job_is_an_error(repository: JobRepository) -> None:
    with pytest.raises(LookupError):
        repository.finish_job("nosuch")


def test_unfinished_jobs_with_a_run_are_listed(repository: JobRepository) -> None:
    for job_id in ("j1", "j2"):
        repository.open_job(job_id, "env", JOB)
    repository.finish_job("j1")
    assert [r.jobId for r in repository.unfinished_with_run()] == ["j2"]


def test_concurrent_writers_end_a_job_once_and_agree(repository: JobRepository) -> None:
    repository.open_job("j1", "env", JOB)
    for stage in Stage:
        repository.end_stage("j1", end(stage), NOW, NOW)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda n: repository.finish_job("j1", {"files": [{"n": n}], "withheld": []}), range(8)))
    assert all(o == outcomes[0] for o in outcomes)
    assert len(repository.job("j1").results) == 1  # type: ignore[union-attr]


def test_the_migrations_create_exactly_the_tables_of_the_code(database_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with sa.create_engine(database_url).connect() as c:
        context = MigrationContext.configure(c, opts={"include_schemas": True, "version_table_schema": "c2d", "include_name": _ours})
        assert compare_metadata(context, metadata) == []


def _ours(name: str | None, kind: str, _: object) -> bool:
    return kind != "schema" or name == "c2d"


def test_several_processes_may_migrate_at_once(postgres: str) -> None:
    with sa.create_engine(postgres, isolation_level="AUTOCOMMIT").connect() as c:
        c.execute(sa.text("CREATE DATABASE fresh"))
    url = sa.make_url(postgres).set(database="fresh").render_as_string(hide_password=False)
    code = "import sys; from c2d.database.connections import migrate; migrate(sys.argv[1])"
    env = {**os.environ, "PYTHONPATH": str(Path(store_module.__file__).parents[2])}
    both = [subprocess.Popen([sys.executable, "-c", code, url], env=env) for _ in range(2)]
    assert [p.wait(60) for p in both] == [0, 0]
    assert JobRepository(url).unfinished_with_run() == []
