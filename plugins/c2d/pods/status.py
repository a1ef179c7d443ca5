"""What a pod's status means, as pure functions of the JSON that the API server sends."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from c2d.contract import Answer, Failure, read_answer
from c2d.hooks.kubernetes import CONTAINER
from c2d.jobs.status import Reason, Stage, StageEnd
from c2d.pods.manifests import ISOLATED

MESSAGE_CHARS = 1000

# Errors of pulling an image that a retry cannot cure. The kubelet retries the others, such as a registry that does not answer.
_PERMANENT_PULL_ERROR = re.compile(r"not ?found|denied|unauthorized|forbidden|manifest unknown|invalid|laptop runner", re.IGNORECASE)
_PERMANENT_WAIT = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_PULL_ERRORS = {"ErrImagePull", "ImagePullBackOff"}

_EXPLANATIONS = {
    Reason.COMPLETED: "",
    Reason.ERROR: "ended with exit code {code}",
    Reason.OOM_KILLED: "ran out of memory and was killed",
    Reason.DEADLINE_EXCEEDED: "ran longer than its time limit and was killed",
    Reason.EVICTED: "used more disk space than its limit, or the node ran out of it, and was evicted",
}


@dataclass(frozen=True)
class PodEnd:
    """How a pod's work ended.

    :param message: the container's termination message, or Kubernetes' explanation.
    :param started: when the container started. None: it never ran.
    """

    reason: Reason
    exit_code: int | None = None
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None

    def of_stage(self, stage: Stage) -> StageEnd:
        """The end of ``stage``. Its message is the stage's own if the stage answered."""
        explanation = _EXPLANATIONS[self.reason].format(code=self.exit_code) if self.reason in _EXPLANATIONS else self.message
        if stage is Stage.ALGORITHM:
            # The algorithm's termination message is not read: it could carry data past the filter.
            return StageEnd(stage, self.reason, self.exit_code, explanation)
        answer = answer_of(stage, self.message)
        if self.reason is Reason.COMPLETED and (answer is None or isinstance(answer, Failure)):
            return StageEnd(stage, Reason.ERROR, self.exit_code, "the stage gave no answer", answer)
        message = answer.message if isinstance(answer, Failure) else ""
        return StageEnd(stage, self.reason, self.exit_code, (message or explanation)[:MESSAGE_CHARS], answer)


def answer_of(stage: Stage, text: str) -> Answer | None:
    """The answer that a stage left as its termination message. None: there is none that can be read."""
    try:
        return read_answer(stage, json.loads(text))
    except (ValueError, RecursionError):
        return None


# -- the start ---------------------------------------------------------------------------------------------------------------------


def running_since(pod: dict[str, Any]) -> datetime | None:
    """When the pod's container started. None: it has not."""
    state = _container(pod).get("state", {})
    return _time((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def deadline(pod: dict[str, Any], seconds: int) -> int:
    """The ``activeDeadlineSeconds`` that gives the running container ``seconds`` from its start. Never more than the pod has now.

    ``activeDeadlineSeconds`` counts from when a node accepted the pod, so the time until the container's start is added.
    """
    accepted, started = _time(pod.get("status", {}).get("startTime")), running_since(pod)
    before = (started - accepted).total_seconds() if accepted and started else 0
    return min(max(0, ceil(before)) + seconds, int(pod["spec"]["activeDeadlineSeconds"]))


def why_pending(pod: dict[str, Any]) -> str:
    """What a pod that does not start waits for, in Kubernetes' words."""
    waiting = _container(pod).get("state", {}).get("waiting") or {}
    texts = [c.get("message", "") for c in pod.get("status", {}).get("conditions", []) if c.get("status") == "False"]
    return _short("; ".join(t for t in [waiting.get("reason", ""), waiting.get("message", ""), *texts] if t)) or "no node accepted it"


# -- the end -----------------------------------------------------------------------------------------------------------------------


def end_of(pod: dict[str, Any]) -> PodEnd | None:
    """How the pod's work ended. None: it has not.

    The container's own termination decides. The API server shows it about a second before the pod's phase.
    """
    failed = _failed_init_container(pod)
    if failed and failed["name"] != ISOLATED:
        answer = json.dumps({"ok": False, "message": "the environment's filter failed"})
        return _end_of_container(pod, {**failed["state"]["terminated"], "message": answer})
    if failed and failed["state"]["terminated"]["exitCode"] == 1:
        return PodEnd(
            Reason.NOT_STARTED, message="the pod was not cut off from the network in time; does the cluster enforce NetworkPolicy?"
        )
    terminated = _container(pod).get("state", {}).get("terminated")
    return _end_without_container(pod) if terminated is None else _end_of_container(pod, terminated)


def _end_of_container(pod: dict[str, Any], terminated: dict[str, Any]) -> PodEnd | None:
    """How the work ended, if its container has."""
    status, code, own_message = pod.get("status", {}), terminated.get("exitCode"), terminated.get("message") or ""
    pod_ended = status.get("phase") in ("Succeeded", "Failed")

    def end(reason: Reason, message: str = own_message) -> PodEnd:
        return PodEnd(reason, code, message, _time(terminated.get("startedAt")), _time(terminated.get("finishedAt")))

    match code, status.get("reason"), terminated.get("reason"):
        case 0, _, _:
            return end(Reason.COMPLETED)
        case _, (Reason.DEADLINE_EXCEEDED | Reason.EVICTED) as pod_reason, _:
            return end(Reason(pod_reason))
        case _, _, "OOMKilled":
            return end(Reason.OOM_KILLED)
        case 137 | 143, _, _ if not pod_ended:
            return None  # killed: the pod's reason will tell whether that was its deadline or an eviction
        case _, "NodeLost" | "NodeShutdown" | "Terminated" | "Shutdown" | "Preempting", _:
            return end(Reason.POD_LOST, _short(status.get("message")))
        case _:
            return end(Reason.ERROR)


def _end_without_container(pod: dict[str, Any]) -> PodEnd | None:
    """How the work ended, if the container has not, or never ran."""
    status = pod.get("status", {})
    message = _short(status.get("message"))
    match status.get("phase"), status.get("reason"):
        case "Failed", Reason.DEADLINE_EXCEEDED if not running_since(pod):
            return PodEnd(Reason.NOT_STARTED, message=f"the pod did not start in time: {why_pending(pod)}")
        case "Failed", (Reason.DEADLINE_EXCEEDED | Reason.EVICTED) as pod_reason:
            return PodEnd(Reason(pod_reason), message=message)
        case "Failed", _:
            return PodEnd(Reason.POD_LOST, message=message)
        case _:
            return _cannot_start(pod)


def _cannot_start(pod: dict[str, Any]) -> PodEnd | None:
    """The end of a pod with a container that will never start. None: it may still start."""
    for container in [*_init_containers(pod), _container(pod)]:
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message") or ""
        if reason in _PERMANENT_WAIT or (reason in _PULL_ERRORS and _PERMANENT_PULL_ERROR.search(message)):
            return PodEnd(Reason.NOT_STARTED, message=f"the container cannot start: {reason}: {_short(message)}")
    return None


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((c for c in statuses if c["name"] == CONTAINER), {})


def _init_containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod.get("status", {}).get("initContainerStatuses") or []


def _failed_init_container(pod: dict[str, Any]) -> dict[str, Any] | None:
    return next((c for c in _init_containers(pod) if (c.get("state", {}).get("terminated") or {}).get("exitCode")), None)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _short(text: str | None) -> str:
    return (text or "")[:MESSAGE_CHARS]
