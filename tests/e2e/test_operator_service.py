"""Jobs sent as Ocean's Provider sends them, with real Airflow: they run, stop, survive crashes and take turns."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from c2d.crypto import ecies
from c2d.database.tables import notifications
from local.env_files import read_env
from local.home import PROJECT, Home
from tests.conformance.provider import API, Provider, workflow
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import SLEEP
from tests.e2e.test_stops import LARGE, PARTS

TABLE = {"id": "did:op:aa", "url": ["{DATA}/table.csv"]}


class Operator:
    """The operator-service API of a stack, as its Provider uses it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        env = read_env(Home(stack.path).env_file)
        self.provider = Provider(env["PROVIDER_PRIVATE_KEY"])
        self.http = httpx.Client(base_url=env["OPERATOR_SERVICE_URL"].rstrip("/") + API, trust_env=False, timeout=30)

    def owned_by(self, owner: str) -> Operator:
        other = Operator(self.stack)
        other.provider.owner = owner
        return other

    def start(
        self, code: str = "print('hello there')", environment: str = "ocean-compute", inputs: Any = (), output: Any = None, **more: Any
    ) -> Job:
        container = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO"}
        job_workflow = workflow(input=list(inputs), algorithm={"rawcode": code, "container": container, **more}, output=output or {})
        body = self.provider.start_body(f"0x{time.time_ns()}", workflow=self.stack.filled(job_workflow), environment=environment)
        answer = self.http.post("/compute", json=body)
        assert answer.status_code == 200, answer.text
        job = Job(self.stack, environment, answer.json()[0]["jobId"])
        self.stack.jobs[job.id] = job
        return job

    def stop(self, job: Job) -> dict[str, Any]:
        job.patched = time.time()
        answer = self.http.put("/compute", params=self.provider.signed(job.id))
        assert answer.status_code == 200, answer.text
        return dict(answer.json()[0])

    def status(self, job: Job) -> dict[str, Any]:
        return dict(self.http.get("/compute", params=self.provider.signed(job.id)).json()[0])

    def result(self, job: Job, index: int) -> bytes:
        answer = self.http.get("/getResult", params=self.provider.signed(job.id, index=index))
        assert answer.status_code == 200, answer.text
        return answer.content

    def end_of(self, job: Job) -> dict[str, Any]:
        until(lambda: self.status(job)["dateFinished"], f"the end of {job}")
        return self.status(job)


@pytest.fixture
def operator(stack: Stack) -> Operator:
    return Operator(stack)


def events(stack: Stack, job: Job) -> list[str]:
    with sa.create_engine(stack.database_url).connect() as c:
        return list(
            c.execute(sa.select(notifications.c.event).where(notifications.c.jobId == job.id).order_by(notifications.c.id)).scalars()
        )


def test_a_job_from_a_provider_runs_and_its_results_can_be_downloaded(operator: Operator, stack: Stack) -> None:
    code = "import os\nopen(os.environ['OUTPUTS'] + '/secret', 'w').write(os.environ['secret'])\nprint('hello there')"
    begun = time.time()
    job = operator.start(code, inputs=[TABLE])
    until(lambda: stack.pods.uids(f"{job.id}-configure"), f"the first pod of {job}")
    stack.number("POST compute to configure's pod", time.time() - begun)
    status = operator.end_of(job)
    assert (status["status"], status["statusText"], status["stopreq"]) == (70, "Job finished", 0)
    assert [r["type"] for r in status["results"]] == ["output", "algorithmLog", "configrationLog", "filteringLog", "publishLog"]
    assert len(operator.result(job, 0)) == 32
    assert operator.result(job, 1) == b"hello there\n"
    assert events(stack, job) == ["start", "stop"]
    assert "table.csv" not in str(job.run["conf"])
    job.await_end().has_ended("success", 70, "Job finished", reason="Completed")


def test_only_the_consumer_can_read_results_encrypted_to_the_consumer(operator: Operator, stack: Stack, tmp_path: Path) -> None:
    consumer = ecies.new_private_key()
    code = "import os\nopen(os.environ['OUTPUTS'] + '/answer.txt', 'w').write('forty-two')\nprint('thought long')"
    job = operator.start(code, "confidential", output={"publicKey": ecies.public_key(consumer)})
    status = operator.end_of(job)
    assert (status["status"], [r["filename"] for r in status["results"][:2]]) == (70, ["answer.txt.c2d", "algorithm.log.c2d"])
    stored = [path.read_bytes() for path in (stack.results / job.id).rglob("*") if path.is_file()]
    assert len(stored) == 6 and not any(word in content for content in stored for word in (b"forty-two", b"thought long", b"answer.txt"))
    assert operator.result(job, 2).startswith(b"20")  # configure's log is the operator's, and the owner may read it
    stored_keys = stack.store.result_keys(job.id)
    assert stored_keys and "results" not in stored_keys  # from now on the operator cannot decrypt them either
    env = read_env(Home(stack.path).env_file)
    words = ["results", job.id, "--url", env["OPERATOR_SERVICE_URL"], "--owner", operator.provider.owner, "--to", str(tmp_path)]
    keys = {"PROVIDER_PRIVATE_KEY": env["PROVIDER_PRIVATE_KEY"], "CONSUMER_PRIVATE_KEY": consumer}
    command = [sys.executable, "-m", "c2d.cli", *words]
    subprocess.run(command, env={**os.environ, "PYTHONPATH": "plugins", **keys}, cwd=PROJECT, check=True, timeout=60)
    assert (tmp_path / "outputs/answer.txt").read_text() == "forty-two"
    assert (tmp_path / "logs/algorithm.log").read_text() == "thought long\n"
    job.await_end().has_ended("success", 70, "Job finished", reason="Completed")


