"""The place where pods run, be it the pod runner on this machine or a Kubernetes cluster: `python -m local.cluster prepare`.

Both are reached by a kubeconfig. Before anything else the manifests of helm_values/jobs-namespace are applied, for a network policy must
stand before the pod that it is for; then the results volume's folder on this machine is linked as C2D_HOME/results.
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
NAMESPACE = "c2d-jobs"  # as the manifests have it; C2D_NAMESPACE puts another one in its place
BOUND_WITHIN = 60  # seconds

# kind -> its name in the API's paths, and whether it lives in a namespace
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
    return os.environ.get("C2D_NAMESPACE") or NAMESPACE


def is_kubernetes() -> bool:
    """Whether jobs run on a cluster (C2D_CLUSTER=kubernetes) and not on the pod runner."""
    chosen = os.environ.get("C2D_CLUSTER") or "local"
    if chosen not in ("local", "kubernetes"):
        raise StackError(f"C2D_CLUSTER={chosen} is unknown; leave it out for this machine, or say kubernetes.")
    return chosen == "kubernetes"


def kubeconfig() -> Path:
    """The cluster's kubeconfig, which the user names."""
    named = os.environ.get("KUBECONFIG")
    if not named:
        raise StackError("C2D_CLUSTER=kubernetes needs KUBECONFIG, the file that tells how to reach the cluster.")
    if not Path(named).is_file():
        raise StackError(f"KUBECONFIG={named} is not a file.")
    return Path(named).resolve()


def server_of(file: Path) -> str:
    """The address of the API server in a kubeconfig's current context."""
    try:
        config = yaml.safe_load(file.read_text())
        context = next(c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        return next(c["cluster"]["server"] for c in config["clusters"] if c["name"] == context["cluster"])
    except (KeyError, TypeError, StopIteration, yaml.YAMLError) as error:
        raise StackError(f"KUBECONFIG={file} has no current context with a server.") from error


def own_address(server: str) -> str:
    """The address of this machine that the cluster can reach: the one from which this machine reaches the cluster."""
    parts = urllib.parse.urlsplit(server)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((parts.hostname or "", parts.port or 443))  # sends nothing
        except OSError as error:
            raise StackError(f"The cluster's API server {server} cannot be reached: {error.strerror}.") from error
        return probe.getsockname()[0]


def manifests(wanted_namespace: str) -> list[dict[str, Any]]:
    """Every object of the manifests, namespaces first, with the namespace's name put in."""

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: renamed(item) for key, item in value.items()}
        if isinstance(value, list):
            return [renamed(item) for item in value]
        return wanted_namespace if value == NAMESPACE else value

    found = [
        renamed(document) for file in sorted(MANIFESTS.glob("*.yaml")) for document in yaml.safe_load_all(file.read_text()) if document
    ]
    if not any(document["kind"] == "Namespace" for document in found):
        found.append({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": wanted_namespace}})
    return sorted(found, key=lambda document: document["kind"] != "Namespace")


def results_claim(name: str, size: str = "1Gi") -> dict[str, Any]:
    """The claim for the results volume, where the manifests have none."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def data_server_policy(address: str) -> dict[str, Any]:
    """Lets configure reach the examples' data server on this machine, whose address is as good as never a public one."""
    spec = {
        "podSelector": {"matchLabels": {"c2d/stage": "configure"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": f"{address}/32"}}]}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "c2d-example-data"}, "spec": spec}


def publish_policy() -> dict[str, Any] | None:
    """Lets publish reach the stores that the settings name (`c2d networkpolicy`)."""
    from c2d.pods import network_policy
    from c2d.settings import installation

    return network_policy.publish_policy(installation.load())


class Cluster:
    def __init__(self, config: Path) -> None:
        from kubernetes import client  # heavy: only the step of the plan pays for it
        from kubernetes import config as loader

        loaded = client.Configuration()
        loader.load_kube_config(str(config), client_configuration=loaded)
        loaded.retries = False
        self.api = client.ApiClient(loaded)
        self.errors = client.ApiException

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, kind: str = "application/json") -> Any:
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

    def apply(self, document: dict[str, Any], wanted_namespace: str) -> None:
        """Create an object, or change the one that is there to what the manifest says."""
        try:
            plural, namespaced = PATHS[document["kind"]]
        except KeyError:
            raise StackError(f"{MANIFESTS.name} has a {document['kind']}, which the stack does not know how to apply.") from None
        version = document["apiVersion"]
        path = f"/api/{version}" if "/" not in version else f"/apis/{version}"
        if namespaced:
            path += f"/namespaces/{document['metadata'].get('namespace') or wanted_namespace}"
        path += f"/{plural}"
        name = document["metadata"]["name"]
        try:
            self.call("POST", path, document)
        except self.errors as error:
            if error.status == 409:
                if document["kind"] != "PersistentVolumeClaim":  # its spec cannot change
                    self.call("PATCH", f"{path}/{name}", document, "application/merge-patch+json")
            elif error.status in (404, 405) and not is_kubernetes():
                print(f"the pod runner has no {document['kind']}; left out: {name}", flush=True)
            else:
                raise StackError(f"The cluster refused {document['kind']} {name}: {error.status} {error.reason}") from error

    def results_folder(self, wanted_namespace: str, claim: str, runner: Path) -> Path | None:
        """Where the claim's volume lies on this machine; None when it lies elsewhere. ``runner``: the pod runner's folder."""
        path = f"/api/v1/namespaces/{wanted_namespace}/persistentvolumeclaims/{claim}"
        until = time.monotonic() + BOUND_WITHIN
        while not (volume := (found := self.call("GET", path))["spec"].get("volumeName")):
            if time.monotonic() > until:
                which = f"The results claim {wanted_namespace}/{claim}"
                raise StackError(f"{which} is not bound after {BOUND_WITHIN} s; its storage class must bind at once.")
            time.sleep(0.1)
        if not is_kubernetes():  # the runner has no PersistentVolume objects; it names the folder after the claim's uid
            return runner / "volumes" / found["metadata"]["uid"]
        spec = self.call("GET", f"/api/v1/persistentvolumes/{volume}")["spec"]
        folder = (spec.get("hostPath") or spec.get("local") or {}).get("path")
        return Path(folder) if folder and Path(folder).is_dir() else None


def prepare(stack: Home, config: Path) -> None:
    cluster = Cluster(config)
    wanted, claim = namespace(), os.environ.get("C2D_RESULTS_CLAIM") or "c2d-results"
    documents = manifests(wanted)
    if not any(d["kind"] == "PersistentVolumeClaim" and d["metadata"]["name"] == claim for d in documents):
        documents.append(results_claim(claim))
    if is_kubernetes():
        documents.append(data_server_policy(own_address(server_of(config))))
    if policy := publish_policy():
        documents.append(policy)
    for document in documents:
        cluster.apply(document, wanted)
    folder = cluster.results_folder(wanted, claim, stack.path / "runner")
    link = stack.path / "results"
    link.unlink(missing_ok=True)
    if folder:
        link.symlink_to(folder)
    else:
        print(f"the results volume {wanted}/{claim} is not on this machine; results cannot be read from here", flush=True)


if __name__ == "__main__":
    try:
        prepare(home(), Path(sys.argv[1]))
    except StackError as problem:
        raise SystemExit(str(problem)) from None
    except Exception as problem:
        raise SystemExit(
            f"The cluster could not be prepared: {type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}"
        ) from problem
