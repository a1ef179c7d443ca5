"""publish to S3: a real MinIO, the real stage, and the operator's half of it."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from c2d.contract import S3Target
from tests.stages.conftest import Pod, sha256
from tests.stages.publishing import Publishing

MIB = 1 << 20


@pytest.fixture
def bucket(minio: Any) -> str:
    return str(minio.bucket())


@pytest.fixture
def job(pod: Pod, minio: Any, bucket: str) -> Publishing:
    """A job with outputs of every kind, before its filter."""
    pod.write("data/outputs/sub/a.csv", b"a,b\n")
    pod.write("data/outputs/größe 数据 + #?.txt", "größe".encode())
    pod.write("data/outputs/empty", b"")
    pod.write("data/logs/algorithm.log", b"hello")
    pod.write("data/adminlogs/configure.log", b"configured")
    return Publishing(pod, **minio.settings(AWS_BUCKET_OUTPUT=bucket))


def objects(minio: Any, bucket: str, prefix: str = "") -> dict[str, bytes]:
    client = minio.client()
    listed = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for page in listed for entry in page.get("Contents", [])]
    return {key: client.get_object(Bucket=bucket, Key=key)["Body"].read() for key in keys}


def test_results_lie_below_the_jobs_prefix_as_the_manifest_says(job: Publishing, minio: Any, bucket: str) -> None:
    job.filter()
    outcome = job.publish()
    manifest, stores = job.verified(outcome)
    stored = objects(minio, bucket)
    assert [f["path"] for f in manifest["files"]] == [
        "data/outputs/empty",
        "data/outputs/größe 数据 + #?.txt",
        "data/outputs/sub/a.csv",
        "data/logs/algorithm.log",
        "data/adminlogs/configure.log",
        "data/adminlogs/filter.log",
        "data/adminlogs/publish.log",
    ]
    assert set(stored) == {f"{job.job}/{f['path']}" for f in manifest["files"]} | {f"{job.job}/manifest.json"}
    for file in manifest["files"]:
        content = stored[f"{job.job}/{file['path']}"]
        assert (len(content), sha256(content)) == (file["size"], file["sha256"])
    assert stores == {"results": {"type": "s3", "bucket": bucket}} and job.plans == 0
    head = minio.client().head_object(Bucket=bucket, Key=f"{job.job}/data/outputs/sub/a.csv", ChecksumMode="ENABLED")
    assert head["ContentType"] == "text/csv"
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"a,b\n").digest()).decode()


def test_the_manifests_urls_are_those_of_the_objects(job: Publishing, minio: Any, bucket: str) -> None:
    job.filter()
    manifest, _ = job.verified(job.publish())
    from urllib.parse import unquote

    for file in manifest["files"]:
        assert unquote(file["url"]) == f"{minio.endpoint}/{bucket}/{job.job}/{file['path']}"


def test_admin_logs_go_to_a_bucket_of_their_own(pod: Pod, minio: Any, bucket: str) -> None:
    logs = minio.bucket()
    sparse(pod.data / "outputs/a", 70 * MIB)  # with a plan, which is in one bucket only
    pod.write("data/adminlogs/configure.log")
    job = Publishing(pod, **minio.settings(AWS_BUCKET_OUTPUT=bucket, AWS_BUCKET_ADMINLOGS=logs))
    job.filter()
    _, stores = job.verified(job.publish())
    assert job.plans == 1
    assert {key.split("/", 1)[1] for key in objects(minio, bucket)} == {"data/outputs/a", "manifest.json"}
    names = ("configure", "filter", "publish")
    assert {key.split("/", 1)[1] for key in objects(minio, logs)} == {f"data/adminlogs/{name}.log" for name in names}
    assert stores["adminLogs"] == {"type": "s3", "bucket": logs}


def right_of(job: Publishing) -> S3Target:
    store, _ = job.results.upload_rights(60)
    assert isinstance(store, S3Target)
    return store


def sparse(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
        for place in range(0, size, 16 * MIB):
            file.seek(place)
            file.write(os.urandom(8))


def test_a_large_file_goes_in_parts_that_the_operator_signed(job: Publishing, minio: Any, bucket: str) -> None:
    sparse(job.pod.data / "outputs/large", 100 * MIB + 5)
    job.filter()
    manifest, _ = job.verified(job.publish())
    assert job.plans == 1
    key = f"{job.job}/data/outputs/large"
    file = next(f for f in manifest["files"] if f["path"] == "data/outputs/large")
    assert sha256(minio.client().get_object(Bucket=bucket, Key=key)["Body"].read()) == file["sha256"]
    assert minio.client().head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")["ChecksumSHA256"].endswith("-4")
    assert not [key for key in objects(minio, bucket, f"{job.job}/.publish")], "plan and answer are removed"


def test_a_bucket_that_refuses_access_is_reported_before_the_pod_starts(pod: Pod, minio: Any) -> None:
    from c2d.errors import ResultStoreError

    job = Publishing(pod, **minio.settings(AWS_BUCKET_OUTPUT="no-such-bucket"))
    with pytest.raises(ResultStoreError, match=r"bucket no-such-bucket: the store refuses to list it \(NoSuchBucket\)"):
        job.results.upload_rights(60)


def test_an_unreachable_store_does_not_keep_the_pod_from_starting(pod: Pod, minio: Any) -> None:
    job = Publishing(pod, **minio.settings(AWS_BUCKET_OUTPUT="b", AWS_ENDPOINT_URL="http://127.0.0.1:1"))
    assert right_of(job).resume is True


def test_an_airflow_connection_is_as_good_as_the_settings(
    job: Publishing, minio: Any, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json

    connection = {"conn_type": "aws", "login": minio.access_key, "password": minio.secret_key}
    connection["extra"] = {"endpoint_url": minio.endpoint, "region_name": minio.region}  # type: ignore[assignment]
    monkeypatch.setenv("AIRFLOW_CONN_RESULTS", json.dumps(connection))
    by_connection = Publishing(job.pod, AWS_BUCKET_OUTPUT=bucket, C2D_AWS_CONN_ID="results")
    by_connection.filter()
    assert by_connection.verified(by_connection.publish())[0]["files"]


def test_each_request_goes_to_the_host_that_it_was_signed_for(job: Publishing, minio: Any, bucket: str) -> None:
    """As at Amazon, where the policy's host is not that of the signed requests."""
    sparse(job.pod.data / "outputs/large", 70 * MIB)
    job.filter()

    def elsewhere(stage: dict[str, Any]) -> None:
        post = stage["store"]["post"]
        post["url"] = post["url"].replace("127.0.0.1", "localhost")

    outcome = job.follow(job.start(change=elsewhere))
    assert job.verified(outcome)[0]["files"] and job.plans == 1
