"""A stack and its jobs as their operator can see them: rows, runs, tasks, logs, pods and results."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa
import yaml
from kubernetes import client as kubernetes
from kubernetes import config as kubernetes_config

from c2d.database.jobs import JobRepository, JobRow
from c2d.jobs.status import Stage, StageEnd
from local import images, processes
from local.airflow_api import Client
from local.cluster import own_address, server_of
from local.env_files import read_env
from local.home import PROJECT, Home
from tests.e2e.data_server import DataServer
from tests.e2e.stores import Stores

WITHIN = 400  # seconds; Kubernetes' scheduler may retry a pod that it could not place only after five minutes
ENDED = ("success", "failed")
ENVIRONMENTS = [
    {"id": "ocean-compute", "maxJobs": 6, "maxJobDuration": 600},
    {"id": "single", "maxJobs": 1, "maxJobDuration": 600},
    {"id": "small", "maxJobs": 4, "ramGB": 0.0625, "maxJobDuration": 12, "C2D_LOG_BYTES": 65536},
    {"id": "ordered", "maxJobs": 4, "maxJobDuration": 600, "access_control": "datatoken"},
    {"id": "providers-only", "maxJobs": 4, "maxJobDuration": 600, "access_control": "provider"},
    # an image whose command fails on a cluster; on a laptop it has none
    {"id": "owners-filter", "maxJobs": 2, "maxJobDuration": 600, "FILTERING_CONTAINER": "c2d.test/stages:1"},
    {"id": "confidential", "maxJobs": 2, "maxJobDuration": 600, "encrypt_results": "consumer"},
    {"id": "market", "maxJobs": 1, "maxJobDuration": 3600, "priceMinute": 1, "access_control": "datatoken"},
]
COMMON = {"nCPU": 0.2, "ramGB": 0.25, "diskGB": 1, "C2D_TMP_GB": 0.125}


def until(condition: Callable[[], Any], what: str | Callable[[], str], within: float = WITHIN) -> Any:
    """Wait until ``condition()`` is true and return its value. An unavailable API server or database counts as not yet.

    :param what: what is awaited, for the error message.
    """
    deadline = time.monotonic() + within
    while True:
        try:
            if value := condition():
                return value
        except (httpx.TransportError, sa.exc.OperationalError):
            pass
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what() if callable(what) else what}"
        time.sleep(0.1)


class Stack:
    """A stack on one platform, from its start to its end.

    :param platform: ``laptop``, or ``kubernetes`` for the cluster of KUBECONFIG.
    :param settings: the operator's settings in addition to the environments.
    """

    def __init__(self, platform: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.platform = platform
        self.on_cluster = platform == "kubernetes"
        self.path = folder / "home"
        self.key = "TOPSECRET" + secrets.token_hex(8)
        self.numbers: list[tuple[str, str]] = []
        self.jobs: dict[str, Job] = {}
        self.disturbed: set[str] = set()
        """Jobs whose processes were killed, so that the ends of their stages could not be recorded in time."""
        address = own_address(server_of(Path(os.environ["KUBECONFIG"]))) if self.on_cluster else "127.0.0.1"
        self.address = address
        self.data = DataServer({address, "127.0.0.1"}, self.key)
        self.stores = Stores(folder / "stores", address)
        (folder / "environments.yaml").write_text(
            yaml.safe_dump({"environments": [{**COMMON, **e} for e in [*ENVIRONMENTS, *self.stores.environments()]]})
        )
        env_file = {"C2D_ENVIRONMENTS": "environments.yaml", **settings}
        if image := os.environ.get("C2D_STAGE_IMAGE"):  # tests another stage image than c2d.test/stages:1
            env_file["C2D_STAGE_IMAGE"] = image
        (folder / "my.env").write_text("".join(f"{name}='{value}'\n" for name, value in env_file.items()))
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith("C2D_") and name != "ENV_FILE"}
        self.environ |= {"C2D_HOME": str(self.path), "ENV_FILE": str(folder / "my.env")}
        self.namespace = "c2d-jobs"
        if self.on_cluster:
            self.namespace = f"c2d-e2e-{secrets.token_hex(4)}"
            self.environ |= {"C2D_CLUSTER": "kubernetes", "C2D_NAMESPACE": self.namespace}
            self.connect(Path(os.environ["KUBECONFIG"]))
        else:
            self.environ.pop("KUBECONFIG", None)

    # -- the stack itself -----------------------------------------------------------------------------------------------
    def command(self, name: str) -> str:
        """Run ``python -m local.stack`` and return its output."""
        done = subprocess.run(
            [sys.executable, "-m", "local.stack", name], cwd=PROJECT, env=self.environ, capture_output=True, text=True, timeout=WITHIN
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def up(self) -> None:
        """Start the stack and everything that watches it."""
        begun = time.monotonic()
        self.command("up")
        self.number("stack up", time.monotonic() - begun)
        env = read_env(Home(self.path).env_file)
        self.store = JobRepository(env["DATABASE_URL"])
        self.database_url = sa.make_url(env["DATABASE_URL"])
        self.results = Path(env["C2D_RESULTS_PATH"])
        self.api = Client(env["AIRFLOW_URL"], env["AIRFLOW_PASSWORD"])
        self.api.log_in()
        self.connect(Path(env["KUBECONFIG"]))
        self.pods = PodWatch(self.core, self.namespace)
        self.rows = RowWatch(env["DATABASE_URL"])

    def connect(self, kubeconfig: Path) -> None:
        configuration = kubernetes.Configuration()
        kubernetes_config.load_kube_config(str(kubeconfig), client_configuration=configuration)
        self.kubeconfig = kubeconfig
        self.core = kubernetes.CoreV1Api(kubernetes.ApiClient(configuration))

    def down(self) -> None:
        for watch in ("pods", "rows"):
            if hasattr(self, watch):
                getattr(self, watch).stop.set()
        self.command("down")

    def remove(self, keep: bool) -> None:
        """Stop the stack and delete what it leaves on a cluster.

        :param keep: do not delete the stack's folder, with its logs.
        """
        self.down()
        self.data.close()
        self.stores.stop()
        if self.on_cluster and self.namespace in self.namespaces():
            self.core.delete_namespace(self.namespace)
            until(lambda: self.namespace not in self.namespaces(), f"the namespace {self.namespace} is gone")
        if not keep:
            self.command("clean")

    @property
    def digest(self) -> str:
        """The digest of the image c2d.test/python-data. On a cluster, C2D_PYTHON_DATA_DIGEST has it."""
        return (self.on_cluster and os.environ.get("C2D_PYTHON_DATA_DIGEST")) or images.digest("python-data")

    def namespaces(self) -> set[str]:
        return {n.metadata.name for n in self.core.list_namespace().items}

    def unit(self, name: str) -> dict[str, Any]:
        """The supervisor's status of one of the stack's processes (local.units.UnitStatus)."""
        return json.loads((self.path / "run" / "state.json").read_text())["units"][name]

    def own_processes(self) -> dict[int, str]:
        """The command line of every process of the stack by pid, recognized by its environment, even if the supervisor has lost it."""
        commands = {}
        for pid, _ in processes.all_processes():
            try:
                if f"C2D_HOME={self.path}\0".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    commands[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
        return commands

    def airflow(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the airflow command with the environment of the stack's scheduler."""
        plan = json.loads((self.path / "run" / "plan.json").read_text())
        environ = next(unit["env"] for unit in plan if unit["name"] == "scheduler")
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments], cwd=self.path, env=environ, capture_output=True, text=True, timeout=WITHIN
        )

    def number(self, what: str, seconds: float) -> None:
        """Note a measurement, which is printed at the end of the session."""
        self.numbers.append((what, f"{seconds:.1f} s"))

    # -- jobs -----------------------------------------------------------------------------------------------------------
    def filled(self, value: Any) -> Any:
        """A conf with its placeholders replaced."""
        text = json.dumps(value)
        for name, what in {"DATA": f"http://{self.address}:{self.data.port}", "PORT": str(self.data.port), "KEY": self.key}.items():
            text = text.replace("{" + name + "}", what)
        return json.loads(text)

    def trigger(self, environment: str, conf: Any, job_id: str) -> httpx.Response:
        body = {"dag_run_id": job_id, "logical_date": None, "conf": self.filled(conf)}
        return self.api.send("POST", f"/dags/{environment}/dagRuns", body)

    def submit(self, conf: Any, environment: str = "ocean-compute", name: str = "job") -> Job:
        """Start a job, which must be accepted."""
        job = Job(self, environment, f"{name[:40].strip('-')}-{secrets.token_hex(4)}")
        answer = self.trigger(environment, conf, job.id)
        assert answer.status_code == 200, answer.text
        self.jobs[job.id] = job
        return job

    def job_objects(self, job_id: str | None = None) -> list[str]:
        """The Kubernetes objects of a job, or of all jobs."""
        label = f"c2d/job={job_id}" if job_id else "c2d/job"
        lists = {
            "pod": self.core.list_namespaced_pod,
            "secret": self.core.list_namespaced_secret,
            "configmap": self.core.list_namespaced_config_map,
            "volume": self.core.list_namespaced_persistent_volume_claim,
        }
        return [f"{kind} {o.metadata.name}" for kind, many in lists.items() for o in many(self.namespace, label_selector=label).items]

    def status_lag(self) -> list[float]:
        """Seconds from the end of each container, as a watch reports it, until its record was committed. The database is polled."""
        return [
            self.rows.recorded[key] - ended
            for key, ended in {(p["job"], p["stage"]): p["ended"] for p in self.pods.ends()}.items()
            if key in self.rows.recorded and key[0] not in self.disturbed
        ]

    def show_status_lag(self) -> None:
        lag = self.status_lag()
        if lag:
            self.numbers.append(
                (
                    "status in PostgreSQL behind the pod",
                    f"median {statistics.median(lag):.2f} s, at most {max(lag):.2f} s ({len(lag)} stages)",
                )
            )


