"""Prepares the cluster that jobs run on, the pod runner or a Kubernetes cluster: `python -m local.cluster KUBECONFIG`.

It applies the manifests of helm_values/jobs-namespace, before any pod exists that a network policy applies to. Then it links the folder of
the results volume, if that is on this machine, as C2D_HOME/results.
"""

import os
import socket
import sys
import time
import urllib.parse
from pathlib import Path
from typing import Any

import yaml

from local.home import PROJECT, Home, StackError, home

MANIFESTS = PROJECT / "helm_values" / "jobs-namespace"
NAMESPACE = "c2d-jobs"  # in the manifests; C2D_NAMESPACE replaces it
BIND_TIMEOUT = 60  # seconds

# kind: its name in the API's paths, and whether it is namespaced
PATHS = {
    "Namespace": ("namespaces", False),
    "ServiceAccount": ("serviceaccounts", True),
    "ConfigMap": ("configmaps", True),
    "Secret": ("secrets", True),
    "PersistentVolumeClaim": ("persistentvolumeclaims", True),
    "ResourceQuota": ("resourcequotas", True),
    "LimitRange": ("limitranges", True),
    "NetworkPolicy": ("networkpolicies", True),
    "Role": ("roles", True),
    "RoleBinding": ("rolebindings", True),
    "PriorityClass": ("priorityclasses", False),
    "RuntimeClass": ("runtimeclasses", False),
}


def namespace() -> str:
    """The namespace of the jobs' pods."""
    return os.environ.get("C2D_NAMESPACE") or NAMESPACE


def is_kubernetes() -> bool:
    """Whether jobs run on a Kubernetes cluster (C2D_CLUSTER=kubernetes) rather than on the pod runner.

    :raises StackError: C2D_CLUSTER has another value.
    """
    cluster = os.environ.get("C2D_CLUSTER") or "local"
    if cluster not in ("local", "kubernetes"):
        raise StackError(f"C2D_CLUSTER={cluster} is unknown. Unset it to run jobs on this machine, or set it to kubernetes.")
    return cluster == "kubernetes"


def kubeconfig() -> Path:
    """The cluster's kubeconfig, from the environment variable KUBECONFIG.

    :raises StackError: KUBECONFIG is not set, or is not a file.
    """
    path = os.environ.get("KUBECONFIG")
    if not path:
        raise StackError("C2D_CLUSTER=kubernetes needs KUBECONFIG: set it to the cluster's kubeconfig file.")
    if not Path(path).is_file():
        raise StackError(f"KUBECONFIG={path} is not a file.")
    return Path(path).resolve()


