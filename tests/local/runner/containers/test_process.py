"""Limits of a running container."""

from __future__ import annotations

from tests.local.runner.client import Cluster, terminated


def test_a_container_that_exceeds_its_memory_is_oom_killed(cluster: Cluster) -> None:
    container = {"resources": {"limits": {"memory": "64Mi"}}}
    code = "import time\nkeep = []\nwhile True: keep.append(bytearray(4 << 20)); time.sleep(0.002)"
    pod = cluster.python(code, container=container)
    assert (pod.status.phase, terminated(pod).reason, terminated(pod).exit_code) == ("Failed", "OOMKilled", 137)
    children = "import os, time\nfor _ in range(8):\n  if os.fork() == 0:\n    keep = os.urandom(16 << 20); time.sleep(60)\ntime.sleep(60)"
    assert terminated(cluster.python(children, container=container)).reason == "OOMKilled"
    assert cluster.python("keep = bytearray(16 << 20)", container=container).status.phase == "Succeeded"


def test_a_fork_bomb_is_bounded(cluster: Cluster) -> None:
    code = "import os\nfor _ in range(2000):\n  if os.fork() == 0:\n    import time; time.sleep(30)"
    pod = cluster.python(code)
    assert pod.status.phase == "Failed"
