"""The edge to Kubernetes, against a real pod runner."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2d.errors import ManifestRejected
from c2d.hooks.kubernetes import LogLine, Pods, Seen
from c2d.pods.status import end_of
from tests.local.runner.client import Cluster, Runner

ROOT = Path(__file__).parents[3]


@pytest.fixture
def cluster(runner: Runner) -> Cluster:
    it = Cluster(runner.kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    it.core.create_namespace({"metadata": {"name": it.namespace}})
    return it


@pytest.fixture
def pods(cluster: Cluster) -> Pods:
    return Pods(cluster.core, cluster.namespace)


def pod(cluster: Cluster, *command: str) -> dict[str, Any]:
    manifest = cluster.manifest(*command)
    manifest["metadata"]["annotations"] = {"c2d/job-id": "j1"}
    return {"apiVersion": "v1", "kind": "Pod", **manifest}


def policies() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((ROOT / "helm_values" / "jobs-namespace" / "20-networkpolicy.yaml").read_text()))


def test_ensure_makes_an_object_once_and_finds_it_again(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "sleep", "60")
    made = pods.ensure(manifest)
    assert pods.ensure(manifest)["metadata"]["uid"] == made["metadata"]["uid"]


def test_an_object_of_the_same_name_that_is_somebody_elses_is_not_taken_over(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "true")
    pods.ensure(manifest)
    manifest["metadata"]["annotations"] = {"c2d/job-id": "j2"}
    with pytest.raises(ValueError, match="belongs to something else"):
        pods.ensure(manifest)


def test_what_the_cluster_will_never_take_is_refused_with_its_own_sentence(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "true")
    manifest["metadata"]["labels"] = {"a": "not a label value!"}
    with pytest.raises(ManifestRejected, match=r"is refused: .*label"):
        pods.ensure(manifest)


def test_following_a_pod_gives_its_log_and_its_end(cluster: Cluster, pods: Pods) -> None:
    lines, states = [], []
    log_ended = False
    for event in pods.follow(pods.ensure(pod(cluster, "sh", "-c", "echo one; sleep 0.3; echo two; exit 3")), 10000):
        if isinstance(event, LogLine):
            log_ended = event.text is None
            lines.append(event.text)
        elif isinstance(event, Seen) and event.pod:
            states.append(end_of(event.pod))
        if states[-1] and log_ended:
            break
    assert lines == [b"one", b"two", None] and states[-1] is not None and states[-1].exit_code == 3


def test_the_log_is_the_main_containers_also_beside_init_containers(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "echo", "main")
    manifest["spec"]["initContainers"] = [{**manifest["spec"]["containers"][0], "name": "first", "command": ["echo", "first"]}]
    lines = []
    for event in pods.follow(pods.ensure(manifest), 10000):
        if isinstance(event, LogLine):
            lines.append(event.text)
            if event.text is None:
                break
    assert lines == [b"main", None]


def test_following_tells_when_the_pod_is_gone_and_deleting_twice_is_harmless(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "sleep", "60")
    manifest["spec"]["terminationGracePeriodSeconds"] = 0
    made = pods.ensure(manifest)
    name = made["metadata"]["name"]
    pods.delete(name)
    for event in pods.follow(made, 100):
        if isinstance(event, Seen) and event.pod is None:
            break
    pods.delete(name)
    assert pods.read(name) is None


def test_the_log_is_given_up_to_its_limit(cluster: Cluster, pods: Pods) -> None:
    total = 0
    for event in pods.follow(pods.ensure(pod(cluster, "sh", "-c", "yes | head -n 5000")), 1000):
        if isinstance(event, LogLine):
            if event.text is None:
                break
            total += len(event.text) + 1
    assert 990 <= total <= 1010


def test_a_namespace_denies_by_default_only_with_the_shipped_policy_as_it_is(cluster: Cluster, pods: Pods) -> None:
    assert not pods.denies_by_default()
    for policy in policies():
        policy["metadata"]["namespace"] = cluster.namespace
        cluster.net.create_namespaced_network_policy(cluster.namespace, policy)
    assert pods.denies_by_default()
    softened = {"spec": {"egress": [{}]}}
    cluster.net.patch_namespaced_network_policy("c2d-default-deny", cluster.namespace, softened)
    assert not pods.denies_by_default()
