"""Kubernetes: creates, follows, reads and deletes a job's objects. :mod:`c2d.pods.manifests` decides what they contain."""

from __future__ import annotations

import functools
import json
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from c2d.errors import ManifestRejected

# `kubernetes` itself is imported where it is used: the API server imports this module when it starts, and seldom calls it.
if TYPE_CHECKING:
    from kubernetes.client import ApiException, CoreV1Api

CONTAINER = "base"
"""The container that does a stage's work in the stage's pod: KubernetesPodOperator's default name."""

WATCH_SECONDS = 240
WATCH_FAILURES = 30
"""Consecutive failures after which a watch gives up."""

VOLUME_SECONDS = 30
"""How long to wait for a volume that is being provisioned."""

CONSUMER_SECONDS = 0.3
"""A claim that no provisioner has picked up after this time waits for its pod."""

PROVISIONER = "volume.kubernetes.io/storage-provisioner"
LOG_LINE_BYTES = 4096
LINE_BUFFER_BYTES = 4 * 2**20
LOG_TAIL_BYTES = 64 * 1024


@dataclass(frozen=True)
class PodState:
    """The pod as the API server has it now; None if it is gone."""

    pod: dict[str, Any] | None


@dataclass(frozen=True)
class LogLine:
    """A line of the container's log; None at its end. A very long line is cut to ``LOG_LINE_BYTES``."""

    text: bytes | None


class Pods:
    """A job's objects in one namespace. Objects are JSON, as the API server sends them."""

    def __init__(self, api: CoreV1Api, namespace: str):
        self.api = api
        self.namespace = namespace

    def ensure(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Creates the object unless it exists, and returns it.

        :raises ManifestRejected: the API server rejects the manifest.
        :raises ValueError: there is an object of this name with other annotations.
        """
        from kubernetes.client import ApiException

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
        except ApiException as e:
            if e.status in (400, 422):
                raise ManifestRejected(f"{kind} {name} is refused: {_message(e)}") from None
            if e.status != 409:
                raise
        existing = _json(read(name, self.namespace, _preload_content=False))
        if not manifest["metadata"]["annotations"].items() <= existing["metadata"].get("annotations", {}).items():
            raise ValueError(f"{kind} {name} exists and belongs to something else")
        return existing

    def denies_by_default(self) -> bool:
        """Whether the namespace has the shipped network policy that denies all traffic which no other policy allows."""
        from kubernetes.client import NetworkingV1Api

        policy = self._read(NetworkingV1Api(self.api.api_client).read_namespaced_network_policy, "c2d-default-deny")
        if policy is None:
            return False
        spec = policy.get("spec", {})
        covers_all = not spec.get("podSelector") and {"Egress", "Ingress"} <= set(spec.get("policyTypes", []))
        return covers_all and not spec.get("egress") and not spec.get("ingress")

    def await_volume(self, claim: str) -> None:
        """Waits until the claim is bound, or until it is clear that only its pod will bind it (WaitForFirstConsumer).

        A pod that is created before its volume fails its first scheduling. That costs a second, or five minutes if the scheduler misses
        the volume's event.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < VOLUME_SECONDS:
            current = _json(self.api.read_namespaced_persistent_volume_claim(claim, self.namespace, _preload_content=False))
            if current.get("status", {}).get("phase") == "Bound":
                return
            provisioning = PROVISIONER in current["metadata"].get("annotations", {})
            if not provisioning and time.monotonic() - begun > CONSUMER_SECONDS:
                return
            time.sleep(0.03)

    def owner(self, name: str) -> dict[str, Any] | None:
        """The object that owns the job's other objects, or None."""
        return self._read(self.api.read_namespaced_config_map, name)

    def read(self, name: str) -> dict[str, Any] | None:
        """The pod, or None."""
        return self._read(self.api.read_namespaced_pod, name)

    def owners(self, label: str) -> list[dict[str, Any]]:
        """The owner objects of all jobs."""
        return list(_json(self.api.list_namespaced_config_map(self.namespace, label_selector=label, _preload_content=False))["items"])

    def set_deadline(self, name: str, seconds: int) -> bool:
        """Has the node end the pod ``seconds`` after it accepted it; a deadline can only be shortened. A missing pod is not an error.

        Returns False if the operators' role lacks ``patch`` of pods.
        """
        from kubernetes.client import ApiException

        try:
            self.api.patch_namespaced_pod(name, self.namespace, {"spec": {"activeDeadlineSeconds": seconds}}, _preload_content=False)
        except ApiException as e:
            if e.status not in (403, 404):
                raise
            return bool(e.status == 404)
        return True

    def delete(self, name: str) -> None:
        """Requests the pod's deletion, which takes a second or two. A missing pod is not an error."""
        self._delete(self.api.delete_namespaced_pod, name)

    def delete_owner(self, name: str) -> None:
        """Requests the deletion of all objects of the job."""
        self._delete(self.api.delete_namespaced_config_map, name)

    def follow(self, pod: dict[str, Any], log_bytes: int, tick: float = 5.0) -> Iterator[PodState | LogLine]:
        """The states of ``pod`` from now on, and its log from the first line, as they arrive.

        Yields at least every ``tick`` seconds (repeating the last state), so that the caller can check the time. Never ends by itself;
        the caller stops iterating. Broken connections to the API server are re-established.
        """
        name, latest = pod["metadata"]["name"], pod
        events: queue.SimpleQueue[PodState | LogLine | Exception] = queue.SimpleQueue()
        stop = threading.Event()
        threading.Thread(target=self._watch, args=(name, pod["metadata"]["resourceVersion"], events, stop), daemon=True).start()
        reads_log = False
        yield PodState(pod)
        try:
            while True:
                if not reads_log and _has_run(latest):
                    threading.Thread(target=self._read_log, args=(name, log_bytes, events, stop), daemon=True).start()
                    reads_log = True
                try:
                    event = events.get(timeout=tick)
                except queue.Empty:
                    yield PodState(latest)
                    continue
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, PodState) and event.pod is not None:
                    latest = event.pod
                yield event
        finally:
            stop.set()

    def _watch(self, name: str, version: str | None, events: queue.SimpleQueue[Any], stop: threading.Event) -> None:
        """Puts each state of the pod into ``events`` until the pod is gone, ``stop`` is set, or too many attempts failed in a row."""
        failures = 0
        while not stop.is_set():
            try:
                if version is None:
                    current = self.read(name)
                    events.put(PodState(current))
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
                    if event["type"] == "ERROR":  # 410: the API server no longer has this version
                        break
                    events.put(PodState(None if event["type"] == "DELETED" else event["object"]))
                    if event["type"] == "DELETED" or stop.is_set():
                        return
                version = None
            except Exception as e:  # also urllib3's and broken JSON: a thread that died would leave the caller waiting
                failures += 1
                if failures > WATCH_FAILURES:
                    events.put(e)
                    return
                version = None
                stop.wait(min(0.2 * 2**failures, 5))

    def _read_log(self, name: str, limit_bytes: int, events: queue.SimpleQueue[Any], stop: threading.Event) -> None:
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
                events.put(LogLine(line))
                if stop.is_set():
                    return
        except Exception as e:  # not an error of the stage: the owner gets the stage's own log file
            events.put(LogLine(f"(the log broke off: {type(e).__name__})".encode()))
        events.put(LogLine(None))

    def _read(self, read: Any, name: str) -> dict[str, Any] | None:
        from kubernetes.client import ApiException

        try:
            return _json(read(name, self.namespace, _preload_content=False))
        except ApiException as e:
            if e.status == 404:
                return None
            raise

    def _delete(self, delete: Any, name: str) -> None:
        from kubernetes.client import ApiException

        try:
            delete(name, self.namespace, propagation_policy="Background", _preload_content=False)
        except ApiException as e:
            if e.status != 404:
                raise


