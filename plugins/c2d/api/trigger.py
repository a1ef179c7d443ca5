"""Stands before Airflow's "trigger a DAG run": a job that comes by REST or from the trigger form is checked and sealed before a run exists.

Airflow checks conf against the params' schema, but takes unknown keys, answers with pages of schema, and stores conf in
clear. Here the job model refuses with one sentence for each field (400), gives a run without an id one, and seals the secrets,
so that neither the run's conf nor Airflow's audit log ever holds a URL.

Runs that are made elsewhere (``airflow dags trigger``) are checked again by each stage.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from c2d.access import admission
from c2d.api.common.body import loads
from c2d.errors import InvalidJob
from c2d.jobs.ids import JOB_ID
from c2d.jobs.model import Job
from c2d.results.keys import consumers_key
from c2d.settings import installation

BODY_BYTES = 2 * 2**20
TRIGGER = re.compile(r"/api/v2/dags/([^/]+)/dagRuns/?$")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class TriggerGuard:
    """ASGI middleware. Everything but a trigger of one of our DAGs passes untouched."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        environment = _environment(scope)
        if environment is None:
            await self.app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _refuse(send, 413, f"body: must have at most {BODY_BYTES} bytes")
            return
        try:
            # Not in the event loop: unsealing and sealing take milliseconds a file, and everybody would wait.
            body = await asyncio.to_thread(guarded, body, environment)
        except InvalidJob as e:
            await _refuse(send, 400, str(e))
            return
        headers = [(n, v) for n, v in scope["headers"] if n != b"content-length"] + [(b"content-length", str(len(body)).encode())]
        await self.app({**scope, "headers": headers}, _replay(body, receive), _explained(send))


def guarded(body: bytes, environment: str) -> bytes:
    """The trigger's body as Airflow may have it: the job checked and sealed, the run with an id.

    :raises InvalidJob: naming each field that is wrong.
    """
    try:
        trigger = loads(body)
    except UnicodeDecodeError:
        raise InvalidJob("body: must be valid UTF-8") from None
    except ValueError:
        raise InvalidJob("body: must be valid JSON") from None
    if not isinstance(trigger, dict):
        raise InvalidJob("body: must be a JSON object")
    job_id = trigger.get("dag_run_id") or uuid.uuid4().hex
    if not isinstance(job_id, str) or not re.fullmatch(JOB_ID, job_id):
        raise InvalidJob("dag_run_id: must be 1 to 50 lower-case letters, digits and inner '-', or be left out")
    loaded = installation.load()
    job = Job.parse(trigger.get("conf"), environment).opened(loaded.OPERATOR_PRIVATE_KEY, job_id)
    consumers_key(job, loaded.environment(environment))
    admission.check(job, loaded.environment(environment), None, loaded.address)
    # Sealed again for this job alone: a sealed value seen in its conf opens in no other.
    return json.dumps({**trigger, "dag_run_id": job_id, "conf": job.sealed(loaded.public_key, job_id).dump()}).encode()


def _environment(scope: dict[str, Any]) -> str | None:
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match = TRIGGER.search(scope["path"])
    return match[1] if match and any(e.id == match[1] for e in installation.load().environments) else None


async def _read(receive: Receive) -> bytes | None:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += message.get("body", b"")
        if len(body) > BODY_BYTES:
            return None
        if not message.get("more_body"):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> dict[str, Any]:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _explained(send: Send) -> Send:
    """Passes Airflow's answer on, but for its 409, which speaks of a constraint and not of the id that is taken."""
    conflict = False

    async def explained(message: dict[str, Any]) -> None:
        nonlocal conflict
        if message["type"] == "http.response.start" and message["status"] == 409:
            conflict = True
            await _refuse(send, 409, "dag_run_id: is in use for another run; choose another, or leave it out to be given one")
        elif not conflict:
            await send(message)

    return explained


async def _refuse(send: Send, status: int, detail: str) -> None:
    # Airflow's own shape of an error.
    body = json.dumps({"detail": detail}).encode()
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})
