"""Ending a pod from outside."""

from __future__ import annotations

from tests.local.runner.client import Cluster


def test_deleting_a_pod_gives_it_its_grace_period_and_no_more(cluster: Cluster) -> None:
    polite = cluster.create("sh", "-c", "trap 'exit 0' TERM; echo up; sleep 60 & wait")
    deaf = cluster.create("sh", "-c", "trap '' TERM; echo up; while true; do sleep 1; done")
    for pod, at_least in ((polite, 0), (deaf, 0.9)):
        cluster.until_running(pod)
        stream = cluster.core.read_namespaced_pod_log(pod.metadata.name, cluster.namespace, follow=True, _preload_content=False)
        assert stream.readline() == b"up\n"
        deleted = cluster.core.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=1)
        assert deleted.metadata.deletion_timestamp
        assert cluster.until_gone(deleted) >= at_least
    at_once = cluster.until_running(cluster.create("sleep", "60"))
    cluster.core.delete_namespaced_pod(at_once.metadata.name, cluster.namespace, grace_period_seconds=0)
    cluster.until_gone(at_once)
