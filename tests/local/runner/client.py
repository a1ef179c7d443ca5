"""A real runner process, and a short way to drive it, or a cluster, with the official client."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, watch

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))
IMAGE = "c2d.test/python:3.11"
TERMINAL = ("Succeeded", "Failed")


class Runner:
    """A runner process with one image, IMAGE."""

    def __init__(self, folder: Path) -> None:
        self.state, self.kubeconfig, self.images = folder / "state", folder / "kubeconfig", folder / "images.yaml"
        (folder / "code").mkdir(exist_ok=True)
        (folder / "code" / "hello.py").write_text("print('hello from the image')\n")
        self.images.write_text(f"{IMAGE}: {{python: base, binds: {{/opt/code: ./code}}, env: {{PYTHONPATH: /opt/code, FLAVOUR: image}}}}\n")
        self.start()

    def start(self) -> None:
        """Start the process, and wait until it answers. Skips the test if the machine has no sandbox."""
        files = ("--state", str(self.state), "--kubeconfig", str(self.kubeconfig), "--images", str(self.images))
        self.process = subprocess.Popen([sys.executable, "-m", "local.runner", *files], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        first_line = self.process.stdout.readline()  # it comes once requests are answered
        threading.Thread(target=self.process.stdout.read, daemon=True).start()
        if self.process.poll() is not None or "https://" not in first_line:
            pytest.skip(f"no runner on this machine: {first_line}")

    def stop(self) -> int:
        """End the process; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


class Cluster:
    """One namespace of the API that a kubeconfig names."""

    image = IMAGE

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self.api = config.new_client_from_config(str(kubeconfig))
        self.core = client.CoreV1Api(self.api)
        self.net = client.NetworkingV1Api(self.api)

    def raw(self, method: str, path: str, body: str) -> Any:
        """The response to a request that the client would not make."""
        settings = self.api.configuration
        headers = {"Authorization": settings.auth_settings()["BearerToken"]["value"], "Content-Type": "application/json"}
        return self.api.rest_client.pool_manager.request(method, settings.host + path, body=body, headers=headers)

    def manifest(
        self, *command: str, name: str = "", labels: dict[str, str] | None = None, owner: Any = None, **more: Any
    ) -> dict[str, Any]:
        """A pod with one container `base`. `container` holds further fields of the container; the rest are fields of the pod's spec."""
        container = {"name": "base", "image": self.image, "command": list(command)} | more.pop("container", {})
        metadata: dict[str, Any] = {"name": name or f"pod-{uuid.uuid4().hex[:8]}", "labels": labels or {}}
        if owner is not None:
            metadata["ownerReferences"] = [reference(owner)]
        return {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": [container]} | more}

    def create(self, *command: str, **more: Any) -> Any:
        return self.core.create_namespaced_pod(self.namespace, self.manifest(*command, **more))

    def run(self, *command: str, **more: Any) -> Any:
        """Create a pod and wait for its end."""
        return self.until_end(self.create(*command, **more))

    def python(self, code: str, **more: Any) -> Any:
        return self.run("python3", "-c", code, **more)

    def until(self, pod: Any, reached: Any, seconds: int = 120) -> Any:
        """Watch the pod until `reached(pod)`."""
        stream = watch.Watch()
        for event in stream.stream(
            self.core.list_namespaced_pod,
            self.namespace,
            field_selector=f"metadata.name={pod.metadata.name}",
            timeout_seconds=seconds,
        ):
            if event["type"] == "DELETED" or reached(event["object"]):
                return event["object"]
        raise AssertionError(f"not reached within {seconds} s: {self.core.read_namespaced_pod(pod.metadata.name, self.namespace).status}")

    def until_end(self, pod: Any, seconds: int = 120) -> Any:
        return self.until(pod, lambda pod: pod.status.phase in TERMINAL, seconds)

    def until_running(self, pod: Any) -> Any:
        return self.until(pod, lambda pod: pod.status.phase == "Running")

    def until_gone(self, pod: Any, seconds: int = 120) -> float:
        """Watch the pod until it is deleted; how many seconds that took."""
        begun = time.monotonic()
        for event in watch.Watch().stream(
            self.core.list_namespaced_pod,
            self.namespace,
            field_selector=f"metadata.name={pod.metadata.name}",
            resource_version=pod.metadata.resource_version,
            timeout_seconds=seconds,
        ):
            if event["type"] == "DELETED":
                return time.monotonic() - begun
        raise AssertionError("the pod is still there")

    def log(self, pod: Any, **options: Any) -> str:
        response = self.core.read_namespaced_pod_log(pod.metadata.name, self.namespace, _preload_content=False, **options)
        return str(response.data.decode())

    def config_map(self, name: str = "", owner: Any = None, **data: str) -> Any:
        metadata: dict[str, Any] = {"name": name or f"map-{uuid.uuid4().hex[:8]}"}
        if owner is not None:
            metadata["ownerReferences"] = [reference(owner)]
        return self.core.create_namespaced_config_map(self.namespace, {"metadata": metadata, "data": data})

    def secret(self, name: str, **data: str) -> Any:
        return self.core.create_namespaced_secret(self.namespace, {"metadata": {"name": name}, "stringData": data})

    def claim(self, name: str, owner: Any = None) -> Any:
        metadata: dict[str, Any] = {"name": name} | ({"ownerReferences": [reference(owner)]} if owner is not None else {})
        spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "100Mi"}}}
        return self.core.create_namespaced_persistent_volume_claim(self.namespace, {"metadata": metadata, "spec": spec})


def reference(owner: Any) -> dict[str, str]:
    kind = owner.kind or "ConfigMap"
    return {"apiVersion": "v1", "kind": kind, "name": owner.metadata.name, "uid": owner.metadata.uid}


def terminated(pod: Any, container: int = 0) -> Any:
    """The end of a container, or None while it has not ended."""
    statuses = pod.status.container_statuses
    return statuses[container].state.terminated if statuses else None


def waiting_reason(pod: Any) -> str | None:
    """Why the pod's first container has not started."""
    statuses = pod.status.container_statuses or []
    return statuses[0].state.waiting.reason if statuses and statuses[0].state.waiting else None


def code_of(error: pytest.ExceptionInfo[client.ApiException]) -> tuple[int, str]:
    """HTTP code and reason of an API error."""
    return error.value.status, json.loads(error.value.body)["reason"]
