"""The edge to Kubernetes: creates, follows and deletes a job's objects. What they are is decided in :mod:`c2d.pods.manifests`."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2d.errors import ManifestRejected

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

CONTAINER = "base"
"""The container of a stage's pod that does the stage's work: KubernetesPodOperator's default name."""
WATCH_SECONDS = 240
VOLUME_SECONDS = 30
CONSUMER_SECONDS = 0.3
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
LOG_LINE_BYTES = 4096


@dataclass(frozen=True)
class Seen:
    """The pod as the API server has it now; None: it is gone."""

    pod: dict[str, Any] | None


@dataclass(frozen=True)
class LogLine:
    """A line of the container's log, cut at ``LOG_LINE_BYTES``; None: the log has ended."""

    text: bytes | None


class Pods:
    """A job's objects in one namespace."""

    def __init__(self, api: CoreV1Api, namespace: str):
        self.api = api
        self.namespace = namespace

    def ensure(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The object that ``manifest`` describes; creates it where it does not exist. Returns it as JSON."""
        kind = manifest["kind"]
        name = manifest["metadata"]["name"]
        create, read = {
            "ConfigMap": (self.api.create_namespaced_config_map, self.api.read_namespaced_config_map),
            "Secret": (self.api.create_namespaced_secret, self.api.read_namespaced_secret),
            "PersistentVolumeClaim": (self.api.create_namespaced_persistent_volume_claim, self.api.read_namespaced_persistent_volume_claim),
            "Pod": (self.api.create_namespaced_pod, self.api.read_namespaced_pod),
        }[kind]
        try:
            return _json(create(self.namespace, manifest, _preload_content=False))
        except Exception as e:
            status = getattr(e, "status", None)
            if status in (400, 422):
                raise ManifestRejected(f"{kind} {name} is refused: {_reason(e)}") from None
            if status != 409:
                raise
        found = _json(read(name, self.namespace, _preload_content=False))
        if not manifest["metadata"]["annotations"].items() <= found["metadata"].get("annotations", {}).items():
            raise ValueError(f"{kind} {name} exists and belongs to something else")
        return found

    def denies_by_default(self) -> bool:
        """Whether the namespace has the policy that cuts every pod off, but for what others allow."""
        from kubernetes.client import NetworkingV1Api

        policy = self._read(NetworkingV1Api(self.api.api_client).read_namespaced_network_policy, "c2d-default-deny")
        spec = (policy or {}).get("spec", {})
        whole = not spec.get("podSelector") and {"Egress", "Ingress"} <= set(spec.get("policyTypes", []))
        return policy is not None and whole and not spec.get("egress") and not spec.get("ingress")

    def await_volume(self, claim: str) -> None:
        """Waits until the claim has its volume, or it is clear that it gets one only with its pod (WaitForFirstConsumer).

        A pod that is made before its volume is there fails its first scheduling, which costs a second, and where the scheduler
        misses the volume's event, five minutes.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < VOLUME_SECONDS:
            found = _json(self.api.read_namespaced_persistent_volume_claim(claim, self.namespace, _preload_content=False))
            if found.get("status", {}).get("phase") == "Bound":
                return
            being_made = PROVISIONER in found["metadata"].get("annotations", {})
            if not being_made and time.monotonic() - begun > CONSUMER_SECONDS:
                return
            time.sleep(0.03)

    def owner(self, name: str) -> dict[str, Any] | None:
        """The job's owner object, or None."""
        return self._read(self.api.read_namespaced_config_map, name)

    def read(self, name: str) -> dict[str, Any] | None:
        """The pod, or None."""
        return self._read(self.api.read_namespaced_pod, name)

    def owners(self, label: str) -> list[dict[str, Any]]:
        """All objects that own a job's others."""
        return list(_json(self.api.list_namespaced_config_map(self.namespace, label_selector=label, _preload_content=False))["items"])

    def set_deadline(self, name: str, seconds: int) -> bool:
        """Lets the node end the pod ``seconds`` after it has taken it; only ever sooner than before. A pod that is gone is fine.

        Returns False where that is not allowed: the operators' role lacks ``patch`` of pods.
        """
        try:
            self.api.patch_namespaced_pod(name, self.namespace, {"spec": {"activeDeadlineSeconds": seconds}}, _preload_content=False)
        except Exception as e:
            status = getattr(e, "status", None)
            if status not in (403, 404):
                raise
            return status == 404
        return True

    def delete(self, name: str) -> None:
        """Asks for the pod to go; it is gone a second or two later. One that does not exist is fine."""
        self._delete(self.api.delete_namespaced_pod, name)

    def delete_owner(self, name: str) -> None:
        """Asks for everything of the job to go."""
        self._delete(self.api.delete_namespaced_config_map, name)

    def follow(self, pod: dict[str, Any], log_bytes: int, tick: float = 5.0) -> Iterator[Seen | LogLine]:
        """What happens to ``pod`` from now on: each state that it takes, and its log from the first line, as they come.

        Yields at least every ``tick`` seconds (the last state again), so that the caller can look at the clock. Goes on until the caller
        stops listening. Broken connections to the API server are taken up again.
        """
        name, seen = pod["metadata"]["name"], pod
        inbox: queue.SimpleQueue[Seen | LogLine | BaseException] = queue.SimpleQueue()
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(name, pod["metadata"]["resourceVersion"], inbox, stop), daemon=True).start()
        logging = False
        yield Seen(pod)
        try:
            while True:
                if not logging and _has_run(seen):
                    threading.Thread(target=self._stream_log, args=(name, log_bytes, inbox, stop), daemon=True).start()
                    logging = True
                try:
                    event = inbox.get(timeout=tick)
                except queue.Empty:
                    yield Seen(seen)
                    continue
                if isinstance(event, BaseException):
                    raise event
                if isinstance(event, Seen) and event.pod is not None:
                    seen = event.pod
                yield event
        finally:
            stop.set()

    def _watch(self, name: str, version: str | None, inbox: queue.SimpleQueue[Any], stop: threading.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                if version is None:
                    current = self.read(name)
                    inbox.put(Seen(current))
                    if current is None:
                        return
                    version = current["metadata"]["resourceVersion"]
                response = self.api.list_namespaced_pod(
                    self.namespace,
                    field_selector=f"metadata.name={name}",
                    watch=True,
                    resource_version=version,
                    timeout_seconds=WATCH_SECONDS,
                    _preload_content=False,
                    _request_timeout=(10, WATCH_SECONDS + 10),
                )
                for line in _lines(response):
                    event = json.loads(line)
                    failures = 0
                    if event["type"] == "ERROR":  # 410: this version is forgotten
                        break
                    inbox.put(Seen(None if event["type"] == "DELETED" else event["object"]))
                    if event["type"] == "DELETED" or stop.is_set():
                        return
                version = None
            except Exception as e:
                failures += 1
                if failures > 30:
                    inbox.put(e)
                    return
                version = None
                stop.wait(min(0.2 * 2**failures, 5))

    def _stream_log(self, name: str, limit_bytes: int, inbox: queue.SimpleQueue[Any], stop: threading.Event) -> None:
        try:
            response = self.api.read_namespaced_pod_log(
                name,
                self.namespace,
                container=CONTAINER,  # the pod may have init containers
                follow=True,
                limit_bytes=limit_bytes,
                _preload_content=False,
                _request_timeout=(10, None),
            )
            for line in _lines(response):
                inbox.put(LogLine(line))
                if stop.is_set():
                    return
        except Exception as e:  # the log is a convenience here; the stage's own log file is what the owner gets
            inbox.put(LogLine(f"(the log broke off: {type(e).__name__})".encode()))
        inbox.put(LogLine(None))

    def _read(self, read: Any, name: str) -> dict[str, Any] | None:
        try:
            return _json(read(name, self.namespace, _preload_content=False))
        except Exception as e:
            if getattr(e, "status", None) == 404:
                return None
            raise

    def _delete(self, delete: Any, name: str) -> None:
        try:
            delete(name, self.namespace, propagation_policy="Background", _preload_content=False)
        except Exception as e:
            if getattr(e, "status", None) != 404:
                raise


def _reason(error: Any) -> str:
    """The API server's own sentence."""
    try:
        return str(json.loads(error.body)["message"])[:1000]
    except (ValueError, TypeError, KeyError):
        return str(error.reason)


def _json(response: Any) -> dict[str, Any]:
    return dict(json.loads(response.data))


def _has_run(pod: dict[str, Any]) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any("running" in c.get("state", {}) or "terminated" in c.get("state", {}) for c in statuses)


def _lines(response: Any) -> Iterator[bytes]:
    """The lines of a streamed body as they arrive; a longer line than any object has is cut, so that memory stays bounded."""
    rest = b""
    cutting = False
    for chunk in response.stream(amt=None if response.chunked else 65536, decode_content=False):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not cutting and line:
                yield line
            cutting = False
        if len(rest) > 4 * 2**20:
            if not cutting:
                yield rest[:LOG_LINE_BYTES]
            rest, cutting = b"", True
    if rest and not cutting:
        yield rest
