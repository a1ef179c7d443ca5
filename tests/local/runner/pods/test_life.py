"""The life of a pod, from its creation to its final status."""

from __future__ import annotations

import pytest

from tests.local.runner.client import Cluster, terminated


def test_a_pod_runs_and_leaves_its_exit_code_message_and_log(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "echo out; echo err >&2; printf '{\"ok\": true}' > /dev/termination-log; exit 3")
    assert pod.status.phase == "Failed"
    assert (terminated(pod).exit_code, terminated(pod).reason, terminated(pod).message) == (3, "Error", '{"ok": true}')
    assert cluster.log(pod) == "out\nerr\n"


def test_a_pod_that_does_nothing_succeeds(cluster: Cluster) -> None:
    pod = cluster.run("true")
    assert (pod.status.phase, terminated(pod).reason) == ("Succeeded", "Completed")


def test_events_record_each_step_of_a_pod(cluster: Cluster) -> None:
    pod = cluster.run("true")
    events = cluster.core.list_namespaced_event(cluster.namespace, field_selector=f"involvedObject.name={pod.metadata.name}").items
    assert [event.reason for event in events] == ["Scheduled", "Pulled", "Created", "Started"]


def test_a_pod_waits_for_its_claim(cluster: Cluster) -> None:
    pod = cluster.create("true", volumes=[{"name": "job", "persistentVolumeClaim": {"claimName": "late"}}])
    conditions = cluster.until(pod, lambda pod: bool(pod.status.conditions)).status.conditions
    assert {one.type: one.status for one in conditions}["PodScheduled"] == "False"
    cluster.claim("late")
    assert cluster.until_end(pod).status.phase == "Succeeded"


def test_init_containers_run_one_after_the_other_and_a_failure_ends_the_pod(cluster: Cluster) -> None:
    volumes = [{"name": "share", "emptyDir": {}}]
    mounts = {"volumeMounts": [{"name": "share", "mountPath": "/share"}], "image": cluster.image}
    init = [{"name": f"i{n}", "command": ["sh", "-c", f"echo {n} >> /share/order"]} | mounts for n in range(2)]
    pod = cluster.run("cat", "/share/order", volumes=volumes, initContainers=init, container=mounts)
    assert cluster.log(pod, container="base") == "0\n1\n"
    assert [status.state.terminated.exit_code for status in pod.status.init_container_statuses] == [0, 0]
    failing = cluster.run("true", initContainers=[{"name": "bad", "image": cluster.image, "command": ["false"]}])
    assert failing.status.phase == "Failed"
    assert failing.status.container_statuses[0].state.waiting is not None


@pytest.mark.parametrize("policy, expected", [("File", None), ("FallbackToLogsOnError", "oops\n")])
def test_the_end_of_the_log_replaces_a_missing_termination_message_on_request(cluster: Cluster, policy: str, expected: str | None) -> None:
    pod = cluster.run("sh", "-c", "echo oops; exit 1", container={"terminationMessagePolicy": policy})
    assert terminated(pod).message == expected


def test_containers_run_side_by_side_and_one_that_cannot_start_does_not_hold_up_the_others(cluster: Cluster) -> None:
    containers = [
        {"name": "late", "image": "no-such-image", "command": ["true"]},
        {"name": "base", "image": cluster.image, "command": ["sh", "-c", "exit 4"]},
    ]
    pod = cluster.create("true", containers=containers)
    ended = cluster.until(pod, lambda pod: terminated(pod, 1) is not None)
    assert (terminated(ended, 1).exit_code, ended.status.phase) == (4, "Running")
    assert ended.status.container_statuses[0].state.waiting.reason == "ErrImagePull"
