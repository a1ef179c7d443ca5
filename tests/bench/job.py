"""A job whose algorithm does nothing, interleaved with a plain sequence of the same four pods."""

from __future__ import annotations

import json
import os
import statistics
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from typing import Any

from c2d.contract import DirectoryTarget
from c2d.database.jobs import JobRepository
from c2d.hooks.kubernetes import Pods, PodState, _lines
from c2d.jobs import ids
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.pods import manifests
from c2d.pods.stage_input import algorithm_secret_content, configure_input, filter_input, publish_input, secret_content
from c2d.pods.status import end_of, running_since
from c2d.settings import installation
from local.airflow_api import Client

ENVIRONMENT = "ocean-compute"
JOB = {
    "inputs": [],
    "algorithm": {"container": {"image": "c2d.test/stages", "tag": "1", "entrypoint": "true"}, "rawcode": "nothing to do"},
    "owner": "0x" + "00" * 20,
}


@dataclass
class Moments:
    """When the events of a stage's pod were seen, in seconds of this process's clock."""

    created: float = 0
    running: float = 0
    ended: float = 0  # its container


@dataclass
class Watcher:
    """Watches all pods of the namespace."""

    api: Any
    namespace: str
    moments: dict[str, Moments] = field(default_factory=dict)

    def start(self) -> None:
        version = json.loads(self.api.list_namespaced_pod(self.namespace, _preload_content=False).data)["metadata"]["resourceVersion"]
        threading.Thread(target=self._watch, args=(version,), daemon=True).start()

    def _watch(self, version: str) -> None:
        response = self.api.list_namespaced_pod(
            self.namespace, watch=True, resource_version=version, timeout_seconds=3600, _preload_content=False, _request_timeout=(10, 3700)
        )
        for line in _lines(response):
            now = time.time()
            pod = json.loads(line)["object"]
            moments = self.moments.setdefault(pod["metadata"]["name"], Moments())
            moments.created = moments.created or now
            if not moments.running and running_since(pod):
                moments.running = now
            if not moments.ended and end_of(pod):
                moments.ended = now


def plain_pods(pods: Pods, loaded: installation.Settings) -> float:
    """Seconds for a job's volume and four pods, each created when the previous one has ended. The Secrets are created beforehand."""
    job_id = f"plain-{uuid.uuid4().hex[:8]}"
    env, job = loaded.environment(ENVIRONMENT), Job.parse(JOB, ENVIRONMENT)
    owner = pods.ensure(manifests.owner(job_id, env.id))
    uid = owner["metadata"]["uid"]
    contents = {
        Stage.CONFIGURE: secret_content(configure_input(job_id, job, env)),
        Stage.ALGORITHM: algorithm_secret_content(job),
        Stage.FILTER: secret_content(filter_input(job_id, env)),
        Stage.PUBLISH: secret_content(publish_input(job_id, env, {Stage.FILTER: True}, DirectoryTarget(path="/results"))),
    }
    for stage in Stage:
        pods.ensure(manifests.secret(job_id, stage, contents[stage], env.id, uid))
    begin = time.monotonic()
    pods.ensure(manifests.claim(job_id, env, uid))
    for stage in Stage:
        for event in pods.follow(pods.ensure(manifests.pod(stage, job_id, job, env, loaded, uid)), 1024):
            if isinstance(event, PodState) and (event.pod or {}).get("status", {}).get("phase") in ("Succeeded", "Failed"):
                break
    seconds = time.monotonic() - begin
    pods.delete_owner(job_id)
    return seconds


