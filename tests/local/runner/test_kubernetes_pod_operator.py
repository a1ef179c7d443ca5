"""An unmodified KubernetesPodOperator on the laptop runner."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.local.runner.client import Cluster, Runner

pod_operator = pytest.importorskip("airflow.providers.cncf.kubernetes.operators.pod")


class Instance:
    """What KubernetesPodOperator reads of a task instance."""

    dag_id, task_id, run_id, map_index, try_number = "dag", "kpo", "run", -1, 1
    is_mapped = False

    def __init__(self) -> None:
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any, **_: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, *_: Any, **__: Any) -> None:
        return None


@pytest.fixture
def operator(cluster: Cluster, runner: Runner, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes operators for the runner. The one setting is the kubeconfig, in the connection that operators use by default."""
    extra = {"kube_config_path": str(runner.kubeconfig), "in_cluster": False}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes", "extra": extra}))

    def make(*command: str, **more: Any) -> Any:
        return pod_operator.KubernetesPodOperator(
            task_id="kpo",
            namespace=cluster.namespace,
            cmds=list(command),
            startup_check_interval_seconds=1,
            **{"poll_interval": 0.2, "image": cluster.image} | more,
        )

    return make


def context(instance: Instance) -> dict[str, Any]:
    class Run:
        run_id, logical_date, run_after = "run", None, None

    return {"ti": instance, "task_instance": instance, "run_id": "run", "dag_run": Run(), "dag": object()}


def test_it_runs_a_pod_reads_its_log_and_deletes_it(cluster: Cluster, operator: Any, capfd: pytest.CaptureFixture[str]) -> None:
    operator("sh", "-c", "echo hello from $WHO", env_vars={"WHO": "a pod"}).execute(context(Instance()))
    assert "hello from a pod" in capfd.readouterr().out
    assert cluster.core.list_namespaced_pod(cluster.namespace).items == []


def test_it_fails_with_the_termination_message(cluster: Cluster, operator: Any) -> None:
    with pytest.raises(Exception, match="boom"):
        operator("sh", "-c", "echo boom > /dev/termination-log; exit 2", on_finish_action="keep_pod").execute(context(Instance()))
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector="kubernetes_pod_operator=True").items
    assert [pod.status.container_statuses[0].state.terminated.exit_code for pod in pods] == [2]


def test_it_fails_at_once_for_an_image_that_the_laptop_does_not_have(cluster: Cluster, operator: Any) -> None:
    with pytest.raises(Exception, match="ErrImagePull"):
        operator("true", image="python:3.12").execute(context(Instance()))
    for pod in cluster.core.list_namespaced_pod(cluster.namespace).items:
        assert pod.metadata.deletion_timestamp
