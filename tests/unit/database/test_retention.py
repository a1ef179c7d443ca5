"""Results after the end of their job, on real stores: published again, and removed once they expire."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from c2d.contract import Manifest, PublishAnswer
from c2d.database.jobs import JobRepository
from c2d.database.notifications import Notifications
from c2d.database.retention import Retention
from c2d.database.tables import jobs
from c2d.errors import NotRepublishable
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd, Status
from c2d.lifecycle import sweep
from c2d.lifecycle.airflow_runs import AirflowRuns
from c2d.lifecycle.dispatch import Dispatcher
from c2d.results.destinations import destinations
from c2d.results.stores import JobResultStores
from c2d.settings.installation import Settings, read
from tests.unit.examples import job

BASE = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "STORAGE_EXPIRY": "24"}


def settings_of(database_url: str, path: Path, **variables: str) -> Settings:
    return read({**BASE, "C2D_DATABASE_URL": database_url, "C2D_RESULTS_PATH": str(path), **variables})


def file(path: str = "data/outputs/a", size: int = 1) -> dict[str, Any]:
    return {"index": 0, "path": path, "filename": path.rsplit("/", 1)[1], "size": size, "sha256": "00" * 32, "type": "output"}


def ended(repository: JobRepository, job_id: str = "j1", stores: dict[str, Any] | None = None, publish: Reason = Reason.COMPLETED) -> None:
    """Record a job that ran, and how its publish ended."""
    repository.open_job(job_id, "ocean-compute", Job.parse(job(), "ocean-compute"))
    for stage in (Stage.CONFIGURE, Stage.ALGORITHM, Stage.FILTER):
        repository.end_stage(job_id, StageEnd(stage, Reason.COMPLETED, 0), None, None)
    repository.end_stage(job_id, StageEnd(Stage.PUBLISH, publish, message="" if publish is Reason.COMPLETED else "store: away"), None, None)
    manifest = {"files": [file()], "withheld": []} if publish is Reason.COMPLETED else None
    repository.finish_job(job_id, manifest, stores)


LATER = datetime.now(UTC) + timedelta(hours=25)
SOONER = datetime.now(UTC) + timedelta(hours=23)


def test_results_on_the_volume_are_removed_once_they_expire(database_url: str, tmp_path: Path) -> None:
    repository, settings = JobRepository(database_url), settings_of(database_url, tmp_path)
    (tmp_path / "j1/data/outputs").mkdir(parents=True)
    (tmp_path / "j1/data/outputs/a").write_text("a")
    ended(repository, stores={"results": {"type": "directory"}})
    sweep.expire(repository, settings, SOONER)
    assert repository.job("j1").removed == 0 and (tmp_path / "j1").exists()  # type: ignore[union-attr]
    sweep.expire(repository, settings, LATER)
    row = repository.job("j1")
    assert row is not None and (row.removed, row.stores, len(row.results)) == (1, None, 1)
    assert not (tmp_path / "j1").exists()


def test_expired_results_are_removed_from_both_buckets_and_other_jobs_stay(database_url: str, tmp_path: Path, minio: Any) -> None:
    results, logs = minio.bucket(), minio.bucket()
    variables = minio.settings(AWS_BUCKET_OUTPUT="another", AWS_BUCKET_ADMINLOGS="another")  # settings may have changed since
    repository, settings = JobRepository(database_url), settings_of(database_url, tmp_path, **variables)
    for bucket in (results, logs):
        for key in ("j1/data/outputs/a", "j1/manifest.json", "j11/data/outputs/a"):
            minio.client().put_object(Bucket=bucket, Key=key, Body=b"a")
    ended(repository, stores={"results": {"type": "s3", "bucket": results}, "adminLogs": {"type": "s3", "bucket": logs}})
    sweep.expire(repository, settings, LATER)
    for bucket in (results, logs):
        assert [o["Key"] for o in minio.client().list_objects_v2(Bucket=bucket)["Contents"]] == ["j11/data/outputs/a"]


def test_results_in_ipfs_are_unpinned_after_ipfs_expiry_time(database_url: str, tmp_path: Path, kubo: Any) -> None:
    repository = JobRepository(database_url)
    settings = settings_of(database_url, tmp_path, **kubo.settings(IPFS_EXPIRY_TIME="3600"))
    cids = []
    for content in (b"one", b"two"):
        import httpx

        headers = {"Authorization": f"Bearer {kubo.pod_token}"}
        cids.append(httpx.post(f"{kubo.url}/api/v0/add?pin=true", headers=headers, files={"file": content}).json()["Hash"])
    ended(repository, stores={"results": {"type": "ipfs", "api": kubo.url, "cid": cids[0], "manifest": cids[1]}})
    assert set(cids) <= kubo.pins().keys()
    sweep.expire(repository, settings, datetime.now(UTC) + timedelta(minutes=59))
    assert set(cids) <= kubo.pins().keys()
    sweep.expire(repository, settings, datetime.now(UTC) + timedelta(minutes=61))
    assert not set(cids) & kubo.pins().keys()
    assert repository.job("j1").removed == 1  # type: ignore[union-attr]


def test_a_pin_that_another_job_needs_stays(database_url: str, tmp_path: Path, kubo: Any) -> None:
    import httpx

    repository = JobRepository(database_url)
    settings = settings_of(database_url, tmp_path, **kubo.settings(IPFS_EXPIRY_TIME="3600"))
    headers = {"Authorization": f"Bearer {kubo.pod_token}"}
    cid = httpx.post(f"{kubo.url}/api/v0/add?pin=true", headers=headers, files={"file": b"shared"}).json()["Hash"]
    for job_id in ("j1", "j2"):
        ended(repository, job_id, stores={"results": {"type": "ipfs", "api": kubo.url, "cid": cid}})
    with repository.engine.begin() as c:
        c.execute(sa.text("""UPDATE c2d.jobs SET "dateFinished" = now() + interval '1 day' WHERE "jobId" = 'j2'"""))
    sweep.expire(repository, settings, datetime.now(UTC) + timedelta(minutes=61))
    assert repository.job("j1").removed == 1 and cid in kubo.pins()  # type: ignore[union-attr]
    sweep.expire(repository, settings, datetime.now(UTC) + timedelta(days=2))
    assert cid not in kubo.pins()


def test_expired_results_are_unreadable_at_once_even_if_their_store_is_away(database_url: str, tmp_path: Path, minio: Any) -> None:
    repository, bucket = JobRepository(database_url), minio.bucket()
    minio.client().put_object(Bucket=bucket, Key="j1/data/outputs/a", Body=b"a")
    ended(repository, stores={"results": {"type": "s3", "bucket": bucket}})
    repository.store_result_keys("j1", {"results": "sealed"})
    away = settings_of(database_url, tmp_path, **{**minio.settings(AWS_BUCKET_OUTPUT=bucket), "AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
    sweep.expire(repository, away, LATER)
    row = repository.job("j1")
    assert row is not None and (row.removed, row.stores) == (1, {"results": {"type": "s3", "bucket": bucket}})
    assert repository.result_keys("j1") is None, "the key is deleted at once"
    sweep.expire(repository, settings_of(database_url, tmp_path, **minio.settings(AWS_BUCKET_OUTPUT=bucket)), LATER)
    assert repository.job("j1").stores is None  # type: ignore[union-attr]
    assert minio.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_results_of_a_former_environment_expire_by_the_term_of_their_publication(database_url: str, tmp_path: Path) -> None:
    """Otherwise nobody could read them and nothing would remove them, nor the key of an encrypted copy."""
    repository = JobRepository(database_url)
    for job_id, term in (("j1", {"keptSeconds": 86400}), ("j2", {})):
        (tmp_path / job_id).mkdir()
        ended(repository, job_id, stores={"results": {"type": "directory", **term}})
    ended(repository, "j3", stores={"results": {"type": "s3", "bucket": "theirs", "keptSeconds": 86400}})
    with repository.engine.begin() as c:
        c.execute(sa.update(jobs).values(resultKeys={"results": "0x00"}))
    changed = settings_of(database_url, tmp_path, C2D_ENVIRONMENT="another")
    sweep.expire(repository, changed, SOONER)
    assert [repository.job(j).removed for j in ("j1", "j2", "j3")] == [0, 0, 0]  # type: ignore[union-attr]
    sweep.expire(repository, changed, LATER)
    rows = {j: repository.job(j) for j in ("j1", "j2", "j3")}
    assert {j: (row.removed, row.stores is None) for j, row in rows.items() if row} == {
        "j1": (1, True),
        "j2": (0, False),  # published with no term
        "j3": (1, False),  # its credentials are unknown: it is removed once the environment is back
    }
    assert not (tmp_path / "j1").exists() and (tmp_path / "j2").exists()
    assert [bool(repository.result_keys(j)) for j in rows] == [False, True, False]


@pytest.mark.parametrize(("expiry", "term"), [("24", {"keptSeconds": 86400}), ("0", {})])
def test_the_expiry_term_is_stored_with_the_results(tmp_path: Path, expiry: str, term: dict[str, int]) -> None:
    settings = settings_of("postgresql+psycopg2://u:p@h/d", tmp_path, STORAGE_EXPIRY=expiry)
    env = settings.environments[0]
    manifest = json.dumps(Manifest(job="j1", files=(), withheld=()).to_json()).encode()
    (tmp_path / "j1").mkdir()
    (tmp_path / "j1/manifest.json").write_bytes(manifest)
    answer = PublishAnswer(files=0, bytes=0, manifestSha256=hashlib.sha256(manifest).hexdigest())
    published = JobResultStores(destinations(env), env, settings, "j1").verify_published(answer)
    assert published.stores == {"results": {"type": "directory", **term}}


def test_results_that_can_never_be_removed_do_not_block_the_others(
    database_url: str, tmp_path: Path, minio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2d.database import retention

    monkeypatch.setattr(retention, "JOBS_PER_SWEEP", 2)
    repository, settings = JobRepository(database_url), settings_of(database_url, tmp_path, **minio.settings(AWS_BUCKET_OUTPUT="another"))
    for n in range(4):
        ended(repository, f"lost{n}", stores={"results": {"type": "s3", "bucket": "a-bucket-that-was-deleted"}})
    (tmp_path / "j1").mkdir()
    ended(repository, stores={"results": {"type": "directory"}})
    for _ in range(100):
        sweep.expire(repository, settings, LATER)
        if not (tmp_path / "j1").exists():
            break
    assert repository.job("j1").stores is None  # type: ignore[union-attr]


def test_a_partial_upload_is_removed_with_the_jobs_volume(database_url: str, tmp_path: Path, minio: Any) -> None:
    repository, bucket = JobRepository(database_url), minio.bucket()
    minio.client().put_object(Bucket=bucket, Key="j1/data/outputs/a", Body=b"a")
    settings = settings_of(database_url, tmp_path, **minio.settings(AWS_BUCKET_OUTPUT=bucket))
    ended(repository, publish=Reason.ERROR)
    with repository.engine.begin() as c:
        c.execute(sa.text("""UPDATE c2d.jobs SET "dateFinished" = now() - interval '25 hours'"""))
    pods = _Pods()
    sweep.sweep(repository, pods, lambda dag, run: True, sweep.partial_upload_remover(settings))  # type: ignore[arg-type]
    assert pods.deleted == [] and minio.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 1, "it is being published again"
    sweep.sweep(repository, pods, lambda dag, run: False, sweep.partial_upload_remover(settings))  # type: ignore[arg-type]
    assert pods.deleted == ["j1"] and minio.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_the_partial_upload_of_a_stopped_publish_is_removed(database_url: str, tmp_path: Path, minio: Any) -> None:
    from c2d.results.destinations import destinations

    repository, bucket, logs = JobRepository(database_url), minio.bucket(), minio.bucket()
    settings = settings_of(database_url, tmp_path, **minio.settings(AWS_BUCKET_OUTPUT=bucket, AWS_BUCKET_ADMINLOGS=logs))
    for each in (bucket, logs):
        minio.client().put_object(Bucket=each, Key="j1/data/outputs/a", Body=b"a")
    repository.open_job("j1", "ocean-compute", Job.parse(job(), "ocean-compute"))
    Retention(repository).abandon("j1", destinations(settings.environments[0]).dump())
    sweep.expire(repository, settings, datetime.now(UTC))
    assert minio.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 1, "the job has not ended yet"
    repository.request_stop("j1")
    repository.finish_job("j1")
    sweep.expire(repository, settings, datetime.now(UTC))
    assert [minio.client().list_objects_v2(Bucket=each)["KeyCount"] for each in (bucket, logs)] == [0, 0]
    row = repository.job("j1")
    assert row is not None and (row.removed, row.stores) == (0, None)


class _Pods:
    def __init__(self) -> None:
        self.deleted: list[str] = []

    def owners(self, label: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "j1", "annotations": {"c2d/job-id": "j1"}}}]

    def delete_owner(self, name: str) -> None:
        self.deleted.append(name)


def test_a_job_whose_publish_failed_can_be_published_again(database_url: str) -> None:
    repository = JobRepository(database_url)
    ended(repository, publish=Reason.ERROR)
    assert repository.job("j1").status == 62  # type: ignore[union-attr]
    retention = Retention(repository)
    retention.request_republish("j1", datetime.now(UTC))
    assert retention.requested_republishes() == [("j1", "ocean-compute")]
    retention.forget_publish("j1")
    assert repository.job("j1").status == 62, "until it has succeeded"  # type: ignore[union-attr]
    assert repository.finish_job("j1").status is Status.UPLOAD_FAILED, "a sweep in between changes nothing"
    retention.republish_begun("j1")
    assert retention.requested_republishes() == []
    repository.end_stage("j1", StageEnd(Stage.PUBLISH, Reason.COMPLETED, 0), None, None)
    assert repository.finish_job("j1", {"files": [file()], "withheld": []}, {"results": {"type": "directory"}}).status is Status.FINISHED
    row = repository.job("j1")
    assert row is not None and (row.status, row.statusText, len(row.results)) == (70, "Job finished", 1)
    assert row.terminationDetails is not None and row.terminationDetails["reason"] == "Completed"


def test_a_second_stop_notification_announces_results_that_came_later(database_url: str) -> None:
    repository, outbox = JobRepository(database_url), Notifications(database_url)
    ended(repository, publish=Reason.ERROR)
    for notification in outbox.take():
        outbox.delivered(notification)
    repository.finish_job("j1")
    assert outbox.take() == [], "once"
    Retention(repository).forget_publish("j1")
    repository.end_stage("j1", StageEnd(Stage.PUBLISH, Reason.COMPLETED, 0), None, None)
    for _ in range(2):
        repository.finish_job("j1", {"files": [file()], "withheld": []}, {"results": {"type": "directory"}})
    assert [notification.event for notification in outbox.take()] == ["stop"]


@pytest.mark.parametrize(
    ("prepare", "sentence"),
    [
        (lambda repository: None, "there is no job j1"),
        (
            lambda repository: repository.open_job("j1", "ocean-compute", Job.parse(job(), "ocean-compute")),
            "job j1 has not ended: its status is 1",
        ),
        (lambda repository: ended(repository, stores={}), "job j1 ended with status 70: all its results are published"),
    ],
)
def test_an_impossible_republish_is_refused_with_the_reason(database_url: str, prepare: Any, sentence: str) -> None:
    repository = JobRepository(database_url)
    prepare(repository)
    with pytest.raises(NotRepublishable, match=sentence):
        Retention(repository).request_republish("j1", datetime.now(UTC))


def test_a_job_cannot_be_published_again_once_its_volume_is_gone(database_url: str) -> None:
    repository = JobRepository(database_url)
    ended(repository, publish=Reason.ERROR)
    with pytest.raises(NotRepublishable, match="its volume was kept for 24 hours"):
        Retention(repository).request_republish("j1", LATER)


def test_the_dispatcher_runs_publish_again_once(database_url: str, tmp_path: Path) -> None:
    settings = settings_of(database_url, tmp_path)
    repository, cleared = JobRepository(database_url), []

    class Runs(AirflowRuns):
        def republish(self, environment: str, job_id: str) -> None:
            cleared.append((environment, job_id))

    dispatcher = Dispatcher(settings, Runs())
    ended(repository, publish=Reason.ERROR)
    Retention(repository).request_republish("j1", datetime.now(UTC))
    dispatcher.republish()
    dispatcher.republish()
    assert cleared == [("ocean-compute", "j1")]
    assert Stage.PUBLISH not in repository.stage_ends("j1")


def test_the_republish_command_records_the_request(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from c2d.cli import main
    from c2d.settings import installation

    monkeypatch.setenv("OPERATOR_PRIVATE_KEY", BASE["OPERATOR_PRIVATE_KEY"])
    monkeypatch.setenv("C2D_DATABASE_URL", database_url)
    installation.load.cache_clear()
    try:
        assert main.main(["republish", "nobody"]) == 1
        assert capsys.readouterr().err == "c2d: there is no job nobody\n"
        ended(JobRepository(database_url), publish=Reason.ERROR)
        assert main.main(["republish", "j1"]) == 0
        assert capsys.readouterr().out == "job j1: will be published again; its status shows the result\n"
    finally:
        installation.load.cache_clear()
    assert Retention(JobRepository(database_url)).requested_republishes() == [("j1", "ocean-compute")]
