"""Delivering one notification of a job's start or end. :mod:`c2d.hooks.notify` makes the request."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from c2d.database.notifications import Notification, Notifications
from c2d.hooks.notify import NotifyHook
from c2d.settings.installation import Settings

log = logging.getLogger(__name__)


async def deliver(notification: Notification, notifications: Notifications, settings: Settings, client: Any) -> None:
    """Try to deliver one notification, and record the result.

    :param client: an ``httpx.AsyncClient`` that follows no redirect.
    """
    env = next((e for e in settings.environments if e.id == notification.environment), None)
    hook = NotifyHook(settings, env) if env else None
    if hook is None or hook.url(notification.event) is None:
        await asyncio.to_thread(notifications.unwanted, notification)
        return
    error = await hook.send(
        client,
        notification.event,
        job_id=notification.jobId,
        algorithm_did=notification.algoDID,
        input_dids=notification.inputDID,
        sealed_secret=notification.secret,
    )
    if error is None:
        await asyncio.to_thread(notifications.delivered, notification)
        return
    attempt = notification.attempts + 1
    log.warning("job %s: %s notification failed (attempt %d): %s", notification.jobId, notification.event, attempt, error)
    await asyncio.to_thread(notifications.failed, notification, error, settings.C2D_NOTIFY_ATTEMPTS)
