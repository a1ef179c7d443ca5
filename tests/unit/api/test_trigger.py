from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from c2d.api import trigger
from c2d.crypto import ecies
from c2d.jobs.model import Job
from c2d.settings import installation
from tests.unit.examples import job, remote_job

KEY = ecies.new_private_key()
PATH = "/api/v2/dags/ocean-compute/dagRuns"


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    read = installation.read({"OPERATOR_PRIVATE_KEY": KEY, "C2D_DATABASE_URL": "postgresql://x", "access_control": "open"})
    monkeypatch.setattr(installation, "load", lambda: read)


def post(body: bytes, path: str = PATH, method: str = "POST", chunks: int = 1, answer: int = 200) -> tuple[int, Any, dict[str, Any] | None]:
    """The status, the answer, and what the app behind the guard received (None: it was not called)."""
    received: dict[str, Any] = {}

    async def app(scope: dict, receive: Any, send: Any) -> None:
        message = await receive()
        data = message["body"]
        while message.get("more_body"):
            message = await receive()
            data += message["body"]
        received.update(body=data, headers=dict(scope["headers"]))
        await send({"type": "http.response.start", "status": answer, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    size = max(1, -(-len(body) // chunks))
    parts = [body[i : i + size] for i in range(0, len(body), size)] or [b""]
    inbox = [{"type": "http.request", "body": p, "more_body": n < len(parts) - 1} for n, p in enumerate(parts)]
    sent: list[dict] = []

    async def receive() -> dict:
        return inbox.pop(0)

    async def send(message: dict) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"content-length", str(len(body)).encode()), (b"x", b"y")]}
    asyncio.run(trigger.TriggerGuard(app)(scope, receive, send))
    return sent[0]["status"], json.loads(sent[1]["body"]), received or None


def body(**changes: Any) -> bytes:
    return json.dumps({"logical_date": None, "dag_run_id": "job-1", "conf": job(**changes)}).encode()


def test_a_valid_job_reaches_airflow_sealed_for_its_own_id() -> None:
    status, _, received = post(body(), chunks=7)
    assert status == 200 and received is not None
    text = received["body"].decode()
    assert not any(s in text for s in ("TOPSECRET", "HEADERSECRET", "JOBSECRET"))
    passed = json.loads(text)
    assert passed["dag_run_id"] == "job-1" and passed["logical_date"] is None
    assert received["headers"][b"content-length"] == str(len(received["body"])).encode() and received["headers"][b"x"] == b"y"
    assert Job.parse(passed["conf"], "ocean-compute").opened(KEY, "job-1") == Job.parse(job(), "ocean-compute")


def test_the_event_loop_is_free_while_a_job_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody can send one, and sealing a thousand files takes a while."""
    served = threading.Event()

    def slow(body: bytes, environment: str) -> bytes:
        assert served.wait(30), "the event loop stood still"
        return body

    monkeypatch.setattr(trigger, "guarded_body", slow)

    async def both() -> None:
        async def receive() -> dict:
            return {"type": "http.request", "body": b"{}"}

        async def nothing(*arguments: Any) -> None:
            pass

        guard = trigger.TriggerGuard(nothing)
        checking = asyncio.create_task(guard({"type": "http", "method": "POST", "path": PATH, "headers": []}, receive, nothing))
        await asyncio.sleep(0)
        served.set()
        await checking

    asyncio.run(both())


def test_a_run_without_an_id_gets_one_of_32_characters() -> None:
    _, _, received = post(json.dumps({"logical_date": None, "conf": job()}).encode())
    assert received is not None and len(json.loads(received["body"])["dag_run_id"]) == 32


def test_an_id_that_is_in_use_is_explained() -> None:
    status, said, _ = post(body(), answer=409)
    assert (status, said) == (
        409,
        {"detail": "dag_run_id: another run has this id; choose another, or omit it to get a new one"},
    )


def test_a_sealed_value_copied_from_another_run_is_refused() -> None:
    _, _, received = post(body())
    assert received is not None
    stolen = {"dag_run_id": "job-2", "conf": json.loads(received["body"])["conf"]}
    status, answer, passed = post(json.dumps(stolen).encode())
    assert (status, passed) == (400, None) and "was sealed for another job" in answer["detail"]


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        (body(nosuch=1), "nosuch: is not a known field"),
        (body(**{"inputs.0.files.0.url": "file:///etc/passwd"}), "inputs[0].files[0].url: must begin with http"),
        (json.dumps({"conf": remote_job()}).encode(), "remote: is accepted from Ocean Providers only"),
        (json.dumps({"conf": None}).encode(), "conf: must be a JSON object"),
        (json.dumps({"dag_run_id": "../x", "conf": job()}).encode(), "dag_run_id: must be"),
        (json.dumps({"dag_run_id": "a\n", "conf": job()}).encode(), "dag_run_id: must be"),
        (body(userdata={"a": float("nan")}), "userdata.a: must be a finite number"),
        (json.dumps({"dag_run_id": 5, "conf": job()}).encode(), "dag_run_id: must be"),
        (b"[]", "body: must be a JSON object"),
        (b"{", "body: must be valid JSON"),
        (b"", "body: must be valid JSON"),
        (b'{"conf": "\xff"}', "body: must be valid UTF-8"),
        (body(**{"algorithm.rawcode": "\ud800"}), "algorithm.rawcode: must be valid UTF-8"),
        (b"[" * 100000, "body: must be"),
    ],
)
def test_an_invalid_trigger_gets_400_with_one_sentence_and_does_not_reach_airflow(sent: bytes, sentence: str) -> None:
    status, answer, received = post(sent)
    assert (status, received) == (400, None)
    assert sentence in answer["detail"] and "TOPSECRET" not in answer["detail"]


def test_a_body_over_the_limit_gets_413() -> None:
    status, answer, received = post(b"x" * (trigger.BODY_BYTES + 1), chunks=100)
    assert (status, received) == (413, None) and "body: must have at most" in answer["detail"]


@pytest.mark.parametrize(
    ("path", "method"), [("/api/v2/dags/other/dagRuns", "POST"), (PATH, "GET"), (PATH + "/x/clear", "POST"), ("/api/v2/dags", "POST")]
)
def test_other_requests_pass_unchanged(path: str, method: str) -> None:
    _, _, received = post(b"anything", path, method)
    assert received is not None and received["body"] == b"anything"
