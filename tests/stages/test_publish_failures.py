"""publish to real stores that are unreachable, full, slow or broken, that refuse or crash, behind a network that misbehaves."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from c2d.results.s3_store import S3ResultStore
from tests.proxy import Proxy
from tests.services import Kubo, Minio
from tests.stages.conftest import Pod, sha256
from tests.stages.publishing import Publishing, settings_of
from tests.stages.test_publish_s3 import right_of

MIB = 1 << 20
MARK = b"MARKMARKMARKMARK"


@pytest.fixture(params=["s3", "ipfs"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A store of this test alone."""
    service = (Minio if request.param == "s3" else Kubo)(tmp_path_factory.mktemp(request.param))
    service.start()
    yield service
    service.stop()


@pytest.fixture
def proxies() -> Iterator[Callable[[str], Proxy]]:
    made: list[Proxy] = []

    def make(target: str) -> Proxy:
        made.append(Proxy(target))
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


def job_at(pod: Pod, service: Any, proxy: Proxy | None = None, **more: str) -> Publishing:
    """A filtered job for the store, with one file of 3 MB that holds a mark."""
    if not (pod.data / "outputs").exists():
        pod.write("data/outputs/a.bin", os.urandom(3_000_000) + MARK)
        pod.write("data/logs/algorithm.log", b"hello")
    if isinstance(service, Minio):
        if "bucket" not in vars(service).get("made", {}):
            service.made = {"bucket": service.bucket()}  # type: ignore[attr-defined]
        variables = service.settings(AWS_BUCKET_OUTPUT=service.made["bucket"])  # type: ignore[attr-defined]
        variables |= {"AWS_ENDPOINT_URL": proxy.url} if proxy else {}
    else:
        variables = service.settings(encrypt_results="none", IPFS_OUTPUT_PREFIX="ipfs://")
        variables |= {"IPFS_OUTPUT": proxy.url} if proxy else {}
    job = Publishing(pod, **{**variables, **more})
    job.filter()
    return job


def test_an_unreachable_store_is_given_up_after_the_time_for_attempts(pod: Pod, store: Any) -> None:
    job = job_at(pod, store)
    process = job.start(change=lambda stage: store.kill(), retrySeconds=2)
    outcome = job.follow(process)
    assert outcome.code == 1
    assert outcome.answer["message"].endswith("the connection was refused; given up after 2 s of attempts"), outcome.answer
    assert store.url if isinstance(store, Kubo) else store.endpoint not in outcome.output
    store.start()
    assert job.verified(job.publish())[0]["files"], "and the outputs were there still"


def test_a_store_that_comes_back_in_time_receives_everything(pod: Pod, store: Any) -> None:
    job = job_at(pod, store)
    process = job.start(change=lambda stage: store.kill())

    def on_line(line: str) -> None:
        if "again in" in line and store.process is None:
            store.start()

    outcome = job.follow(process, on_line)
    assert "the connection was refused; again in" in outcome.output
    assert job.verified(outcome)[0]["files"]


def test_a_refused_right_is_not_tried_again(pod: Pod, store: Any) -> None:
    job = job_at(pod, store)

    def spoil(stage: dict[str, Any]) -> None:
        if "post" in stage["store"]:
            stage["store"]["post"]["fields"]["x-amz-signature"] = "0" * 64
        else:
            stage["store"]["headers"]["Authorization"] = "Bearer wrong"

    outcome = job.follow(job.start(change=spoil))
    assert outcome.code == 1 and "the store answered 403" in outcome.answer["message"]
    assert "again in" not in outcome.output


def test_a_connection_that_breaks_is_made_again(pod: Pod, store: Any, proxies: Callable[[str], Proxy]) -> None:
    proxy = proxies(store.endpoint if isinstance(store, Minio) else store.url)
    job = job_at(pod, store, proxy)
    proxy.cut = (1_000_000, 2)
    outcome = job.publish()
    assert outcome.output.count("; again in") == 2, outcome.output
    assert job.verified(outcome)[0]["files"]


def test_bytes_that_are_damaged_on_the_way_are_sent_again(pod: Pod, store: Any, proxies: Callable[[str], Proxy]) -> None:
    proxy = proxies(store.endpoint if isinstance(store, Minio) else store.url)
    job = job_at(pod, store, proxy)
    proxy.mark, proxy.damage = MARK, 1
    outcome = job.publish()
    why = "XAmzContentChecksumMismatch" if isinstance(store, Minio) else "the node has another content for data/outputs/a.bin"
    assert why in outcome.output and proxy.damage == 0, outcome.output
    assert job.verified(outcome)[0]["files"]