def one_job(client: Client, store: JobRepository) -> tuple[float, str, float]:
    """Seconds from the request to status 70 in PostgreSQL, the job's id, and when the request was sent."""
    job_id = f"bench-{uuid.uuid4().hex[:8]}"
    posted, begin = time.time(), time.monotonic()
    client.send("POST", f"/dags/{ENVIRONMENT}/dagRuns", {"logical_date": None, "dag_run_id": job_id, "conf": JOB}).raise_for_status()
    while (row := store.job(job_id)) is None or row.dateFinished is None:
        if time.monotonic() - begin > 120:
            raise SystemExit(f"The job {job_id} has not ended after 120 s. See the stack's logs.")
        time.sleep(0.02)
    seconds = time.monotonic() - begin
    if row.status != 70 or (row.terminationDetails or {})["reason"] != "Completed":
        raise SystemExit(f"The job {job_id} failed: {row.terminationDetails}")
    return seconds, job_id, posted


PARTS = ("run and task start", "pod created", "container runs", "container ends", "task ends")


def parts(client: Client, watcher: Watcher, job_id: str, posted: float) -> dict[str, list[float]]:
    """How long each of PARTS took, in seconds, for each stage."""
    answer = client.get(f"/dags/{ENVIRONMENT}/dagRuns/{job_id}/taskInstances")
    tasks = {t["task_id"]: t for t in answer["task_instances"]}
    before, result = posted, {}
    for stage in Stage:
        moments, task = watcher.moments[ids.stage_name(job_id, stage)], tasks[str(stage)]
        start = datetime.fromisoformat(task["start_date"]).timestamp()
        end = datetime.fromisoformat(task["end_date"]).timestamp() if task["end_date"] else time.time()
        marks = [before, start, moments.created, moments.running or moments.ended, moments.ended, end]
        result[str(stage)] = [b - a for a, b in pairwise(marks)]
        before = end
    return result


def measure(env: dict[str, str], rounds: int, spread: Callable[..., str]) -> None:
    """Run the benchmark on a stack and print its result."""
    from kubernetes import client as k8s
    from kubernetes import config

    api = k8s.CoreV1Api(config.new_client_from_config(env["KUBECONFIG"]))
    names = ("C2D_NAMESPACE", "C2D_RESULTS_CLAIM", "C2D_STAGE_IMAGE", "C2D_DATABASE_URL")
    variables = {"OPERATOR_PRIVATE_KEY": "0x" + "01" * 32, "maxJobDuration": "600", **{n: env[n] for n in names}}
    loaded = installation.read(variables)
    pods, store = Pods(api, loaded.C2D_NAMESPACE), JobRepository(loaded.C2D_DATABASE_URL)
    client = Client(env["AIRFLOW_URL"], env["AIRFLOW_PASSWORD"])
    client.log_in()
    watcher = Watcher(api, loaded.C2D_NAMESPACE)
    watcher.start()
    print(f"One warm-up, then {rounds} rounds of plain pods and a job. Load average: {os.getloadavg()[0]:.1f}", flush=True)
    plain_pods(pods, loaded)
    one_job(client, store)
    plain, jobs, where = [], [], []
    for n in range(rounds):
        plain.append(plain_pods(pods, loaded))
        seconds, job_id, posted = one_job(client, store)
        jobs.append(seconds)
        time.sleep(0.5)  # until the last task has ended, for the table below
        where.append(parts(client, watcher, job_id, posted))
        print(f"  round {n + 1}: plain pods {plain[-1]:.2f} s, job {jobs[-1]:.2f} s, ratio {jobs[-1] / plain[-1]:.2f}", flush=True)
    print(f"plain pods  {spread(plain, ' s')}\njob         {spread(jobs, ' s')}")
    print(f"ratio       {spread([j / c for j, c in zip(jobs, plain, strict=True)])}   (goal: 1.0 or less)")
    print(f"\nWhere a job's time goes (median, in seconds)\n{'':11}" + "".join(f"{p:>20}" for p in PARTS))
    for stage in Stage:
        medians = [statistics.median(w[str(stage)][i] for w in where) for i in range(len(PARTS))]
        print(f"{stage:11}" + "".join(f"{m:20.2f}" for m in medians))
    totals = [statistics.median(sum(w[str(s)][i] for s in Stage) for w in where) for i in range(len(PARTS))]
    print(f"{'total':11}" + "".join(f"{m:20.2f}" for m in totals))
