"""What a pod's status means, as pure functions of the JSON that the API server gives."""

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

# A pull that no repetition can cure. Anything else (a registry that is down) is the kubelet's to try again.
_HOPELESS_PULL = re.compile(r"not ?found|denied|unauthorized|forbidden|manifest unknown|invalid|laptop runner", re.IGNORECASE)
_HOPELESS_WAIT = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
_KILLED = {137, 143}


@dataclass(frozen=True)
class PodEnd:
    """How a pod's work ended. Times are the container's own (None where it never ran)."""

    reason: Reason
    exit_code: int | None = None
    message: str = ""
    started: datetime | None = None
    finished: datetime | None = None

    def of_stage(self, stage: Stage) -> StageEnd:
        """The end of ``stage``: what the stage answered explains it, where it answered."""
        if stage is Stage.ALGORITHM:
            # The algorithm's own termination message could carry data past the filter: it is not even read.
            return StageEnd(stage, self.reason, self.exit_code, _TELL.get(self.reason, self.message).format(code=self.exit_code))
        answer = answer_of(stage, self.message)
        message = answer.message if isinstance(answer, Failure) and self.reason is not Reason.COMPLETED else ""
        if self.reason is Reason.COMPLETED and (answer is None or isinstance(answer, Failure)):
            return StageEnd(stage, Reason.ERROR, self.exit_code, "the stage gave no answer", answer)
        if self.reason is not Reason.COMPLETED and not message:
            message = _TELL.get(self.reason, self.message).format(code=self.exit_code)
        return StageEnd(stage, self.reason, self.exit_code, message[:MESSAGE_CHARS], answer)


_TELL = {
    Reason.COMPLETED: "",
    Reason.ERROR: "ended with exit code {code}",
    Reason.OOM_KILLED: "ran out of memory and was killed",
    Reason.DEADLINE_EXCEEDED: "ran longer than its time limit and was killed",
    Reason.EVICTED: "used more disk space than its limit, or the node ran out of it, and was evicted",
}


def answer_of(stage: Stage, text: str) -> Answer | None:
    """The answer that a stage left as its termination message; None if there is none."""
    try:
        return read_answer(stage, json.loads(text))
    except (ValueError, RecursionError):
        return None


def running_since(pod: dict[str, Any]) -> datetime | None:
    """When the pod's container started to work; None before."""
    state = _container(pod).get("state", {})
    return _time((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def deadline(pod: dict[str, Any], seconds: int) -> int:
    """``activeDeadlineSeconds`` by which the running container has ``seconds`` from its start; never more than the pod has now."""
    taken, begun = _time(pod.get("status", {}).get("startTime")), running_since(pod)
    before = (begun - taken).total_seconds() if taken and begun else 0
    return min(max(0, ceil(before)) + seconds, int(pod["spec"]["activeDeadlineSeconds"]))


def end_of(pod: dict[str, Any]) -> PodEnd | None:
    """How the pod's work ended; None while it may still do something.

    The container's termination is taken as the end, a second before the kubelet reports the pod's phase. Only a killed container
    has to wait for the phase, for there the pod's reason (deadline, eviction) says why it was killed.
    """
    status = pod.get("status", {})
    phase, why = status.get("phase"), status.get("reason")
    ended = _container(pod).get("state", {}).get("terminated")
    failed_init = next((c for c in _init_containers(pod) if (c.get("state", {}).get("terminated") or {}).get("exitCode")), None)
    if failed_init and failed_init["name"] == ISOLATED:
        if failed_init["state"]["terminated"]["exitCode"] == 1:
            return PodEnd(
                Reason.NOT_STARTED, message="the pod was not cut off from the network in time; does the cluster enforce NetworkPolicy?"
            )
    elif failed_init:
        ended = {**failed_init["state"]["terminated"], "message": json.dumps({"ok": False, "message": "the environment's filter failed"})}
    terminal = phase in ("Succeeded", "Failed")
    if ended is None:
        if phase == "Failed" and why == Reason.DEADLINE_EXCEEDED and not running_since(pod):
            return PodEnd(Reason.NOT_STARTED, message=f"the pod did not start in time: {why_pending(pod)}")
        if phase == "Failed":
            return PodEnd(
                Reason(why) if why in (Reason.EVICTED, Reason.DEADLINE_EXCEEDED) else Reason.POD_LOST, message=_short(status.get("message"))
            )
        return _never_starts(pod)
    code = ended.get("exitCode")
    times = {"started": _time(ended.get("startedAt")), "finished": _time(ended.get("finishedAt"))}
    message = ended.get("message") or ""
    if code == 0:
        return PodEnd(Reason.COMPLETED, 0, message, **times)
    if why in (Reason.EVICTED, Reason.DEADLINE_EXCEEDED):
        return PodEnd(Reason(why), code, message, **times)
    if ended.get("reason") == "OOMKilled":
        return PodEnd(Reason.OOM_KILLED, code, message, **times)
    if code in _KILLED and not terminal:
        return None
    if why in ("NodeLost", "NodeShutdown", "Terminated", "Shutdown", "Preempting"):
        return PodEnd(Reason.POD_LOST, code, _short(status.get("message")), **times)
    return PodEnd(Reason.ERROR, code, message, **times)


def _never_starts(pod: dict[str, Any]) -> PodEnd | None:
    for container in [*_init_containers(pod), _container(pod)]:
        waiting = container.get("state", {}).get("waiting") or {}
        reason, message = waiting.get("reason", ""), waiting.get("message") or ""
        if reason in _HOPELESS_WAIT or (reason in ("ErrImagePull", "ImagePullBackOff") and _HOPELESS_PULL.search(message)):
            return PodEnd(Reason.NOT_STARTED, message=f"the container cannot start: {reason}: {_short(message)}")
    return None


def why_pending(pod: dict[str, Any]) -> str:
    """What a pod that does not start waits for, in Kubernetes' words."""
    waiting = _container(pod).get("state", {}).get("waiting") or {}
    texts = [c.get("message", "") for c in pod.get("status", {}).get("conditions", []) if c.get("status") == "False"]
    return _short("; ".join(t for t in [waiting.get("reason", ""), waiting.get("message", ""), *texts] if t)) or "no node took it"


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((c for c in statuses if c["name"] == CONTAINER), {})


def _init_containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return pod.get("status", {}).get("initContainerStatuses") or []


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _short(text: str | None) -> str:
    return (text or "")[:MESSAGE_CHARS]
