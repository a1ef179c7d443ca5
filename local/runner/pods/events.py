"""Events: what happened to a pod, for people and for operators that log it."""

from __future__ import annotations

import time
from collections import deque

from local.runner.store.objects import Object, now
from local.runner.store.store import Store

NODE = "laptop"
"""The name of the one node."""


class EventRecorder:
    """Creates Events, and removes the oldest ones."""

    LIMIT = 2000

    def __init__(self, store: Store) -> None:
        self._store = store
        self._recorded: deque[tuple[str, str]] = deque()

    def record(self, pod: Object, reason: str, message: str, container: str = "", warning: bool = False) -> None:
        """Record that something happened to a pod, or to one of its containers."""
        event = event_of(pod, reason, message, container, warning)
        self._store.create("events", event)
        self._recorded.append((event["metadata"]["namespace"], event["metadata"]["name"]))
        while len(self._recorded) > self.LIMIT:
            namespace, name = self._recorded.popleft()
            if self._store.find("events", namespace, name):
                self._store.remove("events", namespace, name)


def event_of(pod: Object, reason: str, message: str, container: str, warning: bool) -> Object:
    """The Event object, as the kubelet writes it."""
    metadata, moment = pod["metadata"], now()
    involved = {"kind": pod["kind"], "apiVersion": pod["apiVersion"]}
    involved |= {field: metadata[field] for field in ("namespace", "name", "uid", "resourceVersion")}
    if container:
        is_init = any(init["name"] == container for init in pod["spec"].get("initContainers") or [])
        involved["fieldPath"] = f"spec.{'initContainers' if is_init else 'containers'}{{{container}}}"
    return {
        "metadata": {"name": f"{metadata['name'][:230]}.{time.time_ns():x}", "namespace": metadata["namespace"]},
        "involvedObject": involved,
        "reason": reason,
        "message": message,
        "type": "Warning" if warning else "Normal",
        "source": {"component": "kubelet", "host": NODE},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
        "eventTime": None,
        "reportingComponent": "kubelet",
        "reportingInstance": NODE,
    }
