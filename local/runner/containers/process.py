"""A container as a running process: its output, its limits, signals, and how it ended."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass

from local.runner.containers import usage
from local.runner.containers.logs import Log

TASKS = 512
"""Processes and threads that one container may have."""
POLL = 0.1
"""Seconds between two looks at a container's memory."""
PREPARE = 'echo 1000 > /proc/self/oom_score_adj; exec nice -n 5 "$@"'
"""Shell code that starts every container. If the machine runs out of memory, the kernel kills containers first, and however busy they are,
the runner gets its share of the CPU."""


class StartFailed(Exception):
    """The container's command never ran. The message is the sandbox's own."""


@dataclass(frozen=True)
class Ended:
    """How a container ended, in Kubernetes' terms."""

    code: int
    reason: str
    message: str = ""


class Process(ABC):
    """A container that has been started."""

    def __init__(self, child: asyncio.subprocess.Process, first: int, log: Log, memory: int | None) -> None:
        """`first` is the first process of the container, `memory` the bytes that it may use."""
        self._child = child
        self._first = first
        self._log = log
        self._memory = memory
        self._oom_kills = usage.out_of_memory_kills()
        self._killed: Ended | None = None
        self._end = asyncio.ensure_future(self._run())

    @abstractmethod
    def signal(self, number: int) -> None:
        """Send a signal to the container's command; SIGKILL to everything in the container. Nothing happens after its end."""

    @abstractmethod
    def _outcome(self, first_output: bytes) -> Ended | None:
        """Release what the sandbox holds for the container. Returns the end if it is not the command's own, such as a failed start."""

    def kill(self, why: Ended | None = None) -> None:
        """End the container at once. `why`, of the first call that has one, is reported as its end."""
        self._killed = self._killed or why
        self.signal(signal.SIGKILL)

    async def ended(self) -> Ended:
        """Wait for the end. All output is in the log by then."""
        return await asyncio.shield(self._end)

    async def _run(self) -> Ended:
        guard = asyncio.ensure_future(self._enforce_limits())
        assert self._child.stdout is not None
        first_output = b""
        while chunk := await self._child.stdout.read(1 << 16):
            first_output = (first_output + chunk)[:1024]
            self._log.write(chunk)
            await asyncio.sleep(0)  # a container that never stops talking must not keep the API from answering
        await self._child.wait()
        guard.cancel()
        self._log.end()
        outcome = self._outcome(first_output)
        if imposed := self._killed or outcome:
            return imposed
        code = self._child.returncode or 0
        code = 128 - code if code < 0 else code
        if code == 137 and usage.out_of_memory_kills() > self._oom_kills:
            return Ended(137, "OOMKilled", "the machine ran out of memory")
        return Ended(code, "Error" if code else "Completed")

    async def _enforce_limits(self) -> None:
        """Kill the container when it outgrows its memory, or has more tasks than RLIMIT_NPROC allows (root is exempt from that limit)."""
        while True:
            await asyncio.sleep(POLL)
            pids = usage.processes(self._first)
            if self._memory is not None and usage.memory(pids, self._memory) > self._memory:
                return self.kill(Ended(137, "OOMKilled"))
            if len(pids) > TASKS // 8 and usage.threads(pids) > TASKS + 8:
                return self.kill(Ended(137, "Error", f"more than {TASKS} processes and threads"))


def set_limits(pid: int, memory: int | None) -> None:
    """Set the kernel's limits on a container that is set up and waits for its start."""
    resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        # The fence behind the poll. It is generous, for programs reserve more than they use, and the poll should catch them first.
        total = os.sysconf("SC_PHYS_PAGES") * usage.PAGE
        fence = max(2 * memory, total * 3 // 4)
        resource.prlimit(pid, resource.RLIMIT_DATA, (fence, fence))
    if tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 14):
        # Since Linux 5.14 the limit counts within the user namespace. Before, it counted everything that its user runs on the machine.
        resource.prlimit(pid, resource.RLIMIT_NPROC, (TASKS, TASKS))
