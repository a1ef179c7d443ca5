"""The states of a job that people see: Ocean's numbers and texts, the reasons beside them, and the rules that derive them.

    1 ── 20 ── 30 ── 40 ── 50 ── 60 ── 70
          ├─ 31 (data set)        └─ 62 (results not published)
          └─ 32 (algorithm not fetched)

The numbers only rise, and those of stages that do not run are skipped: a job that is stopped in configure goes from 20 to 50. 31 and 32
are final at once, but filter and publish still run, so that the owner gets the logs. Only 62 can change: to 70, if the results are
published after all (:mod:`c2d.database.retention`).

Ocean's clients poll until they see 70, so an algorithm that failed or was stopped ends there too. ``terminationDetails`` and ``stopreq``
tell what happened. docs/reference/statuses.md explains all of it to readers of the API.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from c2d.contract import Answer, Failure


class Status(IntEnum):
    """Ocean's ``status`` of a job, with its ``statusText``. Clients compare both.

    Numbers and texts are operator-engine's; 62 is ocean-node's.
    """

    text: str
    """Ocean's ``statusText``."""
    final: bool
    """Whether the number stays. Stages may still run."""

    def __new__(cls, number: int, text: str = "", final: bool = False) -> Status:  # a look-up, Status(20), has the number alone
        status = int.__new__(cls, number)
        status._value_ = number
        status.text, status.final = text, final
        return status

    WARMING_UP = 1, "Warming up"
    """Accepted. The job waits in the queue, or its run waits for a worker."""
    CONFIGURING = 20, "Configuring volumes"
    """Configure has begun: orders are checked, the volume is created, data sets and algorithm are fetched."""
    CONFIGURED = 30, "Provisioning success"
    """Everything was fetched. The algorithm's pod is created, and waits for a node and its image."""
    INPUT_FAILED = 31, "Data provisioning failed", True
    """A data set could not be fetched, or the environment or an order does not allow the job."""
    ALGORITHM_NOT_FETCHED = 32, "Algorithm provisioning failed", True
    """The algorithm could not be fetched."""
    RUNNING = 40, "Running algorithm "  # the trailing space is operator-engine's
    """The algorithm's container has started."""
    FILTERING = 50, "Filtering results"
    """The algorithm ended, failed, was stopped or never ran. The filter decides which files may leave."""
    PUBLISHING = 60, "Publishing results"
    """The filter ended, in whatever way. What may leave is uploaded."""
    UPLOAD_FAILED = 62, "Failed to upload results to storage", True
    """The results could not be published. `c2d republish` can still bring the job to 70 while its volume exists."""
    FINISHED = 70, "Job finished", True
    """The job has ended: with results and logs published, or stopped. :class:`Reason` is how."""


class Reason(StrEnum):
    """Why a stage or a job ended: ``reason`` in ``terminationDetails``. Kubernetes' own word if it has one."""

    COMPLETED = "Completed"
    """Exit code 0. Of a job: the algorithm succeeded, and its results are published."""
    ERROR = "Error"
    """Another exit code, or a stage of ours that gave no answer."""
    OOM_KILLED = "OOMKilled"
    """The container exceeded its memory limit."""
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    """The container exceeded its time limit."""
    EVICTED = "Evicted"
    """The pod exceeded its disk limit, or its node ran out of disk space."""
    NOT_STARTED = "NotStarted"
    """The container could not start: its image cannot be pulled, no node accepts the pod, or the pod could not be isolated. Also: the
    stage was rejected before its pod was created, or Airflow rejected the run."""
    STOPPED = "Stopped"
    """Somebody asked for the job to stop."""
    POD_LOST = "PodLost"
    """The pod disappeared without an end, in the last try as well. Of a job also: the algorithm never ran to an end."""
    PROVISIONING_FAILED = "ProvisioningFailed"
    """Of a job: configure failed (31 or 32)."""
    FILTER_FAILED = "FilterFailed"
    """Of a job: the filter failed. All outputs are withheld."""
    PUBLISH_FAILED = "PublishFailed"
    """Of a job: the results could not be published (62)."""


class Stage(StrEnum):
    """The four stages, in order. Each is one task and one pod."""

    CONFIGURE = "configure"
    ALGORITHM = "algorithm"
    FILTER = "filter"
    PUBLISH = "publish"


@dataclass(frozen=True)
class StageEnd:
    """How a stage's pod ended.

    :param answer: the stage's answer in its termination message. None: there is none that can be read.
    """

    stage: Stage
    reason: Reason
    exit_code: int | None = None
    message: str = ""
    answer: Answer | None = None

    @property
    def ok(self) -> bool:
        return self.reason is Reason.COMPLETED


@dataclass(frozen=True)
class Outcome:
    """How a job ended, as its row states it for good."""

    status: Status
    terminationDetails: dict[str, Any]

    @property
    def ok(self) -> bool:
        return bool(self.terminationDetails["reason"] == Reason.COMPLETED)


def termination_details(reason: Reason, message: str = "", exit_code: int | None = None) -> dict[str, Any]:
    """``terminationDetails``: how a job ended, with ocean-node's field names.

    :param exit_code: the algorithm's. None: it has none.
    """
    return {"exitCode": exit_code, "OOMKilled": reason is Reason.OOM_KILLED, "reason": str(reason), "message": message}


def can_follow(old: Status, new: Status) -> bool:
    """Whether the status may change from ``old`` to ``new``: numbers only rise, and a final one stays."""
    return new > old and not old.final


def after_stage(end: StageEnd) -> Status | None:
    """The status that follows at once from a stage's end. None: the next stage sets one when it begins."""
    return after_configure(end) if end.stage is Stage.CONFIGURE else None


def after_configure(end: StageEnd) -> Status:
    """The status once configure has ended."""
    if end.ok:
        return Status.CONFIGURED
    of_algorithm = isinstance(end.answer, Failure) and end.answer.status == Status.ALGORITHM_NOT_FETCHED
    return Status.ALGORITHM_NOT_FETCHED if of_algorithm else Status.INPUT_FAILED


def outcome(ends: dict[Stage, StageEnd], stopped: bool) -> Outcome:
    """How a job ended. It depends only on the ends of the stages, so that any process can derive it again after a crash.

    :param ends: the stages that are known to have ended.
    :param stopped: somebody asked for the job to stop.
    """
    configure, algorithm = ends.get(Stage.CONFIGURE), ends.get(Stage.ALGORITHM)
    filter_, publish = ends.get(Stage.FILTER), ends.get(Stage.PUBLISH)
    published = publish is not None and publish.ok

    def ended(status: Status, reason: Reason, message: str = "") -> Outcome:
        return Outcome(status, termination_details(reason, message, algorithm.exit_code if algorithm else None))

    if stopped and not (published and algorithm and algorithm.ok):
        return ended(Status.FINISHED, Reason.STOPPED, "the job was stopped")
    # If everything succeeded, the stop came too late to change anything.
    if configure and not configure.ok and not stopped:
        return ended(after_configure(configure), Reason.PROVISIONING_FAILED, configure.message)
    if not published:
        return ended(Status.UPLOAD_FAILED, Reason.PUBLISH_FAILED, publish.message if publish else "the results were not published")
    if algorithm is None:
        return ended(Status.FINISHED, Reason.POD_LOST, "the algorithm did not run to an end")
    if not algorithm.ok:
        return ended(Status.FINISHED, algorithm.reason, algorithm.message)
    if filter_ is None or not filter_.ok:
        return ended(Status.FINISHED, Reason.FILTER_FAILED, filter_.message if filter_ else "the outputs were not filtered")
    return ended(Status.FINISHED, Reason.COMPLETED)
