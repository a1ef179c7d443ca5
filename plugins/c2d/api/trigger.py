"""A guard in front of Airflow's "trigger a DAG run": it validates and seals a job from the REST API or the trigger form.

Airflow itself checks a run's conf against the schema of the DAG's params, but it accepts unknown keys, answers with pages of schema, and
stores the conf in clear. Here a wrong job is answered with 400 and one sentence for each wrong field. A run without an id gets one. Secrets
are sealed, so that neither the run's conf nor Airflow's audit log ever holds a URL.

Runs made in other ways (``airflow dags trigger``) do not pass here; each stage validates the job again.
"""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from c2d.access import admission
from c2d.api.common.untrusted_json import parse_json
from c2d.errors import ApiError, InvalidJob
from c2d.jobs.ids import JOB_ID
from c2d.jobs.model import Job
from c2d.results.keys import consumers_key
from c2d.settings import installation

BODY_BYTES = 2 * 2**20
TRIGGER_PATH = re.compile(r"/api/v2/dags/([^/]+)/dagRuns/?$")

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class TriggerGuard:
    """ASGI middleware. It passes on every request but a trigger of one of our DAGs."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        environment = _triggered_environment(scope)
        if environment is None:
            await self.app(scope, receive, send)
            return
        try:
            body = await _read_body(receive)
            # In a thread: unsealing and sealing take milliseconds for each file, in which the event loop would answer nobody.
            body = await asyncio.to_thread(guarded_body, body, environment)
        except ApiError as e:
            await _send_error(send, e.status, e.text)
        except InvalidJob as e:
            await _send_error(send, 400, str(e))
        else:
            headers = [(name, value) for name, value in scope["headers"] if name != b"content-length"]
            headers.append((b"content-length", str(len(body)).encode()))
            await self.app({**scope, "headers": headers}, _replaying(body, receive), _explaining_conflict(send))


def guarded_body(body: bytes, environment: str) -> bytes:
    """The trigger's body as Airflow gets it: with a valid, sealed job, and with an id for the run.

    :raises InvalidJob: naming each field that is wrong.
    """
    trigger = _trigger_object(body)
    job_id = trigger.get("dag_run_id") or uuid.uuid4().hex
    if not isinstance(job_id, str) or not re.fullmatch(JOB_ID, job_id):
        raise InvalidJob("dag_run_id: must be 1 to 50 lower-case letters, digits and inner '-', or be left out")
    settings = installation.load()
    env = settings.environment(environment)
    job = Job.parse(trigger.get("conf"), environment).opened(settings.OPERATOR_PRIVATE_KEY, job_id)
    consumers_key(job, env)
    admission.check(job, env, None, settings.address)
    # Sealed for this job id: a sealed value copied from this conf cannot be opened in any other job.
    return json.dumps({**trigger, "dag_run_id": job_id, "conf": job.sealed(settings.public_key, job_id).dump()}).encode()


def _triggered_environment(scope: Message) -> str | None:
    """The environment whose DAG the request triggers. None: it is another request."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return None
    match = TRIGGER_PATH.search(scope["path"])
    return match[1] if match and any(env.id == match[1] for env in installation.load().environments) else None


async def _read_body(receive: Receive) -> bytes:
    """:raises ApiError: the body has more than BODY_BYTES."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body += bytes(message.get("body", b""))
        if len(body) > BODY_BYTES:
            raise ApiError(413, f"body: must have at most {BODY_BYTES} bytes")
        if not message.get("more_body"):
            return body


def _trigger_object(body: bytes) -> dict[str, Any]:
    try:
        trigger = parse_json(body)
    except UnicodeDecodeError:
        raise InvalidJob("body: must be valid UTF-8") from None
    except ValueError:
        raise InvalidJob("body: must be valid JSON") from None
    if not isinstance(trigger, dict):
        raise InvalidJob("body: must be a JSON object")
    return trigger


def _replaying(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives ``body`` first."""
    replayed = False

    async def replay() -> Message:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


def _explaining_conflict(send: Send) -> Send:
    """A ``send`` that replaces Airflow's 409, which names a database constraint, with one that names the field."""
    replaced = False

    async def explain(message: Message) -> None:
        nonlocal replaced
        if message["type"] == "http.response.start" and message["status"] == 409:
            replaced = True
            await _send_error(send, 409, "dag_run_id: another run has this id; choose another, or omit it to get a new one")
        elif not replaced:
            await send(message)

    return explain


async def _send_error(send: Send, status: int, detail: str) -> None:
    """Answer with Airflow's JSON of an error."""
    body = json.dumps({"detail": detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
