"""Reading the log of a pod."""

from __future__ import annotations

from tests.local.runner.client import Cluster


def test_a_log_is_followed_while_it_is_written(cluster: Cluster) -> None:
    volume = {"name": "work", "persistentVolumeClaim": {"claimName": cluster.claim("work").metadata.name}}
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    script = "echo first; while [ ! -e /work/go ]; do sleep 0.02; done; echo second"
    pod = cluster.create("sh", "-c", script, volumes=[volume], container=mount)
    cluster.until_running(pod)
    stream = cluster.core.read_namespaced_pod_log(pod.metadata.name, cluster.namespace, follow=True, _preload_content=False)
    assert stream.readline() == b"first\n"
    cluster.run("touch", "/work/go", volumes=[volume], container=mount)
    assert stream.read() == b"second\n"


def test_a_log_can_be_cut_and_have_timestamps(cluster: Cluster) -> None:
    pod = cluster.run("sh", "-c", "seq 1 100; printf end")
    assert cluster.log(pod, tail_lines=2) == "100\nend"
    assert cluster.log(pod, limit_bytes=4) == "1\n2\n"
    assert cluster.log(pod, since_seconds=60).startswith("1\n2\n")
    stamp, text = cluster.log(pod, timestamps=True, tail_lines=1).split(" ")
    assert (len(stamp), stamp[-1], text) == (30, "Z", "end")


def test_a_carriage_return_does_not_begin_a_log_line(cluster: Cluster) -> None:
    assert cluster.log(cluster.run("printf", "1%%\\r50%%\\r99%%\\n")) == "1%\r50%\r99%\n"
