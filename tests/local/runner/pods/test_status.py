"""A pod's status, without a pod."""

from __future__ import annotations

from typing import Any

import pytest

from local.runner.containers.process import Ended
from local.runner.pods import status
from local.runner.pods.termination import Cause

DONE, FAILED = Ended(0, "Completed"), Ended(3, "Error", "why")


@pytest.fixture
def pod() -> dict[str, Any]:
    """A pod with an init container and two main containers, on its node."""
    spec = {
        "initContainers": [{"name": "init", "image": "i"}],
        "containers": [{"name": "one", "image": "i"}, {"name": "two", "image": "i"}],
    }
    pod: dict[str, Any] = {"spec": spec, "status": {"phase": "Pending"}}
    status.accepted(pod)
    status.scheduled(pod, "laptop")
    return pod


def state(pod: dict[str, Any], name: str) -> dict[str, Any]:
    statuses = [*pod["status"]["initContainerStatuses"], *pod["status"]["containerStatuses"]]
    return next(each["state"] for each in statuses if each["name"] == name)


def run(pod: dict[str, Any], name: str, ended: Ended) -> None:
    status.running(pod, name, "id")
    status.terminated(pod, name, ended)


def test_a_pod_without_its_claim_is_unschedulable_until_it_has_a_node(pod: dict[str, Any]) -> None:
    assert [condition["status"] for condition in pod["status"]["conditions"]] == ["True"]
    status.unschedulable(pod, "no claim")
    (condition,) = pod["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["message"]) == ("PodScheduled", "False", "no claim")


def test_a_pod_is_running_with_its_first_main_container(pod: dict[str, Any]) -> None:
    run(pod, "init", DONE)
    assert pod["status"]["phase"] == "Pending"
    status.running(pod, "one", "id")
    assert pod["status"]["phase"] == "Running"
    assert state(pod, "two") == {"waiting": {"reason": "ContainerCreating"}}


def test_a_pod_succeeds_if_every_container_does(pod: dict[str, Any]) -> None:
    for name in ("init", "one", "two"):
        assert not status.all_terminated(pod)
        run(pod, name, DONE)
    assert status.all_terminated(pod)
    status.finished(pod)
    assert pod["status"]["phase"] == "Succeeded"


def test_a_pod_fails_with_one_of_its_containers_and_others_stay_waiting(pod: dict[str, Any]) -> None:
    run(pod, "init", FAILED)
    status.finished(pod)
    assert pod["status"]["phase"] == "Failed" and "reason" not in pod["status"]
    terminated = state(pod, "init")["terminated"]
    assert (terminated["exitCode"], terminated["reason"], terminated["message"]) == (3, "Error", "why")
    assert "waiting" in state(pod, "one")


def test_a_cause_from_outside_fails_a_pod_whose_containers_ended_well(pod: dict[str, Any]) -> None:
    for name in ("init", "one", "two"):
        run(pod, name, DONE)
    status.finished(pod, Cause(0, "DeadlineExceeded", "too long"))
    assert (pod["status"]["phase"], pod["status"]["reason"], pod["status"]["message"]) == ("Failed", "DeadlineExceeded", "too long")


def test_a_final_phase_does_not_change(pod: dict[str, Any]) -> None:
    for name in ("init", "one", "two"):
        run(pod, name, DONE)
    status.finished(pod)
    status.finished(pod, Cause(0, "Evicted"))
    assert (pod["status"]["phase"], pod["status"].get("reason")) == ("Succeeded", None)


def test_a_deleted_pod_gets_no_reason(pod: dict[str, Any]) -> None:
    status.finished(pod, Cause(30))
    assert pod["status"]["phase"] == "Failed" and "reason" not in pod["status"]


def test_a_lost_pod_keeps_the_ends_of_its_containers(pod: dict[str, Any]) -> None:
    run(pod, "init", DONE)
    status.running(pod, "one", "id")
    started = state(pod, "one")["running"]["startedAt"]
    status.lost(pod)
    assert (pod["status"]["phase"], pod["status"]["reason"]) == ("Failed", "Terminated")
    assert state(pod, "init")["terminated"]["exitCode"] == 0
    assert [state(pod, name)["terminated"]["reason"] for name in ("one", "two")] == ["ContainerStatusUnknown"] * 2
    assert [state(pod, name)["terminated"]["startedAt"] for name in ("one", "two")] == [started, None]
