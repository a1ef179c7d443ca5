"""`python -m local.demo [JOB]` (make demo): runs one of the examples as a real job and shows its results.

It uses the running stack, or starts one and stops it at the end. The exit code is 0 only if the job ended as examples/JOB/expect.json says.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local import stack, terminal
from local.airflow_api import Client
from local.env_files import env_file, operator_settings
from local.home import PROJECT, Home, StackError, home

EXAMPLES = PROJECT / "examples"
STAGES = ("configure", "algorithm", "filter", "publish")
DEFAULT_ENVIRONMENT = "ocean-compute"
TASK_ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
RUN_ENDED = ("success", "failed")
JOB_TIMEOUT = 300  # seconds
API_TIMEOUT = 30  # seconds without an answer from Airflow, which may be restarting
FIRST_LINES = 4


# -- the examples ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Example:
    job: dict[str, Any]  # job.json, with placeholders
    expect: dict[str, Any]  # expect.json
    algorithm: str  # the source of algorithm.py


def load(name: str) -> Example:
    """An example of the folder examples/.

    :raises StackError: there is no example of that name.
    """
    names = sorted(file.parent.name for file in EXAMPLES.glob("*/job.json"))
    if name not in names:
        raise StackError(f"There is no example {name}. JOB can be {', '.join(names)}.")
    folder = EXAMPLES / name
    job, expect = (json.loads((folder / file).read_text()) for file in ("job.json", "expect.json"))
    return Example(job, expect, (folder / "algorithm.py").read_text())


def fill_in(value: Any, texts: dict[str, str]) -> Any:
    """A job with its placeholders, such as ${DATA_URL}, replaced."""
    if isinstance(value, dict):
        return {key: fill_in(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, texts) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([A-Z_]+)\}", lambda match: texts.get(match[1], match[0]), value)
    return value


# -- the run -----------------------------------------------------------------------------------------------------
def trigger(client: Client, environment: str, job: dict[str, Any], job_id: str) -> None:
    """Start a job.

    :raises StackError: Airflow rejects it.
    """
    answer = client.send("POST", f"/dags/{environment}/dagRuns", {"dag_run_id": job_id, "logical_date": None, "conf": job})
    if answer.status_code != 200:
        raise StackError(f"Airflow rejected the job ({answer.status_code}): {detail(answer)}")


def detail(answer: httpx.Response) -> str:
    """The reason in an error response of Airflow's."""
    with contextlib.suppress(ValueError):
        reason = answer.json().get("detail")
        return reason if isinstance(reason, str) else json.dumps(reason)
    return answer.text[:300]


def follow(client: Client, environment: str, job_id: str) -> str:
    """Print each stage as it ends. Returns the state in which the DAG run ended.

    :raises StackError: the job takes too long, or Airflow does not answer.
    """
    progress = terminal.Progress()
    begin, path = time.monotonic(), f"/dags/{environment}/dagRuns/{job_id}"
    last_answer, printed = begin, set[str]()
    while time.monotonic() - begin < JOB_TIMEOUT:
        try:
            state = str(client.get(path)["state"])
            tasks = {task["task_id"]: task for task in client.get(f"{path}/taskInstances")["task_instances"]}
            last_answer = time.monotonic()
        except httpx.HTTPError as error:
            if time.monotonic() - last_answer > API_TIMEOUT:
                raise StackError(f"Airflow's API server has not answered for {API_TIMEOUT} s: {error}") from error
            time.sleep(0.5)
            continue
        current = ""
        for name in STAGES:
            task = tasks.get(name) or {}
            task_state = task.get("state")
            if task_state in TASK_ENDED and name not in printed:
                printed.add(name)
                progress.clear()
                print(f"  {name:10} {'done' if task_state == 'success' else task_state:8} {duration(task)}", flush=True)
            elif task_state not in TASK_ENDED and not current:
                current = f"  {name:10} {task_state or 'waiting'} ... {time.monotonic() - begin:.0f} s"
        if state in RUN_ENDED:
            progress.clear()
            return state
        if progress.terminal:
            progress.show(current)
        time.sleep(0.3)
    progress.clear()
    raise StackError(f"The job has not ended after {JOB_TIMEOUT} s. See {client.url}/dags/{environment}/runs/{job_id}.")


def duration(task: dict[str, Any]) -> str:
    return f"{task['duration']:5.1f} s" if task.get("duration") is not None else ""


def stop_run(client: Client, environment: str, job_id: str) -> None:
    """Stop a job that is still running, because on a Kubernetes cluster its pod would outlive this stack."""
    path = f"/dags/{environment}/dagRuns/{job_id}"
    with contextlib.suppress(httpx.HTTPError):
        if client.get(path)["state"] in RUN_ENDED:
            return
        client.send("PATCH", path, {"state": "failed", "note": "make demo was interrupted"})
        time.sleep(3)  # a task notices at its next heartbeat and deletes its pod


# -- the outcome -------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class FinishedJob:
    status: str  # Ocean's number and text
    details: dict[str, Any]  # terminationDetails
    results: dict[str, bytes]  # the content of each published file, by path
    withheld: list[dict[str, str]]  # the files that the filter did not release, with the reason


