"""Notifications of a job's start and end: rows written with the change of status, delivered at least once.

The body and its signature are operator-engine's. A notification is tried again with growing pauses; after C2D_NOTIFY_ATTEMPTS it is
``dead`` until an operator sends it again. Nobody waits for a receiver: deliveries hold no transaction, and each has a time limit.
"""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from c2d.crypto import ecies, signatures
from c2d.database.queue import Intake
from c2d.database.tables import jobs, notifications
from c2d.errors import InvalidSeal
from c2d.settings.installation import Settings

log = logging.getLogger(__name__)

STATES = ("waiting", "delivered", "dead", "unwanted")
PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 3600.0
LEASE_SECONDS = 120


@dataclass(frozen=True)
class Notification:
    """One notification that is due."""

    id: int
    jobId: str
    event: str
    attempts: int
    environment: str
    algoDID: str
    inputDID: list[str]
    secret: str | None


class Outbox:
    """The notifications' table, over the API server's connections."""

    def __init__(self, intake: Intake):
        self.engine = intake.engine
        self.questions = intake.questions

    def take(self, limit: int = 8) -> list[Notification]:
        """Some notifications that are due, taken for LEASE_SECONDS: whoever took them and dies, another one takes them after that."""
        due = (
            sa.select(notifications.c.id)
            .where(notifications.c.state == "waiting", notifications.c.nextTry <= sa.func.now())
            .order_by(notifications.c.nextTry)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        lease = sa.func.now() + sa.text(f"interval '{LEASE_SECONDS} seconds'")
        taken = sa.update(notifications).where(notifications.c.id.in_(due)).values(nextTry=lease).returning(notifications).cte("taken")
        columns = [taken.c[n] for n in ("id", "jobId", "event", "attempts")]
        of_job = [jobs.c[n] for n in ("environment", "algoDID", "inputDID", "secret")]
        with self.engine.begin() as c:
            found = c.execute(sa.select(*columns, *of_job).join(jobs, jobs.c.jobId == taken.c.jobId).order_by(taken.c.id))
            return [Notification(**r._mapping) for r in found]

    def delivered(self, letter: Notification) -> None:
        self._settle(letter, state="delivered", delivered=sa.func.now(), attempts=letter.attempts + 1, error="")

    def unwanted(self, letter: Notification) -> None:
        self._settle(letter, state="unwanted")

    def failed(self, letter: Notification, error: str, attempts_at_most: int) -> None:
        """Notes a failed attempt: the next one comes after a pause that doubles, or never."""
        attempts = letter.attempts + 1
        state = "dead" if attempts >= attempts_at_most else "waiting"
        pause = sa.func.make_interval(0, 0, 0, 0, 0, 0, pause_after(attempts))
        self._settle(letter, state=state, attempts=attempts, error=error, nextTry=sa.func.now() + pause)

    def entries(self, state: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """The notifications, the newest first."""
        wanted = sa.select(notifications).order_by(notifications.c.id.desc()).limit(limit)
        if state is not None:
            wanted = wanted.where(notifications.c.state == state)
        with self.questions.connect() as c:
            return [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in r._mapping.items()} for r in c.execute(wanted)]

    def send_again(self, ids: list[int] | None = None) -> int:
        """Makes dead notifications (None: all of them) due now, with all their attempts. Returns how many."""
        chosen = notifications.c.state == "dead"
        if ids is not None:
            chosen &= notifications.c.id.in_(ids)
        with self.engine.begin() as c:
            return c.execute(sa.update(notifications).where(chosen).values(state="waiting", attempts=0, nextTry=sa.func.now())).rowcount

    def _settle(self, letter: Notification, **values: Any) -> None:
        with self.engine.begin() as c:
            c.execute(sa.update(notifications).where(notifications.c.id == letter.id).values(**values))


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt: 2, 4, 8, ... at most an hour."""
    return min(PAUSE_SECONDS * 2 ** (attempts - 1), LONGEST_PAUSE_SECONDS)


def body_of(private_key: str, job_id: str, algo_did: str | None, dids: list[str], secret: str | None) -> dict[str, Any]:
    """operator-engine's body. It signs the JSON of secret, DIDs, job id and algorithm's DID, one after the other, as Python writes it."""
    text = "".join(json.dumps(value) for value in (secret, dids, job_id, algo_did))
    return {"algoDID": algo_did, "jobId": job_id, "secret": secret, "DID": dids, "signature": signatures.sign_text(private_key, text)}


async def deliver(letter: Notification, outbox: Outbox, settings: Settings, client: Any) -> None:
    """Tries to deliver one notification and notes how it went.

    :param client: an ``httpx.AsyncClient`` that follows no redirect.
    """
    url = url_of(letter, settings)
    if url is None:
        await asyncio.to_thread(outbox.unwanted, letter)
        return
    error = await _post(url, letter, settings, client)
    if error is None:
        await asyncio.to_thread(outbox.delivered, letter)
    else:
        log.warning("job %s: notifying of its %s failed (attempt %d): %s", letter.jobId, letter.event, letter.attempts + 1, error)
        await asyncio.to_thread(outbox.failed, letter, error, settings.C2D_NOTIFY_ATTEMPTS)


async def _post(url: str, letter: Notification, settings: Settings, client: Any) -> str | None:
    """None, or what went wrong: never with the URL or the secret in it."""
    import httpx

    if not settings.may_notify(url):
        return "its host is not in C2D_NOTIFY_HOSTS, or it is not https://"
    try:
        secret = ecies.unseal(settings.OPERATOR_PRIVATE_KEY, letter.secret, letter.jobId) if letter.secret else None
        algo_did = None if letter.algoDID == "raw" else letter.algoDID
        body = body_of(settings.OPERATOR_PRIVATE_KEY, letter.jobId, algo_did, letter.inputDID, secret)
        async with asyncio.timeout(settings.C2D_NOTIFY_SECONDS), client.stream("POST", url, json=body) as answer:
            return None if answer.is_success else f"answered {answer.status_code}"  # what it says beyond its code is not read
    except TimeoutError:
        return f"no answer within {settings.C2D_NOTIFY_SECONDS:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, InvalidSeal) as e:
        return type(e).__name__


def url_of(letter: Notification, settings: Settings) -> str | None:
    for env in settings.environments:
        if env.id == letter.environment:
            return env.NOTIFY_START_URL if letter.event == "start" else env.NOTIFY_STOP_URL
    return None
