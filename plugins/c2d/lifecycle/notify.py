"""Delivering one notification of a job's start or end to the environment's NOTIFY_START_URL or NOTIFY_STOP_URL."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

from c2d.crypto import ecies, signatures
from c2d.database.notifications import Notification, Notifications
from c2d.errors import InvalidSeal
from c2d.settings.installation import Settings

log = logging.getLogger(__name__)


def body_of(private_key: str, job_id: str, algo_did: str | None, dids: list[str], secret: str | None) -> dict[str, Any]:
    """operator-engine's body. It signs the JSON of secret, DIDs, job id and algorithm's DID, one after the other, as Python writes it."""
    text = "".join(json.dumps(value) for value in (secret, dids, job_id, algo_did))
    return {"algoDID": algo_did, "jobId": job_id, "secret": secret, "DID": dids, "signature": signatures.sign_text(private_key, text)}


async def deliver(notification: Notification, notifications: Notifications, settings: Settings, client: Any) -> None:
    """Try to deliver one notification, and record the result.

    :param client: an ``httpx.AsyncClient`` that follows no redirect.
    """
    url = url_of(notification, settings)
    if url is None:
        await asyncio.to_thread(notifications.unwanted, notification)
        return
    error = await _post(url, notification, settings, client)
    if error is None:
        await asyncio.to_thread(notifications.delivered, notification)
        return
    attempt = notification.attempts + 1
    log.warning("job %s: %s notification failed (attempt %d): %s", notification.jobId, notification.event, attempt, error)
    await asyncio.to_thread(notifications.failed, notification, error, settings.C2D_NOTIFY_ATTEMPTS)


async def _post(url: str, notification: Notification, settings: Settings, client: Any) -> str | None:
    """None, or what went wrong; never with the URL or the secret in it."""
    import httpx

    if not settings.may_notify(url):
        return "its host is not in C2D_NOTIFY_HOSTS, or it is not https://"
    key = settings.OPERATOR_PRIVATE_KEY
    try:
        secret = ecies.unseal(key, notification.secret, notification.jobId) if notification.secret else None
        algo_did = None if notification.algoDID == "raw" else notification.algoDID
        body = body_of(key, notification.jobId, algo_did, notification.inputDID, secret)
        async with asyncio.timeout(settings.C2D_NOTIFY_SECONDS), client.stream("POST", url, json=body) as answer:
            return None if answer.is_success else f"answered {answer.status_code}"  # the body of the answer is not read
    except TimeoutError:
        return f"no answer within {settings.C2D_NOTIFY_SECONDS:g} s"
    except (httpx.HTTPError, httpx.InvalidURL, InvalidSeal) as e:
        return type(e).__name__


def url_of(notification: Notification, settings: Settings) -> str | None:
    """Where the environment wants to hear of this event. None: nowhere."""
    for env in settings.environments:
        if env.id == notification.environment:
            return env.NOTIFY_START_URL if notification.event == "start" else env.NOTIFY_STOP_URL
    return None
