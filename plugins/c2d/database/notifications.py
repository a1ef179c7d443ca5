"""Notifications of a job's start and end, in PostgreSQL: rows written with the change of status, delivered at least once.

A failed delivery is tried again after growing pauses. After C2D_NOTIFY_ATTEMPTS attempts the notification is ``dead``, until an operator
sends it again. A delivery holds no transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from c2d.database.connections import pools
from c2d.database.tables import jobs, notifications

STATES = ("waiting", "delivered", "dead", "unwanted")
PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 3600.0
LEASE_SECONDS = 120


@dataclass(frozen=True)
class Notification:
    """One notification that is due.

    :param event: ``start`` or ``stop``.
    :param secret: the job's secret, sealed to the operator's key.
    """

    id: int
    jobId: str
    event: str
    attempts: int
    environment: str
    algoDID: str
    inputDID: list[str]
    secret: str | None


class Notifications:
    """The notifications in the database at ``url``, over the API server's connections."""

    def __init__(self, url: str):
        self.engine, self.reads = pools(url).changes, pools(url).reads

    def take(self, limit: int = 8) -> list[Notification]:
        """Lease some notifications that are due, for LEASE_SECONDS. If a worker dies, its lease expires and another worker retries."""
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
            rows = c.execute(sa.select(*columns, *of_job).join(jobs, jobs.c.jobId == taken.c.jobId).order_by(taken.c.id))
            return [Notification(**r._mapping) for r in rows]

    def delivered(self, notification: Notification) -> None:
        """Record a delivery."""
        self._settle(notification, state="delivered", delivered=sa.func.now(), attempts=notification.attempts + 1, error="")

    def unwanted(self, notification: Notification) -> None:
        """Record that the environment has no URL for this event."""
        self._settle(notification, state="unwanted")

    def failed(self, notification: Notification, error: str, max_attempts: int) -> None:
        """Record a failed attempt. The next one comes after a pause that doubles; after ``max_attempts`` there is none."""
        attempts = notification.attempts + 1
        state = "dead" if attempts >= max_attempts else "waiting"
        pause = sa.func.make_interval(0, 0, 0, 0, 0, 0, pause_after(attempts))
        self._settle(notification, state=state, attempts=attempts, error=error, nextTry=sa.func.now() + pause)

    def entries(self, state: str | None = None, limit: int = 1000) -> list[dict[str, Any]]:
        """The notifications, newest first.

        :param state: one of :data:`STATES`. None: all.
        """
        entries = sa.select(notifications).order_by(notifications.c.id.desc()).limit(limit)
        if state is not None:
            entries = entries.where(notifications.c.state == state)
        with self.reads.connect() as c:
            return [{k: v.isoformat() if isinstance(v, datetime) else v for k, v in r._mapping.items()} for r in c.execute(entries)]

    def send_again(self, ids: list[int] | None = None) -> int:
        """Make dead notifications (None: all of them) due now, with all their attempts.

        :returns: how many.
        """
        chosen = notifications.c.state == "dead"
        if ids is not None:
            chosen &= notifications.c.id.in_(ids)
        with self.engine.begin() as c:
            return c.execute(sa.update(notifications).where(chosen).values(state="waiting", attempts=0, nextTry=sa.func.now())).rowcount

    def _settle(self, notification: Notification, **values: Any) -> None:
        with self.engine.begin() as c:
            c.execute(sa.update(notifications).where(notifications.c.id == notification.id).values(**values))


def pause_after(attempts: int) -> float:
    """Seconds until the next attempt: 2, 4, 8, ... at most an hour."""
    return min(PAUSE_SECONDS * 2.0 ** (attempts - 1), LONGEST_PAUSE_SECONDS)