def test_a_slow_store_receives_everything(pod: Pod, store: Any, proxies: Callable[[str], Proxy]) -> None:
    proxy = proxies(store.endpoint if isinstance(store, Minio) else store.url)
    job = job_at(pod, store, proxy)
    proxy.rate = 2_000_000
    assert job.verified(job.publish())[0]["files"]


def test_a_file_that_was_changed_after_the_filter_is_not_published(pod: Pod, store: Any) -> None:
    job = job_at(pod, store)
    pod.write("data/outputs/a.bin", os.urandom(3_000_000) + MARK)
    outcome = job.publish()
    assert outcome.code == 1
    assert outcome.answer["message"] == "outputs/a.bin: is not what the filter released; nothing is published"


# -- what only S3 has: quotas, parts, encryption at rest -----------------------------------------------------------------------------


@pytest.fixture
def own_minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    service = Minio(tmp_path_factory.mktemp("minio"))
    service.start()
    yield service
    service.stop()


def with_large(pod: Pod, size: int = 170 * MIB) -> None:
    path = pod.data / "outputs/large"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for place in range(0, size, 16 * MIB):
            file.seek(place)
            file.write(os.urandom(64))
        file.truncate(size)


def test_a_full_store_is_reported(pod: Pod, tmp_path_factory: pytest.TempPathFactory) -> None:
    full = Minio(tmp_path_factory.mktemp("full"), size="60m")
    full.start()
    try:
        with_large(pod, 63 * MIB)
        outcome = job_at(pod, full).publish(retrySeconds=2)
    finally:
        full.stop()
    assert outcome.code == 1 and "507 (XMinioStorageFull)" in outcome.answer["message"], outcome.answer


