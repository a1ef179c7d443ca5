"""Jobs whose results go to S3, IPFS and an IPFS cluster, and a job whose store is unavailable."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from local.home import PROJECT
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import SLEEP, conf

RESULTS = """
    import os
    os.makedirs("/data/outputs/sub")
    open("/data/outputs/sub/table.csv", "w").write("a,b\\n1,2\\n")
    open("/data/outputs/empty", "w")
    open("/data/outputs/größe 数据", "w").write("größe")
    with open("/data/outputs/large", "wb") as f:
        for _ in range(70):
            f.write(os.urandom(1 << 20))
    print("done")
"""
CONF = conf(RESULTS)
PATHS = ["outputs/empty", "outputs/größe 数据", "outputs/large", "outputs/sub/table.csv", "logs/algorithm.log"]
PATHS += [f"adminlogs/{name}.log" for name in ("configure", "filter", "publish")]


class Spy:
    """Reads the Secret of every publish pod while it exists."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.stop, self.seen = stack, threading.Event(), dict[str, str]()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()

    def _look(self) -> None:
        while not self.stop.wait(0.05):
            for secret in self.stack.core.list_namespaced_secret(self.stack.namespace, label_selector="c2d/stage=publish").items:
                self.seen[secret.metadata.labels["c2d/job"]] = "".join(base64.b64decode(v).decode() for v in (secret.data or {}).values())

    def close(self) -> None:
        self.stop.set()
        self.thread.join()

    def pod_of(self, job: Job) -> str:
        """Everything that the publish pod could read: its Secret, and the pod itself, with its environment and mounts."""
        assert self.seen[job.id], "the Secret was seen"
        return self.seen[job.id] + json.dumps(job.pod("publish"))


@pytest.fixture(scope="module", autouse=True)
def spy(stack: Stack) -> Iterator[Spy]:
    stack.stores.s3()
    stack.stores.start_ipfs()
    it = Spy(stack)
    yield it
    it.close()
    stack.stores.stop_ipfs()


def published(job: Job) -> dict[str, dict[str, Any]]:
    """The results in the job's row by path, in order."""
    row = job.row
    assert row is not None
    return {file["path"].removeprefix("data/"): file for file in row.results}


@pytest.mark.job(CONF, "s3")
def test_results_and_admin_logs_go_to_separate_s3_buckets(ended: Job, spy: Spy) -> None:
    ended.has_ended("success", 70, "Job finished")
    files, stores = published(ended), ended.stack.stores
    assert list(files) == PATHS
    client = stores.minio.client()
    for path, file in files.items():
        bucket = stores.admin_logs if path.startswith("adminlogs/") else stores.results
        content = client.get_object(Bucket=bucket, Key=f"{ended.id}/data/{path}")["Body"].read()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file["size"], file["sha256"])
        assert file["url"].startswith(f"{stores.minio.endpoint}/{bucket}/{ended.id}/data/")
    keys = [o["Key"] for o in client.list_objects_v2(Bucket=stores.results, Prefix=f"{ended.id}/")["Contents"]]
    assert len(keys) == 6, keys
    seen = spy.pod_of(ended)
    assert "policy" in seen and stores.minio.secret_key not in seen


@pytest.mark.job(CONF, "ipfs")
def test_results_go_to_ipfs_and_the_pod_can_only_add_files(ended: Job, spy: Spy) -> None:
    ended.has_ended("success", 70, "Job finished")
    row, files, kubo = ended.row, published(ended), ended.stack.stores.kubo
    assert row is not None and row.stores is not None and list(files) == PATHS
    root = row.stores["results"]["cid"]
    for path, file in files.items():
        assert hashlib.sha256(kubo.cat(f"{root}/data/{path}")).hexdigest() == file["sha256"]
        assert file["url"].startswith(f"{kubo.gateway}/ipfs/{root}/data/")
    assert kubo.pins()[root] == ended.id
    seen = spy.pod_of(ended)
    assert kubo.pod_token in seen and kubo.operator_token not in seen


@pytest.mark.job(CONF, "ipfs-cluster")
def test_results_go_to_an_ipfs_cluster_encrypted(ended: Job) -> None:
    ended.has_ended("success", 70, "Job finished")
    row, cluster = ended.row, ended.stack.stores.cluster
    assert row is not None and row.stores is not None
    root = row.stores["results"]["cid"]
    assert cluster.peers[0].pinned_on(root) == 2
    for file in row.results:
        stored = cluster.adds.cat(f"{root}/{file['stored']['path']}")
        assert hashlib.sha256(stored).hexdigest() == file["stored"]["sha256"]
        assert file["url"].startswith(f"ipfs://{root}/")


def c2d(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the c2d command with the settings of the stack's scheduler."""
    plan = json.loads((stack.path / "run" / "plan.json").read_text())
    environ = next(unit["env"] for unit in plan if unit["name"] == "scheduler")
    return subprocess.run([sys.executable, "-m", "c2d.cli", *arguments], env=environ, capture_output=True, text=True, cwd=PROJECT)


def test_a_job_whose_store_is_unavailable_ends_with_status_62_and_can_be_republished(stack: Stack) -> None:
    minio = stack.stores.minio
    job = stack.submit(conf(SLEEP.format(8)), "s3", "away").await_running("algorithm")
    minio.kill()
    try:
        until(lambda: (row := job.row) is not None and row.dateFinished, lambda: f"the end of {job}; it is {job.tasks()}", 900)
        row = job.row
        assert row is not None and (row.status, row.statusText) == (62, "Failed to upload results to storage")
        assert f"volume {job.id}-data" in stack.job_objects(job.id)
        assert c2d(stack, "republish", "nobody").returncode == 1
    finally:
        minio.start()
    done = c2d(stack, "republish", job.id)
    assert done.returncode == 0, done.stderr
    until(lambda: (row := job.row) is not None and row.status == 70, lambda: f"{job} is published; it is {job.tasks()}")
    job.await_end()
    row = job.row
    assert row is not None and row.terminationDetails is not None
    assert row.terminationDetails["reason"] == "Completed" and len(row.results) == 4
    assert job.pods_made("algorithm") == 1