def server_of(file: Path) -> str:
    """The URL of the API server in a kubeconfig's current context.

    :raises StackError: there is none.
    """
    try:
        config = yaml.safe_load(file.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        return str(next(c["cluster"]["server"] for c in config["clusters"] if c["name"] == context["cluster"]))
    except (KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        raise StackError(f"KUBECONFIG={file} has no current context with a server.") from error


def own_address(server: str) -> str:
    """The address of this machine that the cluster can reach: the one from which this machine reaches the API server.

    :raises StackError: there is no route to the API server.
    """
    parts = urllib.parse.urlsplit(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname or "", parts.port or 443))  # sends nothing
        except OSError as error:
            raise StackError(f"The cluster's API server {server} cannot be reached: {error.strerror}.") from error
        return str(probe.getsockname()[0])


def manifests(namespace: str) -> list[dict[str, Any]]:
    """Every object of the manifests, with the namespace filled in. The namespace itself comes first."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return namespace if value == NAMESPACE else value

    files = sorted(MANIFESTS.glob("*.yaml"))
    documents = [renamed(document) for file in files for document in yaml.safe_load_all(file.read_text()) if document]
    return sorted(documents, key=lambda document: document["kind"] != "Namespace")


def results_claim(name: str, size: str = "1Gi") -> dict[str, Any]:
    """A claim for the results volume, for a claim name that the manifests do not have."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def data_server_policy(address: str) -> dict[str, Any]:
    """Allows configure pods to connect to the examples' data server on this machine, whose address is hardly ever a public one."""
    spec = {
        "podSelector": {"matchLabels": {"c2d/stage": "configure"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": f"{address}/32"}}]}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "c2d-example-data"}, "spec": spec}


def publish_policy() -> dict[str, Any] | None:
    """Allows publish pods to connect to the stores in the settings, as `c2d networkpolicy` does; None if there are none."""
    from c2d.pods import network_policy
    from c2d.settings import installation

    return network_policy.publish_policy(installation.load())


class Cluster:
    """The API that a kubeconfig points to."""

    def __init__(self, config: Path) -> None:
        from kubernetes import client  # slow to import: only this step of the plan needs it
        from kubernetes import config as loader

        loaded = client.Configuration()
        loader.load_kube_config(str(config), client_configuration=loaded)
        loaded.retries = False
        self.api = client.ApiClient(loaded)
        self.errors = client.ApiException

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json") -> Any:
        """The answer to a request.

        :raises kubernetes.client.ApiException: it is an error.
        """
        headers = {"Accept": "application/json", "Content-Type": kind}
        return self.api.call_api(
            path,
            method,
            header_params=headers,
            body=body,
            auth_settings=["BearerToken"],
            response_types_map={200: "object", 201: "object", 202: "object"},
            _return_http_data_only=True,
            _request_timeout=15,
        )

    def apply(self, document: dict[str, Any], namespace: str) -> None:
        """Create an object, or update the existing one.

        :raises StackError: the cluster rejects it.
        """
        try:
            plural, namespaced = PATHS[document["kind"]]
        except KeyError:
            raise StackError(f"{MANIFESTS} has an object of kind {document['kind']}, which local/cluster.py cannot apply.") from None
        version = document["apiVersion"]
        path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if namespaced:
            path += f"/namespaces/{document['metadata'].get('namespace') or namespace}"
        path += f"/{plural}"
        name = document["metadata"]["name"]
        try:
            self.call("POST", path, document)
        except self.errors as error:
            if error.status == 409:
                if document["kind"] != "PersistentVolumeClaim":  # its spec cannot change
                    self.call("PATCH", f"{path}/{name}", document, "application/merge-patch+json")
            elif error.status in (404, 405) and not is_kubernetes():
                print(f"Skipped {document['kind']} {name}: the pod runner does not have this kind.", flush=True)
            else:
                raise StackError(f"The cluster rejected {document['kind']} {name}: {error.status} {error.reason}") from error

    def results_folder(self, namespace: str, claim: str, runner: Path) -> Path | None:
        """The folder on this machine that has the volume of a claim; None if the volume is elsewhere.

        :param runner: the pod runner's folder.
        :raises StackError: the claim is not bound after BIND_TIMEOUT seconds.
        """
        path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{claim}"
        deadline = time.monotonic() + BIND_TIMEOUT
        while not (volume := (document := self.call("GET", path))["spec"].get("volumeName")):
            if time.monotonic() > deadline:
                raise StackError(
                    f"The results claim {namespace}/{claim} is not bound after {BIND_TIMEOUT} s. "
                    "Use a storage class with volumeBindingMode: Immediate."
                )
            time.sleep(0.1)
        if not is_kubernetes():  # the runner has no PersistentVolume objects; it names the folder after the claim's uid
            return runner / "volumes" / str(document["metadata"]["uid"])
        spec = self.call("GET", f"/api/v1/persistentvolumes/{volume}")["spec"]
        folder = (spec.get("hostPath") or spec.get("local") or {}).get("path")
        return Path(folder) if folder and Path(folder).is_dir() else None


def prepare(stack: Home, config: Path) -> None:
    """Apply the manifests and link the results folder.

    :raises StackError: the cluster cannot be prepared.
    """
    cluster = Cluster(config)
    jobs_namespace, claim = namespace(), os.environ.get("C2D_RESULTS_CLAIM") or "c2d-results"
    documents = manifests(jobs_namespace)
    if not any(d["kind"] == "PersistentVolumeClaim" and d["metadata"]["name"] == claim for d in documents):
        documents.append(results_claim(claim))
    if is_kubernetes():
        documents.append(data_server_policy(own_address(server_of(config))))
    if policy := publish_policy():
        documents.append(policy)
    for document in documents:
        cluster.apply(document, jobs_namespace)
    folder = cluster.results_folder(jobs_namespace, claim, stack.path / "runner")
    link = stack.path / "results"
    link.unlink(missing_ok=True)
    if folder:
        link.symlink_to(folder)
    else:
        print(f"The results volume {jobs_namespace}/{claim} is not on this machine, so results cannot be read here.", flush=True)


if __name__ == "__main__":
    try:
        prepare(home(), Path(sys.argv[1]))
    except StackError as error:
        raise SystemExit(str(error)) from None
    except Exception as error:
        reason = next(iter(str(error).splitlines()), "")
        raise SystemExit(f"The cluster could not be prepared: {type(error).__name__}: {reason}") from error