def pod_log_tail(namespace: str, pod: str, lines: int) -> str | None:
    """The last lines of a pod's log, at most LOG_TAIL_BYTES; None if there is no such pod or it has not started. For the live view.

    :raises kubernetes.client.ApiException: any other error of Kubernetes.
    """
    from kubernetes.client import ApiException

    try:
        response = _default_api().read_namespaced_pod_log(
            pod, namespace, container=CONTAINER, tail_lines=lines, _preload_content=False, _request_timeout=(2, 5)
        )
    except ApiException as e:
        if e.status in (400, 404):  # 400: the container is waiting to start
            return None
        raise
    return bytes(response.data)[-LOG_TAIL_BYTES:].decode("utf-8", "replace")


@functools.cache
def _default_api() -> CoreV1Api:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

    return KubernetesHook(conn_id="kubernetes_default").core_v1_client


def _message(error: ApiException) -> str:
    """The sentence in which the API server explains an error."""
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
    """The lines of a streamed body as they arrive. A line that outgrows the buffer is cut, so that memory stays bounded."""
    rest = b""
    cutting = False
    for chunk in response.stream(amt=None if response.chunked else 65536, decode_content=False):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if not cutting and line:
                yield line
            cutting = False
        if len(rest) > LINE_BUFFER_BYTES:
            if not cutting:
                yield rest[:LOG_LINE_BYTES]
            rest, cutting = b"", True
    if rest and not cutting:
        yield rest
