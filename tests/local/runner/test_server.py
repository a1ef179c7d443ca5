"""Stopping and restarting the runner."""

from __future__ import annotations

from pathlib import Path

from tests.local.runner.client import Cluster, Runner


def test_sigterm_ends_every_container_and_a_restart_keeps_objects_logs_and_volumes(tmp_path: Path) -> None:
    runner = Runner(tmp_path)
    cluster = Cluster(runner.kubeconfig, "c2d-jobs")
    volumes = [{"name": "job", "persistentVolumeClaim": {"claimName": cluster.claim("job").metadata.name}}]
    mount = {"volumeMounts": [{"name": "job", "mountPath": "/data"}]}
    done = cluster.run("sh", "-c", "echo kept; echo 1 > /data/file", name="done", volumes=volumes, container=mount)
    lost = cluster.until_running(cluster.create("sleep", "987", name="lost"))
    assert runner.stop() == 0
    assert not runner.kubeconfig.exists()
    assert not [cmd for cmd in Path("/proc").glob("[0-9]*/cmdline") if _read(cmd) == b"sleep\x00987\x00"]
    runner.start()
    cluster = Cluster(runner.kubeconfig, "c2d-jobs")
    assert cluster.log(done) == "kept\n"
    assert cluster.core.read_namespaced_pod(lost.metadata.name, "c2d-jobs").status.phase == "Failed"
    assert cluster.log(cluster.run("cat", "/data/file", volumes=volumes, container=mount)) == "1\n"
    runner.stop()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