class Job:
    """An accepted job."""

    def __init__(self, stack: Stack, environment: str, job_id: str) -> None:
        self.stack = stack
        self.environment = environment
        self.id = job_id
        self.path = f"/dags/{environment}/dagRuns/{job_id}"
        self.patched = 0.0

    def __repr__(self) -> str:
        return f"{self.environment}/{self.id}"

    # -- in Airflow -----------------------------------------------------------------------------------------------------
    @property
    def run(self) -> dict[str, Any]:
        return self.stack.api.get(self.path)

    def goes_on(self) -> bool:
        """Whether its run is still going. A job that was stopped in our queue has no run."""
        answer = self.stack.api.send("GET", self.path, {})
        return answer.status_code != 404 and answer.json()["state"] not in ENDED

    def task(self, stage: str) -> dict[str, Any]:
        return self.stack.api.get(f"{self.path}/taskInstances/{stage}")

    def tasks(self) -> dict[str, str]:
        return {t["task_id"]: t["state"] for t in self.stack.api.get(f"{self.path}/taskInstances")["task_instances"]}

    def task_log(self, stage: str) -> str:
        """The log of a stage's task, of all tries, from the disk."""
        folder = self.stack.path / "logs" / "tasks" / f"dag_id={self.environment}" / f"run_id={self.id}" / f"task_id={stage}"
        return "".join(f.read_text(errors="replace") for f in sorted(folder.glob("attempt=*.log")))

    # -- in the database ------------------------------------------------------------------------------------------------
    @property
    def row(self) -> JobRow | None:
        return self.stack.store.job(self.id)

    @property
    def ends(self) -> dict[Stage, StageEnd]:
        return self.stack.store.stage_ends(self.id)

    @property
    def statuses(self) -> list[int]:
        """All status numbers that the row has had, in order."""
        return self.stack.rows.statuses(self.id)

    # -- in Kubernetes --------------------------------------------------------------------------------------------------
    def pod(self, stage: str) -> dict[str, Any]:
        """The last version of the stage's pod."""
        return self.stack.pods.last(f"{self.id}-{stage}")

    def pods_made(self, stage: str) -> int:
        return len(self.stack.pods.uids(f"{self.id}-{stage}"))

    def is_running(self, stage: str) -> bool:
        """Whether the stage's container is running."""
        name = f"{self.id}-{stage}"
        return name in self.stack.pods.running and name not in self.stack.pods.gone

    # -- results --------------------------------------------------------------------------------------------------------
    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads((self.stack.results / self.id / "manifest.json").read_text())

    def published(self, path: str) -> bytes:
        return (self.stack.results / self.id / "data" / path).read_bytes()

    @property
    def files(self) -> list[str]:
        """The published paths below ``data/``. Asserts that the files, the manifest and the row agree."""
        row = self.row
        assert row is not None and row.results == self.manifest["files"] and row.withheld == self.manifest["withheld"]
        for n, entry in enumerate(self.manifest["files"]):
            content = (self.stack.results / self.id / entry["path"]).read_bytes()
            assert (n, len(content), hashlib.sha256(content).hexdigest()) == (entry["index"], entry["size"], entry["sha256"])
        return [entry["path"].removeprefix("data/") for entry in self.manifest["files"]]

    # -- stopping -------------------------------------------------------------------------------------------------------
    def stop(self, stage: str) -> None:
        """Set the task of the current stage to failed, as our stop does."""
        self.patched = time.time()
        answer = self.stack.api.send("PATCH", f"{self.path}/taskInstances/{stage}", {"new_state": "failed"})
        assert answer.status_code == 200, answer.text

    def stop_run(self) -> None:
        """Set the whole run to failed, as a user can in Airflow's UI."""
        self.patched = time.time()
        answer = self.stack.api.send("PATCH", self.path, {"state": "failed"})
        assert answer.status_code == 200, answer.text

    def pod_gone_after(self, stage: str) -> float:
        """Seconds from the stop until the pod was deleted."""
        name = f"{self.id}-{stage}"
        until(lambda: name in self.stack.pods.gone, f"{name} is gone")
        return self.stack.pods.gone[name] - self.patched

    # -- waiting --------------------------------------------------------------------------------------------------------
    def await_running(self, stage: str) -> Job:
        until(lambda: self.is_running(stage), lambda: f"{stage} of {self} runs; it is {self.tasks()}")
        return self

    def await_end(self, within: float = WITHIN) -> Job:
        """Wait until the run has ended, the row (if there is one) is final, and the job has no objects left in Kubernetes."""
        until(lambda: self.run["state"] in ENDED, lambda: f"the end of {self}; it is {self.tasks()}", within)
        until(lambda: (row := self.row) is None or row.dateFinished, f"the end of the row of {self}")
        until(lambda: not self.stack.job_objects(self.id), lambda: f"no objects of {self}: {self.stack.job_objects(self.id)}")
        return self

    # -- asserting ------------------------------------------------------------------------------------------------------
    def has_ended(self, state: str, number: int, text: str, stopreq: int = 0, **details: Any) -> JobRow:
        """Assert how the job ended, in Airflow and in its row.

        :param details: fields of terminationDetails.
        """
        row = self.row
        assert row is not None
        assert self.run["state"] == state
        assert (row.status, row.statusText, row.stopreq) == (number, text, stopreq), row
        assert row.terminationDetails is not None
        assert {name: row.terminationDetails[name] for name in details} == details, row.terminationDetails
        assert self.statuses == sorted(set(self.statuses)) and self.statuses[-1] == number, self.statuses
        return row


