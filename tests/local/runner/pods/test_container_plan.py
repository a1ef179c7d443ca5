"""Why a container cannot start, and as whom it runs."""

from __future__ import annotations

from tests.local.runner.client import Cluster, Runner, terminated, waiting_reason


def test_an_unknown_image_is_reported_with_the_images_that_exist(cluster: Cluster) -> None:
    for image in ("python:3.12", f"{cluster.image}@sha256:{'0' * 64}"):
        pod = cluster.create("true", container={"image": image})
        waiting = cluster.until(pod, lambda pod: waiting_reason(pod) == "ErrImagePull").status.container_statuses[0].state.waiting
        assert cluster.image in waiting.message and "cluster" in waiting.message
        cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace)


def test_a_pod_starts_once_images_yaml_has_its_image(runner: Runner, cluster: Cluster) -> None:
    pod = cluster.create("true", container={"image": "c2d.test/late:1"})
    cluster.until(pod, lambda pod: waiting_reason(pod) == "ErrImagePull")
    with runner.images.open("a") as file:
        file.write("c2d.test/late:1: {python: none}\n")
    assert cluster.until_end(pod).status.phase == "Succeeded"


def test_a_command_that_does_not_exist_is_a_start_error(cluster: Cluster) -> None:
    pod = cluster.run("no-such-program")
    assert (pod.status.phase, terminated(pod).exit_code, terminated(pod).reason) == ("Failed", 128, "StartError")
    assert "no-such-program" in terminated(pod).message


def test_a_container_without_command_or_with_a_missing_key_waits_with_a_reason(cluster: Cluster) -> None:
    bare = cluster.create(container={"command": None})
    cluster.until(bare, lambda pod: waiting_reason(pod) == "CreateContainerError")
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "later", "key": "x"}}}]
    pod = cluster.create("sh", "-c", "echo $X", container={"env": env})
    cluster.until(pod, lambda pod: waiting_reason(pod) == "CreateContainerConfigError")
    cluster.secret("later", x="now")
    assert cluster.log(cluster.until_end(pod)) == "now\n"


def test_run_as_non_root_prevents_uid_0(cluster: Cluster) -> None:
    pod = cluster.create("true", container={"securityContext": {"runAsUser": 0, "runAsNonRoot": True}})
    cluster.until(pod, lambda pod: waiting_reason(pod) == "CreateContainerConfigError")
    uid = cluster.run("id", "-u", container={"securityContext": {"runAsUser": 4321}})
    assert cluster.log(uid) == "4321\n"
