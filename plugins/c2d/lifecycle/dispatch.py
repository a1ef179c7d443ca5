"""What the API server does beside answering: makes the runs of accepted jobs, repeats stops, delivers notifications.

Everything here is taken from the database, so that after any crash it goes on where it was; several API servers may do it at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator

import httpx

from c2d.api.operator_service.service import Service
from c2d.database import notifications
from c2d.database.retention import Retention
from c2d.errors import DagNotFound

log = logging.getLogger(__name__)

RELEASE_SECONDS = 0.5
STOPS_SECONDS = 5.0
REPUBLISH_SECONDS = 2.0
NOTIFY_SECONDS = 1.0
AT_ONCE = 16
QUIET_SECONDS = 30.0


@contextlib.asynccontextmanager
async def working(service: Service) -> AsyncIterator[None]:
    """Works while the app runs."""
    loop = asyncio.get_running_loop()
    release, notify = asyncio.Event(), asyncio.Event()

    def wake() -> None:
        for event in (release, notify):
            with contextlib.suppress(RuntimeError):  # the loop has ended: so have we
                loop.call_soon_threadsafe(event.set)

    service.wake = wake
    tasks = [
        asyncio.create_task(_again(lambda: release_all(service), RELEASE_SECONDS, release)),
        asyncio.create_task(_again(lambda: repeat_stops(service), STOPS_SECONDS)),
        asyncio.create_task(_again(lambda: republish_asked(service), REPUBLISH_SECONDS)),
        asyncio.create_task(_deliver_all(service, notify)),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def release_all(service: Service) -> None:
    """Releases what there is room for, in every environment that is still configured."""
    for env in service.settings.environments:
        if env.id not in service.intake.waiting():
            continue
        try:
            while job_id := service.intake.release_next(env.id, env.at_once, service.start_run):
                log.info("job %s: its run is made", job_id)
        except DagNotFound as e:
            _quietly("%s; its jobs wait", e)


def repeat_stops(service: Service) -> None:
    """Stops again what was asked to stop and has not ended: a stop may have died half-way, or come before the run was there."""
    for job_id, environment in service.intake.stops_to_repeat():
        service.stop(job_id, environment)


def republish_asked(service: Service) -> None:
    """Lets the publish of each job run again for which `c2d republish` has asked."""
    retention = Retention(service.store)
    for job_id, environment in retention.republish_asked():
        retention.forget_publish(job_id)
        service.republish_run(environment, job_id)
        retention.republish_begun(job_id)
        log.info("job %s: its results are published again", job_id)


async def deliver_due(service: Service, client: httpx.AsyncClient, running: set[asyncio.Task[None]]) -> None:
    """Begins the deliveries that are due, as many as there is room for."""
    if room := AT_ONCE - len(running):
        for letter in await asyncio.to_thread(service.outbox.take, room):
            task = asyncio.create_task(notifications.deliver(letter, service.outbox, service.settings, client))
            running.add(task)
            task.add_done_callback(running.discard)


async def _deliver_all(service: Service, wake: asyncio.Event) -> None:
    running: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(follow_redirects=False, timeout=service.settings.C2D_NOTIFY_SECONDS) as client:
        try:
            while True:
                with _survived():
                    await deliver_due(service, client, running)
                await _pause(NOTIFY_SECONDS, wake)
        finally:
            for task in running:
                task.cancel()


async def _again(work: Callable[[], None], seconds: float, wake: asyncio.Event | None = None) -> None:
    while True:
        with _survived():
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
def _survived() -> Iterator[None]:
    """The database may be away for a while, and Airflow may refuse; the next round tries again."""
    try:
        yield
    except Exception as e:
        # Only the kind: the text of a database error may hold parameters.
        _quietly("the work on accepted jobs failed and goes on: %s", type(e).__name__, exc_info=log.isEnabledFor(logging.DEBUG))


_last_said: dict[str, float] = {}


def _quietly(text: str, value: object, exc_info: bool = False) -> None:
    """Says the same thing once in a while only."""
    key = f"{text}{value}"
    if time.monotonic() - _last_said.get(key, -QUIET_SECONDS) >= QUIET_SECONDS:
        _last_said[key] = time.monotonic()
        log.warning(text, value, exc_info=exc_info)
