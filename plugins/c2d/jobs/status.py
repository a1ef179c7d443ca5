"""The states that the outside sees: Ocean's numbers and texts, the reasons beside them, and the rules that derive them.

A job walks ``1 -> 20 -> 30 -> 40 -> 50 -> 60 -> 70``; 31, 32 and 62 are final failures. An algorithm that failed, was killed or
stopped still ends with 70, for every client polls for it; the truth stands beside it in ``terminationDetails`` and ``stopreq``.

    1 ── 20 ── 30 ── 40 ── 50 ── 60 ── 70
          ├─ 31 (an input could not be fetched)      filter and publish still run: the logs reach the owner
          └─ 32 (the algorithm could not be fetched)                           62 (publishing failed)
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from c2d.contract import Answer, Failure


class Status(IntEnum):
    """Ocean's numbers (operator-engine; 62 is ocean-node's)."""

    WARMING_UP = 1
    CONFIGURING = 20
    CONFIGURED = 30
    INPUT_FAILED = 31
    ALGORITHM_NOT_FETCHED = 32
    RUNNING = 40
    FILTERING = 50
    PUBLISHING = 60
    UPLOAD_FAILED = 62
    FINISHED = 70


TEXTS = {
    Status.WARMING_UP: "Warming up",
    Status.CONFIGURING: "Configuring volumes",
    Status.CONFIGURED: "Provisioning success",
    Status.INPUT_FAILED: "Data provisioning failed",
    Status.ALGORITHM_NOT_FETCHED: "Algorithm provisioning failed",
    Status.RUNNING: "Running algorithm ",  # the trailing space is the incumbent's; clients compare the text
    Status.FILTERING: "Filtering results",
    Status.PUBLISHING: "Publishing results",
    Status.UPLOAD_FAILED: "Failed to upload results to storage",
    Status.FINISHED: "Job finished",
}

FINAL = frozenset({Status.INPUT_FAILED, Status.ALGORITHM_NOT_FETCHED, Status.UPLOAD_FAILED, Status.FINISHED})
PROVISIONING_FAILED = frozenset({Status.INPUT_FAILED, Status.ALGORITHM_NOT_FETCHED})


class Reason(StrEnum):
    """Why a stage or a job ended as it did. The Kubernetes words where Kubernetes has one."""

    COMPLETED = "Completed"
    ERROR = "Error"
    OOM_KILLED = "OOMKilled"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    EVICTED = "Evicted"
    NOT_STARTED = "NotStarted"  # the image cannot be pulled, or no node takes the pod
    STOPPED = "Stopped"  # on somebody's request
    POD_LOST = "PodLost"  # the pod vanished without an end, more often than it was tried again
    PROVISIONING_FAILED = "ProvisioningFailed"
    FILTER_FAILED = "FilterFailed"
    PUBLISH_FAILED = "PublishFailed"


class Stage(StrEnum):
    """The four stages, in order; each is one task and one pod."""

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
    """How a job ended: what its row says for ever."""

    status: Status
    terminationDetails: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.terminationDetails["reason"] == Reason.COMPLETED


def termination_details(reason: Reason, message: str = "", exit_code: int | None = None) -> dict[str, Any]:
    """``terminationDetails``: how a job ended, with ocean-node's field names.

    :param exit_code: the algorithm's. None: it has none.
    """
    return {"exitCode": exit_code, "OOMKilled": reason is Reason.OOM_KILLED, "reason": str(reason), "message": message}


def after_configure(end: StageEnd) -> Status:
    """The job's number once configure has ended."""
    if end.ok:
        return Status.CONFIGURED
    of_algorithm = isinstance(end.answer, Failure) and end.answer.status == Status.ALGORITHM_NOT_FETCHED
    return Status.ALGORITHM_NOT_FETCHED if of_algorithm else Status.INPUT_FAILED


def can_follow(old: Status, new: Status) -> bool:
    """Whether a job at ``old`` may be shown at ``new``: numbers only rise, and a final number stays."""
    return new > old and old not in FINAL


def outcome(ends: dict[Stage, StageEnd], stopped: bool) -> Outcome:
    """How a job ended, derived from its stages' ends alone, so that any process can work it out again after a crash.

    :param ends: the stages that are known to have ended.
    :param stopped: somebody asked for the job to stop.
    """
    configure, algorithm = ends.get(Stage.CONFIGURE), ends.get(Stage.ALGORITHM)
    filter_, publish = ends.get(Stage.FILTER), ends.get(Stage.PUBLISH)
    algorithm_code = algorithm.exit_code if algorithm else None

    def ended(status: Status, reason: Reason, message: str = "", exit_code: int | None = algorithm_code) -> Outcome:
        return Outcome(status, termination_details(reason, message, exit_code))

    if configure and not configure.ok and not stopped:
        return ended(after_configure(configure), Reason.PROVISIONING_FAILED, configure.message)
    number = Status.FINISHED
    if (publish is None or not publish.ok) and not stopped:
        return ended(Status.UPLOAD_FAILED, Reason.PUBLISH_FAILED, publish.message if publish else "the results were not published")
    if stopped and not (algorithm and algorithm.ok and publish and publish.ok):
        return ended(number, Reason.STOPPED, "the job was stopped")
    if algorithm is None:
        return ended(number, Reason.POD_LOST, "the algorithm did not run to an end")
    if not algorithm.ok:
        return ended(number, algorithm.reason, algorithm.message)
    if filter_ is None or not filter_.ok:
        return ended(number, Reason.FILTER_FAILED, filter_.message if filter_ else "the outputs were not filtered")
    return ended(number, Reason.COMPLETED)