def test_a_job_can_be_stopped_in_the_queue(operator: Operator, stack: Stack) -> None:
    first = operator.start(SLEEP.format(600), "single").await_running("algorithm")
    second = operator.start(SLEEP.format(600), "single")
    status = operator.stop(second)
    assert (status["status"], status["stopreq"], status["terminationDetails"]["reason"]) == (70, 1, "Stopped")
    assert stack.api.send("GET", second.path, {}).status_code == 404, "it never had a run"
    operator.stop(first)
    assert operator.end_of(first)["stopreq"] == 1
    first.await_end()


def test_a_job_can_be_stopped_before_its_run_has_begun(operator: Operator) -> None:
    job = operator.start(SLEEP.format(600))
    until(lambda: job.stack.api.send("GET", job.path, {}).status_code == 200, f"the run of {job}")
    operator.stop(job)
    assert operator.end_of(job)["terminationDetails"]["reason"] == "Stopped"
    job.await_end()
    assert job.pods_made("algorithm") == 0


@pytest.mark.parametrize("stage", ["configure", "algorithm"])
def test_a_job_can_be_stopped_in_a_stage(operator: Operator, stage: str) -> None:
    dripping = {"id": "did:op:aa", "url": ["{DATA}/drip?token={KEY}"]}
    job = operator.start(textwrap.dedent(PARTS), inputs=[dripping] if stage == "configure" else [])
    job.await_running(stage)
    assert operator.stop(job)["stopreq"] == 1
    operator.stop(job)
    job.stack.number(f"PUT compute in {stage} to pod gone", job.pod_gone_after(stage))
    status = operator.end_of(job)
    assert (status["status"], status["stopreq"]) == (70, 1)
    # a stop does not withhold what the algorithm has written
    assert status["terminationDetails"]["reason"] == "Stopped"
    assert bool([r for r in status["results"] if r["type"] == "output"]) == (stage != "configure")
    assert operator.stop(job)["dateFinished"] == status["dateFinished"]
    job.await_end()
    assert job.tasks()["algorithm"] == ("failed" if stage == "algorithm" else "upstream_failed")


def test_a_stop_during_publish_is_too_late(operator: Operator, stack: Stack) -> None:
    """The results are published all the same."""
    with stack.stores.slowly():  # otherwise publish may end before Kubernetes reports that it runs
        job = operator.start(LARGE, "slow")
        job.await_running("publish")
        assert operator.stop(job)["stopreq"] == 1
    status = operator.end_of(job)
    assert (status["status"], status["stopreq"], status["terminationDetails"]["reason"]) == (70, 1, "Completed")
    assert [r for r in status["results"] if r["type"] == "output"]
    job.await_end()


@pytest.mark.parametrize("unit", ["api-server", "postgres", "scheduler"])
def test_an_accepted_job_survives_the_crash_of_a_process(operator: Operator, stack: Stack, unit: str) -> None:
    """The process is killed right after the answer, when the run may or may not exist yet."""
    jobs = []
    for pause in (0, 0.01, 0.05):
        jobs.append(until(lambda: _started(operator), "a start"))
        stack.disturbed.add(jobs[-1].id)
        time.sleep(pause)
        until(functools.partial(_killed, stack, unit), f"{unit} runs")
        if unit == "postgres":
            break
    for job in jobs:
        until(functools.partial(ended, operator, job), f"the end of {job}")
        assert operator.status(job)["terminationDetails"]["reason"] == "Completed"
        assert events(stack, job) == ["start", "stop"]
        assert job.pods_made("algorithm") == 1
        job.await_end()


def _killed(stack: Stack, unit: str) -> bool:
    """Kill the process. False if it is dead already and has not been restarted."""
    pid = stack.unit(unit)["pid"]
    try:
        os.kill(pid or 2**22, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def _started(operator: Operator) -> Job | None:
    try:
        return operator.start()
    except AssertionError:  # its database is unavailable: it answers with an error and has not accepted the job
        return None


def ended(operator: Operator, job: Job) -> bool:
    answer = operator.http.get("/compute", params=operator.provider.signed(job.id))
    if answer.status_code != 200:  # its database is unavailable, and it answers with an error
        return False
    assert answer.json(), "an accepted job is gone"
    return answer.json()[0]["dateFinished"] is not None


def test_owners_take_turns(operator: Operator, stack: Stack) -> None:
    """One owner sends many jobs, then two others send a few each, to an environment that runs four at once."""
    owners = [operator.owned_by("0x" + letter * 40) for letter in "abc"]
    begun = time.monotonic()
    jobs = [(n, owners[n].start("print('hello there')", "small")) for n in [0] * 16 + [1] * 4 + [2] * 4]
    stack.number("24 jobs posted", time.monotonic() - begun)
    for n, job in jobs:
        assert owners[n].end_of(job)["terminationDetails"]["reason"] == "Completed"
        assert job.pods_made("algorithm") == 1
    stack.number("24 jobs of three owners, four at once", time.monotonic() - begun)
    last = [max(job.row.dateFinished for n, job in jobs if n == owner) for owner in range(3)]  # type: ignore[union-attr, type-var]
    assert max(last[1], last[2]) < last[0], "owners who came later do not wait for all jobs of the first one"
    for _, job in jobs:
        job.await_end()
