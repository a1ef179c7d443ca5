"""publish compared with the stores' own clients: 1 GB to MinIO and to kubo, and 10,000 files of 4 KB to MinIO.

publish is the whole stage program, from start to end, together with the operator's part of the upload. The clients are `ipfs add -r` and
boto3's transfer, which is the engine of the AWS command line; it runs in this process, so without the time of its start.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MB = 1_000_000
SIZE = 1_000 * MB
FILES, FILE_BYTES = 10_000, 4_096


def measure(rounds: int, spread: Callable[..., str]) -> None:
    """Run the benchmark and print its result."""
    import structlog

    from tests.services import Kubo, Minio
    from tests.stages.conftest import Pod

    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING)
    )  # hides the amazon provider's messages about credentials

    with tempfile.TemporaryDirectory() as work:
        top = Path(work)
        minio, kubo = Minio(top / "minio"), Kubo(top / "kubo")
        minio.start()
        kubo.start()
        try:
            large, small = _pod(Pod, top / "large"), _pod(Pod, top / "small")
            with (large.data / "outputs/data").open("wb") as f:
                for _ in range(SIZE // MB):
                    f.write(os.urandom(MB))
            for n in range(FILES):
                (small.data / f"outputs/{n:05}").write_bytes(os.urandom(FILE_BYTES))
            print(f"\n{SIZE // MB} MB in one file: seconds, {rounds} interleaved rounds")
            to_s3 = lambda **limits: lambda pod: _publish(pod, minio.settings(AWS_BUCKET_OUTPUT=minio.bucket()), **limits)  # noqa: E731
            to_ipfs = lambda pod: _publish(pod, kubo.settings(encrypt_results="none"))  # noqa: E731
            _compare(rounds, spread, {"boto3": lambda: _boto3(minio, large), "publish to S3": lambda: to_s3()(large)})

            def fresh(work: Callable[[], float]) -> Callable[[], float]:
                def run() -> float:
                    kubo.api("repo/gc")  # kubo does not write a block that it already has
                    return work()

                return run

            _compare(rounds, spread, {"ipfs add -r": fresh(lambda: _ipfs(kubo, large)), "publish to IPFS": fresh(lambda: to_ipfs(large))})
            print(f"\n{FILES} files of {FILE_BYTES} bytes: seconds, {rounds} interleaved rounds")
            _compare(
                rounds,
                spread,
                {
                    "boto3, one at a time": lambda: _one_at_a_time(minio, small),
                    "publish, one at a time": lambda: to_s3(connections=1)(small),
                    "publish to S3": lambda: to_s3()(small),
                },
            )
        finally:
            minio.stop()
            kubo.stop()


def _compare(rounds: int, spread: Callable[..., str], works: dict[str, Callable[[], float]]) -> None:
    """Run all in turn, and print how fast the last one is relative to each of the others."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            os.sync()
            seconds[name].append(work())
    for name, values in seconds.items():
        print(f"{name:24} {spread(values, ' s')}")
    *others, ours = works
    for other in others:
        print(f"{ours} / {other}: {spread([b / a for a, b in zip(seconds[ours], seconds[other], strict=True)])} times as fast")


def _pod(kind: Any, root: Path) -> Any:
    root.mkdir()
    pod = kind(root)
    (pod.data / "outputs").mkdir()
    return pod


def _publish(pod: Any, variables: dict[str, str], **limits: int) -> float:
    from tests.stages.publishing import Publishing

    job = Publishing(pod, **variables)
    if not (pod.data / "filter/release.json").exists():
        job.filter()
    begin = time.monotonic()
    outcome = job.publish(**limits)
    seconds = time.monotonic() - begin
    job.verified(outcome)
    for destination in job.results.destinations.all:
        job.results.store(destination).remove(outcome.answer.get("stores", {}).get("results", {}))
    shutil.rmtree(pod.data / "adminlogs", ignore_errors=True)
    return seconds


def _boto3(minio: Any, pod: Any) -> float:
    client, bucket = minio.client(), minio.bucket()
    begin = time.monotonic()
    client.upload_file(str(pod.data / "outputs/data"), bucket, "data")
    seconds = time.monotonic() - begin
    client.delete_object(Bucket=bucket, Key="data")
    return seconds


def _one_at_a_time(minio: Any, pod: Any) -> float:
    client, bucket = minio.client(), minio.bucket()
    begin = time.monotonic()
    for path in sorted((pod.data / "outputs").iterdir()):
        client.put_object(Bucket=bucket, Key=path.name, Body=path.read_bytes())
    return time.monotonic() - begin


def _ipfs(kubo: Any, pod: Any) -> float:
    command = [kubo.ipfs, f"--api=/ip4/127.0.0.1/tcp/{kubo.port}", f"--api-auth=bearer:{kubo.operator_token}", "add", "-r", "-Q"]
    begin = time.monotonic()
    subprocess.run(
        [*command, "--cid-version=1", "--pin=false", str(pod.data / "outputs")], check=True, capture_output=True, env=kubo.environ
    )
    return time.monotonic() - begin
