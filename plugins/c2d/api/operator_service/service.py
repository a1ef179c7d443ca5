"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request

from c2d.api.common.limits import Rate
from c2d.database.jobs import JobRepository
from c2d.database.notifications import Notifications
from c2d.database.queries import JobQueries
from c2d.database.queue import JobQueue
from c2d.hooks.kubernetes import pod_log_tail
from c2d.lifecycle.dispatch import Dispatcher
from c2d.settings.installation import Settings

Tail = Callable[[str, str, int], str | None]


@dataclass
class Service:
    """The jobs of one installation, as the APIs use them.

    :param dispatcher: starts and stops jobs.
    :param tail: reads the end of a pod's log (:func:`c2d.hooks.kubernetes.pod_log_tail`).
    """

    dispatcher: Dispatcher
    tail: Tail = pod_log_tail
    settings: Settings = field(init=False)
    queue: JobQueue = field(init=False)
    queries: JobQueries = field(init=False)
    repository: JobRepository = field(init=False)
    notifications: Notifications = field(init=False)
    requests: Rate = field(init=False)
    starts: Rate = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.dispatcher.settings
        self.queue = self.dispatcher.queue
        self.queries = JobQueries(self.settings.C2D_DATABASE_URL)
        self.repository = self.dispatcher.repository
        self.notifications = self.dispatcher.notifications
        self.requests = Rate(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self.starts = Rate(self.settings.C2D_STARTS_PER_SECOND, 10 * self.settings.C2D_STARTS_PER_SECOND)


def service_of(request: Request) -> Service:
    """The service of the app that the request is for."""
    service: Service = request.app.state.service
    return service