def test_after_a_pods_crash_parts_that_arrived_are_not_sent_again(pod: Pod, own_minio: Minio, proxies: Callable[[str], Proxy]) -> None:
    with_large(pod)
    pod.write("data/outputs/small", b"small" * 100)
    proxy = proxies(own_minio.endpoint)
    job = job_at(pod, own_minio, proxy)
    proxy.rate = 40 * MIB  # of each connection
    process = job.start()
    client, bucket = own_minio.client(), job.results.destinations.results.location
    key = f"{job.job}/data/outputs/large"

    def parts() -> list[Any]:
        uploads = [u for u in client.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", []) if u["Key"] == key]
        return client.list_parts(Bucket=bucket, Key=key, UploadId=uploads[0]["UploadId"]).get("Parts", []) if uploads else []

    import threading

    def kill_in_the_middle() -> None:
        while process.poll() is None and len(parts()) < 2:
            pass
        process.send_signal(signal.SIGKILL)

    threading.Thread(target=kill_in_the_middle).start()
    assert job.follow(process).code == -signal.SIGKILL
    arrived = sum(part["Size"] for part in parts())
    assert arrived > 32 * MIB
    proxy.rate, proxy.passed = 0, 0
    outcome = job.publish()
    assert job.verified(outcome)[0]["files"]
    assert proxy.passed < 175 * MIB - arrived
    assert sha256(client.get_object(Bucket=bucket, Key=key)["Body"].read()) == sha256((pod.data / "outputs/large").read_bytes())


def test_an_upload_continues_after_the_store_has_crashed_in_the_middle_of_it(
    pod: Pod, own_minio: Minio, proxies: Callable[[str], Proxy]
) -> None:
    with_large(pod)
    proxy = proxies(own_minio.endpoint)
    job = job_at(pod, own_minio, proxy)
    proxy.rate = 40 * MIB
    process = job.start()
    died = []

    import threading

    def die() -> None:
        while process.poll() is None and proxy.passed < 90 * MIB:
            pass
        own_minio.kill()
        died.append(proxy.passed)
        own_minio.start()
        proxy.rate = 0

    thread = threading.Thread(target=die)
    thread.start()
    outcome = job.follow(process)
    thread.join()
    assert died and "; again in" in outcome.output
    assert job.verified(outcome)[0]["files"]


def test_a_second_worker_answers_a_plan_that_the_first_has_left_unanswered(pod: Pod, own_minio: Minio) -> None:
    with_large(pod)
    job = job_at(pod, own_minio)
    process = job.start()
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("plan "):
            break  # the worker that read this line is gone; the next one follows the log from its first line
    for line in lines:
        if line.startswith("plan "):
            job.results.answer_plans(3600)
            job.results.answer_plans(3600)  # and a third, which finds the upload begun
    outcome = job.follow(process)
    assert job.verified(outcome)[0]["files"]
    uploads = own_minio.client().list_multipart_uploads(
        Bucket=job.results.destinations.results.location, Prefix=f"{job.job}/data/outputs/large"
    )
    assert not uploads.get("Uploads")


@pytest.mark.parametrize(
    "encryption", [{"C2D_S3_ENCRYPTION": "AES256"}, {"C2D_S3_ENCRYPTION": "aws:kms", "C2D_S3_KMS_KEY_ID": Minio.kms_key}]
)
def test_the_store_encrypts_at_rest_as_the_settings_say(pod: Pod, minio: Minio, encryption: dict[str, str]) -> None:
    with_large(pod, 70 * MIB)
    pod.write("data/outputs/small", b"small")
    job = job_at(pod, minio, **encryption)
    _, stores = job.verified(job.publish())
    for path in ("data/outputs/small", "data/outputs/large"):
        head = minio.client().head_object(Bucket=stores["results"]["bucket"], Key=f"{job.job}/{path}")
        assert head["ServerSideEncryption"] == encryption["C2D_S3_ENCRYPTION"]


def test_a_file_that_disappears_from_the_store_is_noticed_before_the_job_ends(pod: Pod, minio: Minio) -> None:
    from c2d.errors import ResultStoreError

    job = job_at(pod, minio)
    outcome = job.publish()
    minio.client().delete_object(Bucket=job.results.destinations.results.location, Key=f"{job.job}/data/outputs/a.bin")
    with pytest.raises(ResultStoreError, match=r"data/outputs/a\.bin: is not in the store as it was sent"):
        job.verified(outcome)


def test_a_plan_for_another_jobs_prefix_is_rejected(pod: Pod, minio: Minio) -> None:
    import json

    from c2d.errors import ResultStoreError

    job = job_at(pod, minio)
    for path in ("data/../../other/data/x", "other", "data/", "/data/x"):
        plan = {"id": "x", "files": [{"path": path, "size": 1, "contentType": "a/b", "sha256": "00" * 32}]}
        minio.client().put_object(
            Bucket=job.results.destinations.results.location, Key=f"{job.job}/.publish/plan.json", Body=json.dumps(plan)
        )
        with pytest.raises(ResultStoreError, match="outside of the job's results"):
            job.results.answer_plans(60)


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda fields: fields.update(key="other/data/outputs/a"), True),
        (lambda fields: fields.update({"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()}), True),
        (lambda fields: None, False),
    ],
    ids=["another job's prefix", "another checksum", "as it is meant"],
)
def test_a_pods_policy_allows_its_own_prefix_and_the_announced_content_only(pod: Pod, minio: Minio, change: Any, refused: bool) -> None:
    import httpx

    job = job_at(pod, minio)
    post = right_of(job).post
    digest = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
    fields = {**post.fields, "key": f"{job.job}/data/outputs/a", "Content-Type": "text/plain", "x-amz-checksum-sha256": digest}
    change(fields)
    answer = httpx.post(post.url, data=fields, files={"file": b"x"})
    assert (answer.status_code >= 400) == refused, answer.text


def test_a_large_file_is_published_in_constant_memory(pod: Pod, minio: Minio) -> None:
    """The stage may use 100 MiB of memory in all (RLIMIT_DATA), for a file of 400 MB."""
    with_large(pod, 400 * MIB)
    job = job_at(pod, minio)
    stage = job.stage_json()
    process = pod.start("publish", stage, before=("prlimit", f"--data={100 * MIB}"))
    assert job.verified(job.follow(process))[0]["files"]


def test_a_large_file_that_was_changed_after_the_filter_is_not_published(pod: Pod, minio: Minio) -> None:
    with_large(pod)
    job = job_at(pod, minio)
    with (pod.data / "outputs/large").open("r+b") as file:
        file.seek(100 * MIB)
        file.write(b"changed")
    outcome = job.publish(retrySeconds=60)
    assert outcome.code == 1
    assert outcome.answer["message"] == "outputs/large: is not what the filter released; nothing is published"


def test_a_silent_store_does_not_delay_the_pod(pod: Pod, tmp_path: Path, proxies: Callable[[str], Proxy]) -> None:
    """The operator asks it once and leaves the waiting to the pod, which can be stopped."""
    minio = Minio(tmp_path / "minio")
    minio.start()
    proxy = proxies(minio.endpoint)
    env = settings_of(pod, **minio.settings(AWS_BUCKET_OUTPUT=minio.bucket(), AWS_ENDPOINT_URL=proxy.url)).environments[0]
    minio.pause()
    try:
        right = S3ResultStore(env, str(env.AWS_BUCKET_OUTPUT), "job").upload_rights(60, 1000)
        assert right.resume and proxy.connections == 1
    finally:
        minio.resume()
        minio.stop()
