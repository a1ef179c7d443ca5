"""What the events of a stage's pod mean for its task. Pure: the caller has the clock, and does what is decided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from c2d.hooks.kubernetes import LogLine, PodState
from c2d.jobs.status import Reason
from c2d.pods.status import PodEnd, end_of, running_since, why_pending

LOG_DRAIN_SECONDS = 3
"""How long the rest of the log may take to arrive after the container has ended."""

DEADLINE_GRACE_SECONDS = 60
"""How long after its deadline a container is still left to the kubelet, which may be unreachable."""


@dataclass(frozen=True)
class ContainerStarted:
    """The stage's container has started. Decided once."""

    pod: dict[str, Any]


@dataclass(frozen=True)
class ShowLine:
    """Show a line of the log."""

    text: bytes


@dataclass(frozen=True)
class LogTruncated:
    """The log has ended, and was longer than what was shown."""


@dataclass(frozen=True)
class Lost:
    """The pod's work was lost, so the stage may be tried again.

    :param remains: the pod still exists, and is in the way of the next one.
    """

    message: str
    remains: bool


@dataclass(frozen=True)
class Ended:
    """The stage's pod has ended, or is to be ended now."""

    end: PodEnd


Decision = ContainerStarted | ShowLine | LogTruncated | Lost | Ended


class StageFollower:
    """Follows a stage's pod until it has ended and its log is complete. After :class:`Lost` or :class:`Ended` nothing more is decided.

    All times are those of one monotonic clock.

    :param now: when the pod was created or taken over.
    :param start_seconds: how long its container may take to start.
    :param run_seconds: how long its container may run.
    :param log_bytes: how much of its log is streamed.
    """

    def __init__(self, now: float, start_seconds: float, run_seconds: float, log_bytes: int):
        self._start_by = now + start_seconds
        self._run_seconds = run_seconds
        self._log_bytes = log_bytes
        self._run_until: float | None = None  # None: the container has not started
        self._bytes_shown = 0
        self._log_complete = False
        self._end: PodEnd | None = None
        self._drain_until = 0.0

    def decide(self, event: PodState | LogLine, now: float) -> Iterator[Decision]:
        """What to do about ``event``, in order."""
        if isinstance(event, LogLine):
            yield from self._read_log(event.text)
        elif event.pod is None and self._end is None:
            yield Lost("the pod vanished before it had ended", remains=False)
        elif event.pod is not None and self._end is None:
            yield from self._observe(event.pod, now)
        if self._end and (self._log_complete or now >= self._drain_until):
            yield Ended(self._end)

    def _read_log(self, line: bytes | None) -> Iterator[Decision]:
        if line is not None:
            self._bytes_shown += len(line) + 1
            yield ShowLine(line)
            return
        self._log_complete = True
        if self._bytes_shown >= self._log_bytes:
            yield LogTruncated()

    def _observe(self, pod: dict[str, Any], now: float) -> Iterator[Decision]:
        if self._run_until is None and running_since(pod):
            self._run_until = now + self._run_seconds + DEADLINE_GRACE_SECONDS
            yield ContainerStarted(pod)
        end = end_of(pod)
        if end and end.reason is Reason.POD_LOST:
            yield Lost(end.message or "the node lost the pod", remains=True)
        elif end:
            self._end, self._drain_until = end, now + LOG_DRAIN_SECONDS
            if self._run_until is None:
                self._log_complete = True  # nothing ran, so there is no log
        elif self._run_until is None and now > self._start_by:
            self._give_up(PodEnd(Reason.NOT_STARTED, message=f"the pod did not start in time: {why_pending(pod)}"))
        elif self._run_until is not None and now > self._run_until:
            self._give_up(PodEnd(Reason.DEADLINE_EXCEEDED))

    def _give_up(self, end: PodEnd) -> None:
        """End the stage without waiting for its pod or its log."""
        self._end, self._log_complete = end, True
