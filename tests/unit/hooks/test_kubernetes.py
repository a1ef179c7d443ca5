"""Pods against the laptop's pod runner, which serves a part of the Kubernetes API."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, ApiException, Configuration, CoreV1Api

from c2d.errors import ManifestRejected
from c2d.hooks import kubernetes
from c2d.hooks.kubernetes import LOG_TAIL_BYTES, LogLine, Pods, PodState, pod_log_tail
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


def test_ensure_creates_an_object_only_once(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "sleep", "60")
    made = pods.ensure(manifest)
    assert pods.ensure(manifest)["metadata"]["uid"] == made["metadata"]["uid"]


def test_ensure_does_not_take_over_another_jobs_object(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "true")
    pods.ensure(manifest)
    manifest["metadata"]["annotations"] = {"c2d/job-id": "j2"}
    with pytest.raises(ValueError, match="belongs to something else"):
        pods.ensure(manifest)


def test_a_rejected_manifest_is_reported_in_the_api_servers_words(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "true")
    manifest["metadata"]["labels"] = {"a": "not a label value!"}
    with pytest.raises(ManifestRejected, match=r"is refused: .*label"):
        pods.ensure(manifest)


def test_follow_yields_the_pods_log_and_its_end(cluster: Cluster, pods: Pods) -> None:
    lines, states = [], []
    log_ended = False
    for event in pods.follow(pods.ensure(pod(cluster, "sh", "-c", "echo one; sleep 0.3; echo two; exit 3")), 10000):
        if isinstance(event, LogLine):
            log_ended = event.text is None
            lines.append(event.text)
        elif isinstance(event, PodState) and event.pod:
            states.append(end_of(event.pod))
        if states[-1] and log_ended:
            break
    assert lines == [b"one", b"two", None] and states[-1] is not None and states[-1].exit_code == 3


def test_follow_reads_the_main_containers_log_and_not_an_init_containers(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "echo", "main")
    manifest["spec"]["initContainers"] = [{**manifest["spec"]["containers"][0], "name": "first", "command": ["echo", "first"]}]
    lines = []
    for event in pods.follow(pods.ensure(manifest), 10000):
        if isinstance(event, LogLine):
            lines.append(event.text)
            if event.text is None:
                break
    assert lines == [b"main", None]


def test_follow_reports_a_deleted_pod_and_deleting_again_is_no_error(cluster: Cluster, pods: Pods) -> None:
    manifest = pod(cluster, "sleep", "60")
    manifest["spec"]["terminationGracePeriodSeconds"] = 0
    made = pods.ensure(manifest)
    name = made["metadata"]["name"]
    pods.delete(name)
    for event in pods.follow(made, 100):
        if isinstance(event, PodState) and event.pod is None:
            break
    pods.delete(name)
    assert pods.read(name) is None


def test_the_log_ends_at_its_limit(cluster: Cluster, pods: Pods) -> None:
    total = 0
    for event in pods.follow(pods.ensure(pod(cluster, "sh", "-c", "yes | head -n 5000")), 1000):
        if isinstance(event, LogLine):
            if event.text is None:
                break
            total += len(event.text) + 1
    assert 990 <= total <= 1010


def test_a_namespace_denies_by_default_only_with_the_unchanged_shipped_policy(cluster: Cluster, pods: Pods) -> None:
    assert not pods.denies_by_default()
    for policy in policies():
        policy["metadata"]["namespace"] = cluster.namespace
        cluster.net.create_namespaced_network_policy(cluster.namespace, policy)
    assert pods.denies_by_default()
    softened = {"spec": {"egress": [{}]}}
    cluster.net.patch_namespaced_network_policy("c2d-default-deny", cluster.namespace, softened)
    assert not pods.denies_by_default()


def test_the_log_tail_is_the_end_of_the_log_or_none_without_a_pod(cluster: Cluster, pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "_default_api", lambda: cluster.core)
    made = pods.ensure(pod(cluster, "sh", "-c", "echo one; echo two; head -c 100000 /dev/zero | tr '\\0' x"))
    for event in pods.follow(made, 200_000):
        if isinstance(event, LogLine) and event.text is None:
            break
    name = made["metadata"]["name"]
    tail = pod_log_tail(cluster.namespace, name, 2)
    assert tail is not None and len(tail) == LOG_TAIL_BYTES and set(tail.strip()) == {"x"}
    assert (pod_log_tail(cluster.namespace, name, 3) or "").endswith(tail)
    assert pod_log_tail(cluster.namespace, "nothing", 3) is None


def test_a_missing_pod_is_no_error_and_any_other_error_of_the_api_server_is(cluster: Cluster, pods: Pods) -> None:
    assert pods.read("nothing") is None and pods.set_deadline("nothing", 5) is True
    pods.delete("nothing")
    pods.delete_owner("nothing")
    known = cluster.core.api_client.configuration
    without_token = Configuration(host=known.host)
    without_token.ssl_ca_cert = known.ssl_ca_cert
    stranger = Pods(CoreV1Api(ApiClient(without_token)), cluster.namespace)
    for call in (lambda: stranger.read("nothing"), lambda: stranger.delete("nothing"), lambda: stranger.set_deadline("nothing", 5)):
        with pytest.raises(ApiException) as e:
            call()
        assert e.value.status == 401
