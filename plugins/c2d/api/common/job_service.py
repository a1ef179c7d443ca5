"""The jobs of one installation, as both APIs use them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from c2d.api.common.rate_limit import RateLimit
from c2d.database.jobs import JobRepository
from c2d.database.notifications import Notifications
from c2d.database.queries import JobQueries
from c2d.database.queue import JobQueue
from c2d.hooks.kubernetes import pod_log_tail
from c2d.lifecycle.dispatch import Dispatcher
from c2d.settings.installation import Settings

LogTail = Callable[[str, str, int], str | None]


@dataclass
class JobService:
    """Accepts, stops and finds jobs.

    :param dispatcher: starts and stops the jobs' runs.
    :param log_tail: the last lines of a pod's log: (namespace, pod, number of lines); None if there is no such pod.
    """

    dispatcher: Dispatcher
    log_tail: LogTail = pod_log_tail
    settings: Settings = field(init=False)
    queue: JobQueue = field(init=False)
    queries: JobQueries = field(init=False)
    repository: JobRepository = field(init=False)
    notifications: Notifications = field(init=False)
    request_limit: RateLimit = field(init=False)
    start_limit: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        self.settings = self.dispatcher.settings
        self.queue = self.dispatcher.queue
        self.queries = JobQueries(self.settings.C2D_DATABASE_URL)
        self.repository = self.dispatcher.repository
        self.notifications = self.dispatcher.notifications
        self.request_limit = RateLimit(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self.start_limit = RateLimit(self.settings.C2D_STARTS_PER_SECOND, 10 * self.settings.C2D_STARTS_PER_SECOND)
