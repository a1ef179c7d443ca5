"""How a pod is ended from outside: SIGTERM to its containers, SIGKILL after the grace period."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass

from local.runner.containers.process import Process

KILL_AGAIN = 0.05
"""Seconds between two rounds of SIGKILL: a container that was just starting appears a moment later."""


@dataclass(frozen=True)
class Cause:
    """Why a pod is ended. `grace` is in seconds; `reason` and `message` are for its status, unless its containers decide that."""

    grace: float
    reason: str = ""
    message: str = ""


class Termination:
    """Ends the containers of one pod, once something asks for it."""

    def __init__(self, processes: Mapping[str, Process]) -> None:
        """`processes` are the pod's running containers, as they come and go."""
        self._processes = processes
        self._begun = asyncio.Event()
        self._kill_at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self.cause: Cause | None = None
        """Why the pod is being ended; None while nothing ends it."""

    def begin(self, cause: Cause) -> bool:
        """End the pod; whether this is the first request. The first one is the cause, a later one can only shorten the grace period."""
        first = self.cause is None
        if first:
            self.cause = cause
            self._begun.set()
            for process in self._processes.values():
                process.signal(signal.SIGTERM)
        self._kill_at = min(self._kill_at, time.monotonic() + cause.grace)
        self._set_timer(max(0.0, self._kill_at - time.monotonic()))
        return first

    async def wait(self) -> None:
        """Wait until something ends the pod."""
        await self._begun.wait()

    def close(self) -> None:
        """No container is left."""
        if self._timer:
            self._timer.cancel()

    def _set_timer(self, seconds: float) -> None:
        self.close()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._kill)

    def _kill(self) -> None:
        for process in self._processes.values():
            process.kill()
        self._set_timer(KILL_AGAIN)
