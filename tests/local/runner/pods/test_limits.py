"""Deadlines and disk limits."""

from __future__ import annotations

from tests.local.runner.client import Cluster, terminated


def test_a_shared_empty_dir_over_its_limit_evicts_the_pod(cluster: Cluster) -> None:
    volumes = [{"name": "share", "emptyDir": {"sizeLimit": "1Mi"}}]
    mounts = {"volumeMounts": [{"name": "share", "mountPath": "/share"}]}
    init = [{"name": "init", "image": cluster.image, "command": ["touch", "/share/from-init"]} | mounts]
    script = "ls /share; head -c 3000000 /dev/zero > /share/b; sleep 60"
    pod = cluster.run("sh", "-c", script, volumes=volumes, initContainers=init, container=mounts)
    assert (pod.status.phase, pod.status.reason) == ("Failed", "Evicted")
    assert 'EmptyDir volume "share" exceeds the limit "1Mi"' in pod.status.message
    assert cluster.log(pod, container="base") == "from-init\n"


def test_a_deadline_ends_the_pod(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "trap 'echo bye; exit 7' TERM; sleep 60 & wait", activeDeadlineSeconds=1)
    assert (pod.status.phase, pod.status.reason, terminated(pod).exit_code) == ("Failed", "DeadlineExceeded", 7)
    assert cluster.log(pod) == "bye\n"
