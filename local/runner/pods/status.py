"""A pod's status as its life goes on. Each function changes the pod that it gets: the copy that `Store.update` is about to store."""

from __future__ import annotations

from typing import Any

from local.runner.containers.process import Ended
from local.runner.pods.termination import Cause
from local.runner.store.objects import Object, now

FINAL_PHASES = ("Succeeded", "Failed")
_STATUS_FIELDS = {"initContainers": "initContainerStatuses", "containers": "containerStatuses"}


def accepted(pod: Object) -> None:
    """The runner has taken the pod: its activeDeadlineSeconds count from now."""
    pod["status"]["startTime"] = now()


def unschedulable(pod: Object, message: str) -> None:
    """The pod waits for something that it needs before it can have a node."""
    pod["status"]["conditions"] = [_pod_scheduled("False") | {"reason": "Unschedulable", "message": message}]


def scheduled(pod: Object, node: str) -> None:
    """The pod has its node, where its containers are about to be created."""
    pod["spec"]["nodeName"] = node
    pod["status"]["conditions"] = [_pod_scheduled("True")]
    for field, group in _STATUS_FIELDS.items():
        if containers := pod["spec"].get(field):
            pod["status"][group] = [_new_container(container) for container in containers]


def waiting(pod: Object, name: str, reason: str, message: str) -> None:
    """A container cannot start yet."""
    _container(pod, name)["state"] = {"waiting": {"reason": reason, "message": message}}


def running(pod: Object, name: str, container_id: str) -> None:
    """A container has started."""
    container = _container(pod, name)
    is_main = container in pod["status"]["containerStatuses"]
    container.update(containerID=container_id, imageID=container["image"], started=True, ready=is_main)
    container["state"] = {"running": {"startedAt": now()}}
    if is_main:
        pod["status"]["phase"] = "Running"


def terminated(pod: Object, name: str, ended: Ended) -> None:
    """A container has ended, or has failed to start."""
    container = _container(pod, name)
    _terminate(container, ended, container["state"].get("running", {}).get("startedAt") or now())


def finished(pod: Object, cause: Cause | None = None) -> None:
    """The pod has ended, by itself or for a cause from outside. Containers that never ran stay `waiting`."""
    status = pod["status"]
    if status["phase"] in FINAL_PHASES:
        return
    codes = [container["state"].get("terminated", {}).get("exitCode") for container in _containers(pod)]
    status["phase"] = "Succeeded" if set(codes) == {0} else "Failed"
    if cause and cause.reason:
        status.update(phase="Failed", reason=cause.reason, message=cause.message)


def lost(pod: Object) -> None:
    """The runner was stopped before the pod had ended."""
    for container in _containers(pod):
        if "terminated" not in container["state"]:
            started_at = container["state"].get("running", {}).get("startedAt")
            _terminate(container, Ended(137, "ContainerStatusUnknown", "The container was lost with the runner"), started_at)
    finished(pod, Cause(0, "Terminated", "The laptop runner was stopped before this pod had ended"))


def all_terminated(pod: Object) -> bool:
    """Whether every main container has ended."""
    return all("terminated" in container["state"] for container in pod["status"]["containerStatuses"])


def _terminate(container: dict[str, Any], ended: Ended, started_at: str | None) -> None:
    state = {"exitCode": ended.code, "reason": ended.reason, "startedAt": started_at, "finishedAt": now()}
    if ended.message:
        state["message"] = ended.message
    if "containerID" in container:
        state["containerID"] = container["containerID"]
    container.update(state={"terminated": state}, started=False, ready=False)


def _containers(pod: Object) -> list[dict[str, Any]]:
    return [container for group in _STATUS_FIELDS.values() for container in pod["status"].get(group) or []]


def _container(pod: Object, name: str) -> dict[str, Any]:
    return next(container for container in _containers(pod) if container["name"] == name)


def _new_container(container: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "started": False,
        "restartCount": 0,
        "lastState": {},
        "state": {"waiting": {"reason": "ContainerCreating"}},
    }


def _pod_scheduled(value: str) -> dict[str, Any]:
    return {"type": "PodScheduled", "status": value, "lastProbeTime": None, "lastTransitionTime": now()}
