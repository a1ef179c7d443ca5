from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from c2d.api.common.job_service import JobService
from c2d.crypto import ecies
from c2d.crypto.signatures import address_of, signer_of_text
from c2d.database.jobs import JobRepository
from c2d.database.nonces import Caller
from c2d.database.notifications import pause_after
from c2d.database.tables import notifications
from c2d.errors import InvalidSettings
from c2d.jobs.model import Job
from c2d.lifecycle.airflow_runs import AirflowRuns
from c2d.lifecycle.dispatch import Dispatcher
from c2d.lifecycle.submit import submit
from c2d.settings import installation
from tests.unit.database.test_queue import NONCES, PROVIDER
from tests.unit.examples import job

KEY = ecies.new_private_key()


class Receiver:
    """A real server that records what it receives. It gives ``answers`` one after the other, and the last one from then on."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.answers = [200]
        self.seconds = 0.0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver.got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                time.sleep(receiver.seconds)
                self.send_response(receiver.answers.pop(0) if len(receiver.answers) > 1 else receiver.answers[0])
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    r = Receiver()
    yield r
    r.server.shutdown()


@pytest.fixture
def variables(database_url: str, receiver: Receiver) -> dict[str, str]:
    return {
        "OPERATOR_PRIVATE_KEY": KEY,
        "C2D_DATABASE_URL": database_url,
        "NOTIFY_START_URL": f"{receiver.url}/start?token=URLSECRET",
        "NOTIFY_STOP_URL": f"{receiver.url}/stop",
        "C2D_NOTIFY_HOSTS": "127.0.0.1",
        "C2D_NOTIFY_SECONDS": "0.5",
        "C2D_NOTIFY_ATTEMPTS": "3",
    }


def service_with(variables: dict[str, str]) -> JobService:
    loaded = installation.read(variables)
    return JobService(Dispatcher(loaded, AirflowRuns()))


def submitted(service: JobService, **changes: Any) -> str:
    a_job = Job.parse(job(agreementId=f"0x{next(NONCES)}", **changes), "ocean-compute")
    return submit(service.settings, service.queue, a_job, "ocean-compute", Caller(PROVIDER, next(NONCES)))


def deliver(service: JobService) -> None:
    """Run one round of deliveries and wait for all of them."""

    async def once() -> None:
        running: set[asyncio.Task[None]] = set()
        async with httpx.AsyncClient(follow_redirects=False, timeout=service.settings.C2D_NOTIFY_SECONDS) as client:
            await service.dispatcher.deliver_due(client, running)
            await asyncio.gather(*running)

    asyncio.run(once())


def due_now(service: JobService) -> None:
    with service.queue.engine.begin() as c:
        c.execute(sa.update(notifications).values(nextTry=sa.func.now()))


def states(service: JobService) -> list[tuple[str, str, int]]:
    return [(n["event"], n["state"], n["attempts"]) for n in reversed(service.notifications.entries())]


def test_start_and_stop_are_notified_once(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with(variables)
    job_id = submitted(service)
    deliver(service)
    JobRepository(service.settings.C2D_DATABASE_URL).finish_job(job_id)
    deliver(service)
    deliver(service)
    (start, body), (stop, again) = receiver.got
    assert (start, stop, body) == ("/start?token=URLSECRET", "/stop", again)
    assert body["jobId"] == job_id and body["DID"] == ["did:op:aa"] and body["secret"] == "JOBSECRET"
    text = json.dumps(body["secret"]) + json.dumps(body["DID"]) + json.dumps(job_id) + json.dumps(body["algoDID"])
    assert signer_of_text(text, body["signature"]) == address_of(KEY)
    assert states(service) == [("start", "delivered", 1), ("stop", "delivered", 1)]


def test_a_job_without_a_secret_gets_one(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with(variables)
    submitted(service, secret=...)
    deliver(service)
    assert len(receiver.got[0][1]["secret"]) == 32


def test_a_failing_notification_is_retried_then_dead_then_sent_again_on_request(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with(variables)
    submitted(service)
    receiver.answers = [500, 302, 404, 200]
    deliver(service)
    deliver(service)
    assert states(service) == [("start", "waiting", 1)], "not due yet"
    for _ in range(2):
        due_now(service)
        deliver(service)
    assert states(service) == [("start", "dead", 3)]
    assert service.notifications.entries("dead")[0]["error"] == "answered 404"
    due_now(service)
    deliver(service)
    assert len(receiver.got) == 3
    assert service.notifications.send_again() == 1
    deliver(service)
    assert states(service) == [("start", "delivered", 1)]
    assert all(path.startswith("/start") for path, _ in receiver.got), "a redirect was followed"


def test_the_pauses_between_attempts_double() -> None:
    assert [pause_after(n) for n in (1, 2, 3, 11, 12, 16)] == [2, 4, 8, 2048, 3600, 3600]


def test_a_slow_receiver_times_out_and_delays_no_other(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with(variables)
    receiver.seconds = 3
    for _ in range(5):
        submitted(service)
    deliver(service)
    assert {n["error"] for n in service.notifications.entries()} <= {"no answer within 0.5 s", "ReadTimeout"}


def test_a_lease_that_expires_is_taken_by_another_worker(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with(variables)
    submitted(service)
    assert len(service.notifications.take()) == 1
    assert service.notifications.take() == [], "another worker holds the lease"
    due_now(service)  # the lease is over
    deliver(service)
    assert len(receiver.got) == 1


def test_an_event_without_a_url_is_unwanted(variables: dict[str, str], receiver: Receiver) -> None:
    service = service_with({**variables, "NOTIFY_START_URL": ""})
    submitted(service)
    deliver(service)
    assert states(service) == [("start", "unwanted", 0)] and receiver.got == []


def test_no_secret_is_logged(variables: dict[str, str], receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    service = service_with(variables)
    submitted(service)
    receiver.answers = [500]
    deliver(service)
    receiver.server.server_close()
    due_now(service)
    deliver(service)
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("c2d")]
    assert len(ours) == 2 and "attempt 1): answered 500" in ours[0]
    assert "SECRET" not in "".join(ours) + "".join(n["error"] for n in service.notifications.entries())


@pytest.mark.parametrize(
    ("url", "hosts", "fits"),
    [
        ("https://n.example/x", "", True),
        ("http://n.example/x", "", False),
        ("http://n.example/x", "n.example", True),
        ("https://other.example", "n.example, m.example", False),
        ("https://M.example", '["m.example"]', True),
    ],
)
def test_only_allowed_hosts_may_be_notified(variables: dict[str, str], url: str, hosts: str, fits: bool) -> None:
    changed = {**variables, "NOTIFY_START_URL": "", "NOTIFY_STOP_URL": url, "C2D_NOTIFY_HOSTS": hosts}
    if fits:
        installation.read(changed)
    else:
        with pytest.raises(InvalidSettings, match=r"^NOTIFY_STOP_URL of environment ocean-compute: must be https://"):
            installation.read(changed)
