"""kubectl on the runner: what a person needs to look into a job."""

from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from tests.local.runner.client import Cluster, Runner

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")


def kubectl(runner: Runner, cluster: Cluster, *words: str) -> str:
    command = [str(KUBECTL), "--kubeconfig", str(runner.kubeconfig), "--namespace", cluster.namespace, *words]
    environment = {"HOME": str(runner.state), "PATH": "/usr/bin:/bin"}  # its cache of the API goes below HOME
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stdout


def test_it_lists_describes_and_deletes_pods_and_reads_their_logs(runner: Runner, cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "echo hello; exit 3", name="one")
    assert "one" in kubectl(runner, cluster, "get", "pods")
    assert json.loads(kubectl(runner, cluster, "get", "pod", "one", "-o", "json"))["metadata"]["uid"] == pod.metadata.uid
    description = kubectl(runner, cluster, "describe", "pod", "one")
    assert "Exit Code:    3" in description and "Successfully assigned" in description
    assert kubectl(runner, cluster, "logs", "one") == "hello\n"
    kubectl(runner, cluster, "delete", "pod", "one")
    assert cluster.core.list_namespaced_pod(cluster.namespace).items == []


def test_it_knows_every_kind(runner: Runner, cluster: Cluster) -> None:
    cluster.config_map("one")
    kinds = "pods,events,secrets,configmaps,persistentvolumeclaims,namespaces,networkpolicies"
    assert "configmap/one" in kubectl(runner, cluster, "get", kinds, "-o", "name")
