"""What the routes work with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from c2d.api.common.limits import Rate
from c2d.database.jobs import JobRepository
from c2d.database.notifications import Outbox
from c2d.database.queue import Intake
from c2d.hooks import logs
from c2d.lifecycle import airflow_runs
from c2d.settings.installation import Settings

StartRun = Callable[[str, str, dict[str, Any]], None]
StopRun = Callable[[str, str], bool]
Tail = Callable[[str, str, int], str | None]


@dataclass
class Service:
    """:param start_run, stop_run, republish_run: the edge to Airflow (:mod:`c2d.lifecycle.airflow_runs`).
    :param tail: the edge to a pod's log (:mod:`c2d.hooks.logs`).
    """

    settings: Settings
    intake: Intake
    start_run: StartRun
    stop_run: StopRun
    republish_run: Callable[[str, str], None] = airflow_runs.republish
    tail: Tail = logs.tail
    wake: Callable[[], None] = lambda: None
    store: JobRepository = field(init=False)
    outbox: Outbox = field(init=False)
    requests: Rate = field(init=False)
    starts: Rate = field(init=False)

    def __post_init__(self) -> None:
        self.store = JobRepository(self.settings.C2D_DATABASE_URL)
        self.outbox = Outbox(self.intake)
        self.requests = Rate(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self.starts = Rate(self.settings.C2D_STARTS_PER_SECOND, 10 * self.settings.C2D_STARTS_PER_SECOND)

    def stop(self, job_id: str, environment: str) -> None:
        """Stops the job's run. A job whose run has ended without ending it is ended here."""
        if self.stop_run(environment, job_id):
            self.store.finish_job(job_id)


def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service