def finished_job(place: Home, env: dict[str, str], job_id: str) -> FinishedJob:
    """What became of a job, with its results from whichever store they are in.

    :raises StackError: the database has no record of the job.
    """
    from c2d.contract import ManifestEntry
    from c2d.database.jobs import JobRepository
    from c2d.results.reader import Reader
    from c2d.settings import installation

    file = env_file()
    key = {"OPERATOR_PRIVATE_KEY": place.secrets()["operator_private_key"]}
    settings = installation.read({**key, **(operator_settings(file) if file else {}), **env})
    jobs = JobRepository(env["C2D_DATABASE_URL"])
    row = jobs.job(job_id)
    if row is None:
        raise StackError(f"The database has no record of the job {job_id}.")
    reader = Reader(settings, row, jobs.result_keys(job_id))
    results = {entry.path.removeprefix("data/"): b"".join(reader.read(entry)) for entry in map(ManifestEntry.trusted, row.results)}
    return FinishedJob(f"{row.status} {row.statusText.strip()}", row.terminationDetails or {}, results, row.withheld)


def show(job: FinishedJob, state: str) -> None:
    """Print how a job ended, and the first lines of its results."""
    reason = f" ({job.details['reason']})" if job.details.get("reason") else ""
    print(f"\nThe job ended with status {job.status}. Exit code of the algorithm: {job.details.get('exitCode')}{reason}. DAG run: {state}.")
    for path, content in job.results.items():
        print(f"\n  {path}  ({len(content)} bytes)")
        if not path.endswith((".png", ".jpg", ".zip")) and b"\0" not in content[:1024]:
            show_lines(content.decode(errors="replace"))
    for file in job.withheld:
        print(f"\n  {file['path']}  withheld: {file['reason']}")


def show_lines(text: str) -> None:
    """Print the first lines of a result, without control characters: a job's output must not control the terminal."""
    lines = text.splitlines()
    for line in lines[:FIRST_LINES]:
        print("    " + "".join(c if c.isprintable() else "?" for c in line[:130]))
    if len(lines) > FIRST_LINES:
        print(f"    ... {len(lines) - FIRST_LINES} more lines")


def differences(expect: dict[str, Any], state: str, job: FinishedJob) -> list[str]:
    """How a job differs from examples/JOB/expect.json; empty if it does not."""
    problems = []
    if state != expect["state"]:
        problems.append(f"the DAG run ended in the state {state} instead of {expect['state']}")
    if job.details.get("exitCode") != expect["exitCode"]:
        problems.append(f"the algorithm's exit code is {job.details.get('exitCode')} instead of {expect['exitCode']}")
    if not job.results:
        return [*problems, "the job has no results"]
    for name in expect["outputs"]:
        if f"outputs/{name}" not in job.results:
            problems.append(f"outputs/{name} is missing")
    for path, line in expect["lines"].items():
        if path not in job.results:
            problems.append(f"{path} is missing")
        elif line not in job.results[path].decode(errors="replace"):
            problems.append(f"{path} does not have the line: {line}")
    return problems


# -- the command -------------------------------------------------------------------------------------------------
def environment_of(client: Client) -> str:
    """The compute environment to use: ocean-compute, or the first one in the operator's settings if they do not have that."""
    dags = client.get("/dags", limit=100, tags="c2d")["dags"]
    environments = sorted(str(dag["dag_id"]) for dag in dags if "janitor" not in dag["dag_id"])
    if DEFAULT_ENVIRONMENT in environments or not environments:
        return DEFAULT_ENVIRONMENT
    return environments[0]


def main() -> int:
    """Run an example. Returns the exit code."""
    begin = time.monotonic()
    name = sys.argv[1] if len(sys.argv) > 1 else "statistics"
    example = load(name)
    place = home()
    print(f"Example {name}: {example.expect['about']}", flush=True)
    with stack.running(place, env_file()) as env:
        client = Client(env["AIRFLOW_URL"], env["AIRFLOW_PASSWORD"])
        client.log_in()
        environment, job_id = environment_of(client), f"demo-{name}-{secrets.token_hex(4)}"
        print(f"The stack is running after {time.monotonic() - begin:.0f} s: {stack.login(env)}")
        print(f"Job {job_id} in the compute environment {environment}:", flush=True)
        try:
            trigger(client, environment, fill_in(example.job, {"DATA_URL": env["DATA_URL"], "ALGORITHM": example.algorithm}), job_id)
            state = follow(client, environment, job_id)
        except BaseException:
            with terminal.uninterrupted():
                stop_run(client, environment, job_id)
            raise
        job = finished_job(place, env, job_id)
        show(job, state)
        print(f"\nIn Airflow, while the stack is running (`make up`): {env['AIRFLOW_URL']}/dags/{environment}/runs/{job_id}")
        folder = Path(env["C2D_RESULTS_PATH"]) / job_id
        if folder.is_dir():
            print(f"Files: {terminal.display_path(folder)}/data")
        problems = differences(example.expect, state, job)
    return verdict(problems, begin)


def verdict(problems: list[str], begin: float) -> int:
    """Print whether the demonstration went as expected. Returns its exit code."""
    print()
    for problem in problems:
        print(f"Not as expected: {problem}.", file=sys.stderr)
    if not problems:
        print(f"Everything went as expected. It took {time.monotonic() - begin:.0f} s.")
    return 1 if problems else 0


if __name__ == "__main__":
    terminal.run(main)
