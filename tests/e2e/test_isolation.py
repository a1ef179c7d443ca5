"""An algorithm can reach, write and use nothing beyond its inputs, its outputs and its limits."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from kubernetes import client as kubernetes

from local.cluster import server_of
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import IMAGE, SLEEP, conf, data_set, file

# Tries once to connect to each address. TARGETS is defined before it.
PROBE = """
import json, socket
def reach(host, port, kind):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if kind == "dns" else socket.SOCK_STREAM) as probe:
        probe.settimeout(3)
        try:
            probe.connect((host, port))
            if kind == "dns":
                labels = b"kubernetes.default.svc.cluster.local".split(b".")
                question = b"".join(bytes([len(label)]) + label for label in labels) + bytes([0, 0, 1, 0, 1])
                probe.send(bytes([1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + question)
                probe.recv(512)
        except OSError as error:
            return type(error).__name__
        return "reached"
reached = {name: reach(*target) for name, target in TARGETS.items()}
"""
AGAIN = """
import time
time.sleep(4)
later = {name: reach(*target) for name, target in TARGETS.items()}
"""

INSIDE = """
import os, pathlib
def attempt(do):
    try:
        do()
    except OSError as error:
        return type(error).__name__
    return "done"
report = {
    "reached": reached,
    "later": later,
    "input": attempt(lambda: open("/data/inputs/aa/0", "a")),
    "new input": attempt(lambda: open("/data/inputs/new", "w")),
    "unlink": attempt(lambda: os.unlink("/data/inputs/aa/0")),
    "algorithm": attempt(lambda: open("/data/transformations/algorithm", "a")),
    "root": [path for path in ("/", "/usr", "/etc", "/data", "/opt") if attempt(lambda: open(path + "/new", "w")) == "done"],
    "token": [str(p) for folder in ("var/run", "run") for p in pathlib.Path("/").glob(folder + "/secrets/**/*")],
    "others": sorted(set(os.listdir("/data")) | ({"c2d"} if os.path.exists("/c2d/stage.json") else set())),
    "variables": sorted(n for n in os.environ if "KUBERNETES" in n or "AIRFLOW" in n or "C2D" in n),
    "ids": [os.getuid(), os.getgid()],
    "privileges": [l.split()[1] for l in open("/proc/self/status") if l.startswith(("CapEff", "CapBnd", "NoNewPrivs"))],
    "tmp": attempt(lambda: open("/tmp/new", "w")),
}
open("/data/outputs/report.json", "w").write(json.dumps(report))
"""


def targets(stack: Stack) -> dict[str, tuple[str, int, str]]:
    """The servers of this machine and of the cluster, which no algorithm may reach."""
    server = urlsplit(server_of(stack.kubeconfig))
    servers = {
        "the API server": (server.hostname or "", server.port or 443, "tcp"),
        "the data server": (stack.address, stack.data.port, "tcp"),
    }
    if not stack.on_cluster:  # a container with a network would share the machine's loopback interface
        airflow = urlsplit(stack.api.url)
        database = stack.database_url
        return servers | {
            "Airflow": (airflow.hostname or "", airflow.port or 80, "tcp"),
            "PostgreSQL": (database.host or "", database.port or 5432, "tcp"),
        }
    service = stack.core.read_namespaced_service("kubernetes", "default").spec
    node = stack.core.list_node().items[0]
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    return servers | {
        "the API server's service": (service.cluster_ip, service.ports[0].port, "tcp"),
        "the kubelet": (address, node.status.daemon_endpoints.kubelet_endpoint.port, "tcp"),
        "the name server": (address, 53, "dns"),
    }


@pytest.fixture(scope="module")
def reachable(stack: Stack) -> dict[str, Any]:
    """What the same probe reaches from a pod in a namespace without policies, as a control."""
    name = f"c2d-e2e-soft-{secrets.token_hex(4)}"
    code = f"TARGETS = {targets(stack)!r}\n{PROBE}\nopen('/dev/termination-log', 'w').write(json.dumps(reached))"
    container = {
        "name": "base",
        "image": f"{IMAGE['image']}:{IMAGE['tag']}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", code],
        "resources": {"limits": {"cpu": "200m", "memory": "128Mi"}},
    }
    stack.core.create_namespace({"metadata": {"name": name}})
    try:
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsUser": 1000, "runAsGroup": 1000},
            "containers": [container],
        }
        # the namespace gets its service account a moment after it is created
        until(
            lambda: created(stack, name, {"metadata": {"name": "probe"}, "spec": {**spec, "automountServiceAccountToken": False}}), "a pod"
        )
        until(
            lambda: stack.core.read_namespaced_pod("probe", name).status.phase in ("Succeeded", "Failed"), "the end of the control's probe"
        )
        status = stack.core.read_namespaced_pod("probe", name).status.container_statuses[0]
        assert status.state.terminated.exit_code == 0
        return json.loads(status.state.terminated.message)
    finally:
        stack.core.delete_namespace(name)


def created(stack: Stack, namespace: str, pod: dict[str, Any]) -> bool:
    """Create a pod. False if the cluster does not allow it yet."""
    try:
        stack.core.create_namespaced_pod(namespace, pod)
    except kubernetes.ApiException as error:
        if error.status != 403:
            raise
        return False
    return True


@pytest.fixture(scope="module")
def prisoner(stack: Stack) -> tuple[Job, dict[str, Any]]:
    """A job whose algorithm tries everything that is forbidden, and its report."""
    code = f"TARGETS = {targets(stack)!r}\n{PROBE}\n{AGAIN}\n{INSIDE}"
    job = stack.submit(conf(code, inputs=[data_set("aa", file("table.csv"))]), name="prisoner").await_end()
    job.has_ended("success", 70, "Job finished", exitCode=0)
    return job, json.loads(job.published("outputs/report.json"))


def test_an_algorithm_cannot_reach_what_an_unrestricted_pod_can(prisoner: tuple[Job, dict[str, Any]], reachable: dict[str, Any]) -> None:
    later = prisoner[1]["later"]
    assert set(reachable.values()) == {"reached"}, reachable
    assert later.keys() == reachable.keys() and "reached" not in later.values(), later


def test_an_algorithm_is_isolated_from_its_very_start(prisoner: tuple[Job, dict[str, Any]], stack: Stack) -> None:
    at_once = prisoner[1]["reached"]
    assert "reached" not in at_once.values(), at_once


def test_an_algorithm_can_write_only_to_its_outputs_and_to_tmp(prisoner: tuple[Job, dict[str, Any]]) -> None:
    report = prisoner[1]
    for what in ("input", "new input", "unlink", "algorithm"):
        assert report[what] in ("OSError", "PermissionError"), what
    assert (report["root"], report["tmp"]) == ([], "done")
    assert report["others"] == ["ddos", "inputs", "logs", "outputs", "transformations"]


def test_an_algorithm_has_no_token_no_privileges_and_none_of_our_variables(prisoner: tuple[Job, dict[str, Any]], stack: Stack) -> None:
    report = prisoner[1]
    assert report["token"] == []
    # Kubernetes gives every container the address of the API server, which the container cannot reach
    assert [name for name in report["variables"] if not (stack.on_cluster and name.startswith("KUBERNETES_"))] == []
    if stack.on_cluster:
        assert report["ids"] == [1000, 1000]
    effective, bounding, no_new_privileges = report["privileges"]
    assert (int(effective, 16), int(bounding, 16), no_new_privileges) == (0, 0, "1")


def test_every_pod_is_restricted_and_has_equal_requests_and_limits(prisoner: tuple[Job, dict[str, Any]], stack: Stack) -> None:
    job = prisoner[0]
    for stage in ("configure", "algorithm", "filter", "publish"):
        spec = job.pod(stage)["spec"]
        assert spec["automountServiceAccountToken"] is False and spec["activeDeadlineSeconds"] > 0
        assert spec["securityContext"]["runAsNonRoot"] is True and spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & {name for name, value in spec.items() if value}
        assert not any("hostPath" in volume or "projected" in volume for volume in spec["volumes"])
        (container,) = spec["containers"]
        security = container["securityContext"]
        assert (security["allowPrivilegeEscalation"], security["readOnlyRootFilesystem"]) == (False, True)
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert (
            container["resources"]["limits"].keys() == container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
        )
    exact = {"cpu": "200m", "memory": "256Mi", "ephemeral-storage": "192Mi"}
    resources = job.pod("algorithm")["spec"]["containers"][0]["resources"]
    assert {kind: in_bytes(resources[kind]) for kind in ("limits", "requests")} == {"limits": in_bytes(exact), "requests": in_bytes(exact)}
    if stack.on_cluster:
        assert job.pod("algorithm")["status"]["qosClass"] == "Guaranteed"
        labels = stack.core.read_namespace(stack.namespace).metadata.labels
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.fixture(scope="module")
def internet() -> Iterator[tuple[str, int]]:
    """A server at a public address on this machine: from 192.88.99.0/24, which the internet no longer routes (RFC 7526)."""
    address = f"192.88.99.{1 + secrets.randbelow(254)}"
    subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    try:
        with socket.create_server((address, 0)) as server:
            yield address, server.getsockname()[1]
    finally:
        subprocess.run(["ip", "address", "del", f"{address}/32", "dev", "lo"], check=True)


# The laptop stack has enableNetwork=0, because its runner could only give a pod the machine's whole network.
@pytest.mark.cluster_only
def test_an_algorithm_with_network_access_reaches_the_internet_but_not_the_cluster(stack: Stack, internet: tuple[str, int]) -> None:
    forbidden = {name: target for name, target in targets(stack).items() if name != "the name server"}
    code = f"TARGETS = { ({**forbidden, 'the internet': (*internet, 'tcp')})!r}\n{PROBE}\n{AGAIN}\n" + (
        "open('/data/outputs/report.json', 'w').write(json.dumps([reached, later]))"
    )
    isolated = stack.submit(conf(code, inputs=[data_set("aa", file("table.csv"))]), name="isolated")
    job = stack.submit(conf(code, inputs=[data_set("aa", file("slow"))]), name="networked")
    until(lambda: job.row, f"the row of {job}")
    stack.store.allow_network(job.id, True)  # as configure does if the DDO of each data set allows it
    reports = {}
    for each in (isolated, job):
        each.await_end().has_ended("success", 70, "Job finished", exitCode=0)
        reports[each.id] = json.loads(each.published("outputs/report.json"))
    assert job.pod("algorithm")["metadata"]["labels"]["c2d/network"] == "public"
    for at_once, later in reports.values():
        assert "reached" not in {at_once[name] for name in forbidden} | {later[name] for name in forbidden}, (at_once, later)
    assert [report["the internet"] for report in reports[job.id]] == ["reached", "reached"]
    assert "reached" not in [report["the internet"] for report in reports[isolated.id]]


def in_bytes(quantities: dict[str, str]) -> dict[str, Any]:
    """Parsed quantities, so that 256Mi equals 268435456."""
    from kubernetes.utils.quantity import parse_quantity

    return {name: parse_quantity(value) for name, value in quantities.items()}


# The pod runner has no admission control: its containers are unprivileged, whatever the pod asks for.
@pytest.mark.cluster_only
def test_the_cluster_rejects_a_pod_that_asks_for_more_rights(stack: Stack) -> None:
    pod = {"metadata": {"name": "greedy"}, "spec": {"containers": [{"name": "base", "image": "c2d.test/stages:1"}], "hostNetwork": True}}
    with pytest.raises(kubernetes.ApiException) as rejection:
        stack.core.create_namespaced_pod(stack.namespace, pod)
    assert rejection.value.status == 403 and "restricted" in rejection.value.body


@pytest.mark.job(conf(SLEEP.format(1)), "ocean-compute")
def test_no_network_policy_gives_an_algorithm_without_permission_the_network(ended: Job, stack: Stack) -> None:
    ended.has_ended("success", 70, "Job finished", exitCode=0)
    policies = kubernetes.NetworkingV1Api(stack.core.api_client).list_namespaced_network_policy(stack.namespace).items
    assert "c2d-default-deny" in {policy.metadata.name for policy in policies}
    for policy in policies:
        if policy.spec.egress or policy.spec.ingress:
            labels = policy.spec.pod_selector.match_labels
            assert labels["c2d/stage"] != "algorithm" or labels["c2d/network"] == "public"  # only with the permission of all data owners