class PodWatch:
    """Records every version of every job's pods in a namespace, and when they ran, ended and were deleted."""

    def __init__(self, core: kubernetes.CoreV1Api, namespace: str) -> None:
        self.core = core
        self.namespace = namespace
        self.stop = threading.Event()
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.running: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.gone: dict[str, float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def last(self, name: str) -> dict[str, Any]:
        return self.seen[name][-1]

    def uids(self, name: str) -> set[str]:
        return {pod["metadata"]["uid"] for pod in self.seen.get(name, [])}

    def ends(self) -> list[dict[str, Any]]:
        return [
            {"job": labels["c2d/job"], "stage": labels["c2d/stage"], "ended": when}
            for name, when in list(self.ended.items())
            for labels in [self.last(name)["metadata"]["labels"]]
        ]

    def _watch(self) -> None:
        version = None
        while not self.stop.is_set():
            try:
                if version is None:
                    listed = json.loads(self._list().data)
                    for pod in listed["items"]:
                        self._see("ADDED", pod)
                    present = {pod["metadata"]["name"] for pod in listed["items"]}
                    for name in self.seen.keys() - present - self.gone.keys():
                        self.gone[name] = time.time()
                    version = listed["metadata"]["resourceVersion"]
                answer = self._list(watch=True, resource_version=version, timeout_seconds=60, _request_timeout=(10, 70))
                rest = b""
                for chunk in answer.stream(amt=None, decode_content=False):
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in filter(None, lines):
                        event = json.loads(line)
                        if event["type"] == "ERROR":
                            raise ConnectionError
                        version = event["object"]["metadata"]["resourceVersion"]
                        self._see(event["type"], event["object"])
                    if self.stop.is_set():
                        return
            except Exception:  # the runner ends with its stack; after any other error, list the pods again
                version = None
                self.stop.wait(0.5)

    def _list(self, **more: Any) -> Any:
        return self.core.list_namespaced_pod(self.namespace, label_selector="c2d/job", _preload_content=False, **more)

    def _see(self, kind: str, pod: dict[str, Any]) -> None:
        name, now = pod["metadata"]["name"], time.time()
        self.seen.setdefault(name, []).append(pod)
        if kind == "DELETED":
            self.gone[name] = now
            return
        self.gone.pop(name, None)
        for status in pod.get("status", {}).get("containerStatuses") or []:
            if "running" in status["state"]:
                self.running.setdefault(name, now)
            if "terminated" in status["state"] and not pod["metadata"].get("deletionTimestamp"):
                self.ended.setdefault(name, now)


NOTE_STATUSES = """
CREATE SCHEMA e2e;
CREATE TABLE e2e.statuses (id bigserial PRIMARY KEY, job text NOT NULL, status int NOT NULL);
CREATE FUNCTION e2e.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'INSERT' OR NEW.status <> OLD.status THEN INSERT INTO e2e.statuses (job, status) VALUES (NEW."jobId", NEW.status); END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER e2e_note AFTER INSERT OR UPDATE ON c2d.jobs FOR EACH ROW EXECUTE FUNCTION e2e.note();
"""


class RowWatch:
    """Records every status of every job with a trigger, because polling would miss some, and when the ends of stages are recorded."""

    def __init__(self, url: str) -> None:
        self.engine = sa.create_engine(url)
        with self.engine.begin() as c:
            c.execute(sa.text(NOTE_STATUSES))
        self.stop = threading.Event()
        self.recorded: dict[tuple[str, str], float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def statuses(self, job_id: str) -> list[int]:
        """All status numbers that a job's row has had, in order."""
        with self.engine.connect() as c:
            return list(c.execute(sa.text("SELECT status FROM e2e.statuses WHERE job = :job ORDER BY id"), {"job": job_id}).scalars())

    def _watch(self) -> None:
        while not self.stop.wait(0.03):
            try:
                with self.engine.connect() as c:
                    now = time.time()
                    for job, stage in c.execute(sa.text('SELECT "jobId", stage FROM c2d.stages')):
                        self.recorded.setdefault((job, stage), now)
            except sa.exc.OperationalError:
                self.stop.wait(0.5)


def moment(text: str) -> float:
    """A time of Airflow's API or of Kubernetes in Unix seconds."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
