"""What the API server does beside answering: start the runs of accepted jobs, repeat stops, publish again, deliver notifications.

All of it is read from the database, so it goes on after any crash. Several API servers may do it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from c2d.database.jobs import JobRepository
from c2d.database.notifications import Notifications
from c2d.database.queue import JobQueue
from c2d.database.retention import Retention
from c2d.errors import DagNotFound
from c2d.lifecycle.airflow_runs import Runs
from c2d.lifecycle.notify import deliver
from c2d.lifecycle.stop import stop_job
from c2d.settings.installation import Settings

log = logging.getLogger(__name__)

RELEASE_SECONDS = 0.5
STOPS_SECONDS = 5.0
REPUBLISH_SECONDS = 2.0
NOTIFY_SECONDS = 1.0
DELIVERIES_AT_ONCE = 16
REPEAT_WARNING_SECONDS = 30.0


class Dispatcher:
    """Moves the jobs of one installation on.

    :param runs: how jobs' DAG runs are reached.
    """

    def __init__(self, settings: Settings, runs: Runs):
        self.settings = settings
        self.runs = runs
        self.queue = JobQueue(settings.C2D_DATABASE_URL)
        self.repository = JobRepository(settings.C2D_DATABASE_URL)
        self.notifications = Notifications(settings.C2D_DATABASE_URL)
        self.wake: Callable[[], None] = lambda: None
        """Call it after a change that should be seen at once. Any thread may call it."""

    # -- one step each ----------------------------------------------------------------------------------------------------

    def start_runs(self) -> None:
        """Start the runs that there is room for, in every environment of the settings."""
        for env in self.settings.environments:
            if env.id not in self.queue.environments_with_waiting_jobs():
                continue
            try:
                while job_id := self.queue.release_next(env.id, env.at_once, self.runs.start):
                    log.info("job %s: started its run", job_id)
            except DagNotFound as e:
                _warn_now_and_then("%s; its jobs wait", e)

    def stop(self, job_id: str, environment: str) -> None:
        """Stop one job that has a run."""
        stop_job(self.repository, job_id, lambda: self.runs.stop(environment, job_id))

    def repeat_stops(self) -> None:
        """Stop unfinished jobs again: the first attempt may have died half-way, or come before the run was there."""
        for job_id, environment in self.queue.requested_stops():
            self.stop(job_id, environment)

    def republish(self) -> None:
        """Run publish again for each job for which `c2d republish` has requested it."""
        retention = Retention(self.repository)
        for job_id, environment in retention.requested_republishes():
            retention.forget_publish(job_id)
            self.runs.republish(environment, job_id)
            retention.republish_begun(job_id)
            log.info("job %s: publishing its results again", job_id)

    async def deliver_due(self, client: httpx.AsyncClient, running: set[asyncio.Task[None]]) -> None:
        """Begin the deliveries that are due, as many as there is room for.

        :param running: the deliveries under way. New ones are added, and each removes itself.
        """
        if room := DELIVERIES_AT_ONCE - len(running):
            for notification in await asyncio.to_thread(self.notifications.take, room):
                task = asyncio.create_task(deliver(notification, self.notifications, self.settings, client))
                running.add(task)
                task.add_done_callback(running.discard)

    # -- again and again ----------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work in the background for as long as the context lasts."""
        loop = asyncio.get_running_loop()
        release, notify = asyncio.Event(), asyncio.Event()

        def wake() -> None:
            for event in (release, notify):
                with contextlib.suppress(RuntimeError):  # the loop has ended, and so have we
                    loop.call_soon_threadsafe(event.set)

        self.wake = wake
        tasks = [
            asyncio.create_task(_repeat(self.start_runs, RELEASE_SECONDS, release)),
            asyncio.create_task(_repeat(self.repeat_stops, STOPS_SECONDS)),
            asyncio.create_task(_repeat(self.republish, REPUBLISH_SECONDS)),
            asyncio.create_task(self._deliver(notify)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _deliver(self, wake: asyncio.Event) -> None:
        running: set[asyncio.Task[None]] = set()
        async with httpx.AsyncClient(follow_redirects=False, timeout=self.settings.C2D_NOTIFY_SECONDS) as client:
            try:
                while True:
                    with _survive_failures():
                        await self.deliver_due(client, running)
                    await _pause(NOTIFY_SECONDS, wake)
            finally:
                for task in running:
                    task.cancel()


async def _repeat(work: Callable[[], None], seconds: float, wake: asyncio.Event | None = None) -> None:
    while True:
        with _survive_failures():
            await asyncio.to_thread(work)
        await _pause(seconds, wake)


async def _pause(seconds: float, wake: asyncio.Event | None) -> None:
    if wake is None:
        await asyncio.sleep(seconds)
        return
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(wake.wait(), seconds)
    wake.clear()


@contextlib.contextmanager
def _survive_failures() -> Iterator[None]:
    """Go on after any failure: the database may be away, and Airflow may refuse. The next round tries again."""
    try:
        yield
    except Exception as e:
        # Only the class: the text of a database error may hold parameters.
        _warn_now_and_then("dispatching jobs failed and is tried again: %s", type(e).__name__, exc_info=log.isEnabledFor(logging.DEBUG))


_last_warnings: dict[str, float] = {}


def _warn_now_and_then(text: str, value: object, exc_info: bool = False) -> None:
    """Log a warning, but the same one only every REPEAT_WARNING_SECONDS."""
    key = f"{text}{value}"
    if time.monotonic() - _last_warnings.get(key, -REPEAT_WARNING_SECONDS) >= REPEAT_WARNING_SECONDS:
        _last_warnings[key] = time.monotonic()
        log.warning(text, value, exc_info=exc_info)
