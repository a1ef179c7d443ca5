"""Jobs sent as an unmodified Provider sends them: their assets are named by transaction and fetched from the Provider."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conformance.provider import workflow
from tests.e2e.client import Job, Stack
from tests.e2e.confs import IMAGE
from tests.e2e.test_operator_service import Operator
from tests.stages.ocean_server import SERVICE, TX, Ocean

ALGORITHM = b"""
import json, os, pathlib
files = {str(p): p.read_text() for folder in ("inputs", "ddos") for p in sorted(pathlib.Path("/data", folder).rglob("*")) if p.is_file()}
pathlib.Path("/data/outputs/files.json").write_text(json.dumps(files))
"""


@pytest.fixture
def operator(stack: Stack) -> Operator:
    return Operator(stack)


@pytest.fixture
def ocean(stack: Stack, operator: Operator) -> Iterator[Ocean]:
    """An Aquarius and a Provider that pods can reach. Orders name the consumer address that the operator-service announces."""
    routes: dict[str, Any] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            routes[self.path.split("?")[0]](self)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer((stack.address, 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    web = SimpleNamespace(routes=routes, url=f"http://{stack.address}:{server.server_port}")
    (environment, *_) = operator.http.get("/environments", params={"chainId": 8996}).json()
    yield Ocean(web, environment["consumerAddress"])  # type: ignore[arg-type]
    server.shutdown()
    server.server_close()


def start(operator: Operator, ocean: Ocean, *dids: str, tx: str = TX) -> Job:
    """Start a job with the request of Provider v2.1.6."""
    order = {"txId": tx, "serviceId": SERVICE}
    body = operator.provider.start_body(
        f"0x{time.time_ns()}",
        workflow=workflow(
            input=[{"index": n, "id": did, "remote": {**order, "userdata": None}} for n, did in enumerate(dids)],
            algorithm={
                "id": "did:op:cc",
                "rawcode": "",
                "container": {**IMAGE, "checksum": "", "entrypoint": "python3 $ALGO"},
                "algouserdata": None,
                "remote": {"serviceEndpoint": ocean.web.url, **order, "userData": None},
                "algocustomdata": {"k": 1},
            },
            output={"metadataUri": ocean.web.url},
        ),
    )
    answer = operator.http.post("/compute", json=body)
    assert answer.status_code == 200, answer.text
    job = Job(operator.stack, "ocean-compute", answer.json()[0]["jobId"])
    operator.stack.jobs[job.id] = job
    return job


def test_concurrent_jobs_fetch_their_assets_from_the_provider(operator: Operator, ocean: Ocean) -> None:
    ddos = [ocean.add("did:op:aa", b"a0", b"a1"), ocean.add("did:op:bb", b"b0"), ocean.add("did:op:cc", ALGORITHM, type="access")]
    for job in [start(operator, ocean, "did:op:aa", "did:op:bb") for _ in range(3)]:
        operator.end_of(job)
        job.await_end().has_ended("success", 70, "Job finished", exitCode=0, OOMKilled=False, reason="Completed")
        files = json.loads(job.published("outputs/files.json"))
        assert {name: json.loads(files.pop(f"/data/ddos/{name}")) for name in ("aa", "bb", "cc")} == dict(
            zip(("aa", "bb", "cc"), ddos, strict=True)
        )
        assert files == {
            "/data/inputs/aa/0": "a0",
            "/data/inputs/aa/1": "a1",
            "/data/inputs/bb/0": "b0",
            "/data/inputs/algoCustomData.json": '{"k": 1}',
        }
    assert len(ocean.used) == len(set(ocean.used)) == 12


def test_a_rejected_order_ends_the_job_with_an_error_that_names_the_input(operator: Operator, ocean: Ocean) -> None:
    ocean.add("did:op:aa", b"a0")
    ocean.add("did:op:cc", ALGORITHM)
    job = start(operator, ocean, "did:op:aa", tx="0x" + "00" * 32)
    status = operator.end_of(job)
    assert (status["status"], status["statusText"]) == (31, "Data provisioning failed")
    assert status["terminationDetails"]["message"] == "inputs[0].files[0] (did:op:aa): the server answered 400, 200 is needed"
    job.await_end()
