"""`python -m local.demo [JOB]` (make demo): one of the examples as a real job, from the first process to its results.

It uses the stack that is up, or starts one and stops it again. Ends with 0 only when the job ended as examples/JOB/expect.json says.
"""

import contextlib
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from local import stack
from local.airflow import Client
from local.home import PROJECT, Home, StackError, home

EXAMPLES = PROJECT / "examples"
STAGES = ("configure", "algorithm", "filter", "publish")
ENDED = ("success", "failed", "skipped", "upstream_failed", "removed")
WITHIN = 300  # seconds for a job
FIRST_LINES = 4


# -- what to run -------------------------------------------------------------------------------------------------
def names() -> list[str]:
    return sorted(file.parent.name for file in EXAMPLES.glob("*/job.json"))


def load(name: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The job as it stands in the file, what is expected of it, and its algorithm's source."""
    if name not in names():
        raise StackError(f"There is no example {name}; JOB can be {', '.join(names())}.")
    folder = EXAMPLES / name
    return (
        json.loads((folder / "job.json").read_text()),
        json.loads((folder / "expect.json").read_text()),
        (folder / "algorithm.py").read_text(),
    )


def filled_in(value: Any, texts: dict[str, str]) -> Any:
    """A job with its placeholders replaced, each within the string where it stands."""
    if isinstance(value, dict):
        return {key: filled_in(item, texts) for key, item in value.items()}
    if isinstance(value, list):
        return [filled_in(item, texts) for item in value]
    if isinstance(value, str):
        return re.sub(r"\$\{([A-Z_]+)\}", lambda match: texts.get(match[1], match[0]), value)
    return value


# -- the run -----------------------------------------------------------------------------------------------------
def trigger(client: Client, environment: str, job: dict[str, Any], job_id: str) -> None:
    answer = client.send("POST", f"/dags/{environment}/dagRuns", {"dag_run_id": job_id, "logical_date": None, "conf": job})
    if answer.status_code != 200:
        raise StackError(f"The job was refused ({answer.status_code}): {detail(answer)}")


def detail(answer: httpx.Response) -> str:
    with contextlib.suppress(ValueError):
        said = answer.json().get("detail")
        return said if isinstance(said, str) else json.dumps(said)
    return answer.text[:300]


def follow(client: Client, environment: str, job_id: str) -> str:
    """Show each stage as it goes; the state in which the run ended."""
    progress = stack.Progress()
    begun, told, path = time.monotonic(), set[str](), f"/dags/{environment}/dagRuns/{job_id}"
    lost = 0.0
    while time.monotonic() - begun < WITHIN:
        try:
            run = client.get(path)
            tasks = {task["task_id"]: task for task in client.get(f"{path}/taskInstances")["task_instances"]}
            lost = 0.0
        except httpx.HTTPError as error:  # the API server may be started again under us
            lost = lost or time.monotonic()
            if time.monotonic() - lost > 30:
                raise StackError("Airflow's API server does not answer any more.") from error
            time.sleep(0.5)
            continue
        current = ""
        for name in STAGES:
            task = tasks.get(name) or {}
            state = task.get("state")
            if state in ENDED and name not in told:
                told.add(name)
                progress.clear()
                print(f"  {name:10} {'done' if state == 'success' else state:8} {seconds(task)}", flush=True)
            elif state not in ENDED and not current:
                waited = time.monotonic() - begun
                current = f"  {name:10} {state or 'waiting'}" + (f" ... {waited:.0f} s" if progress.terminal else "")
        if run["state"] in ("success", "failed"):
            progress.clear()
            return run["state"]
        if progress.terminal:
            progress.show(current)
        time.sleep(0.3)
    progress.clear()
    raise StackError(f"The job has not ended after {WITHIN} s; see {client.url}/dags/{environment}/runs/{job_id}.")


def seconds(task: dict[str, Any]) -> str:
    return f"{task['duration']:5.1f} s" if task.get("duration") is not None else ""


def stop_run(client: Client, environment: str, job_id: str) -> None:
    """End a run that is still going, so that no pod of it stays (on a cluster it would outlive this stack)."""
    path = f"/dags/{environment}/dagRuns/{job_id}"
    with contextlib.suppress(httpx.HTTPError):
        if client.get(path)["state"] in ("success", "failed"):
            return
        client.send("PATCH", path, {"state": "failed", "note": "make demo was stopped"})
        time.sleep(3)  # a task notices at its next heartbeat and deletes its pod


# -- the outcome -------------------------------------------------------------------------------------------------
@dataclass
class Ended:
    """The job as the operator sees it. results: content by path; withheld: path and reason of what the filter kept back."""

    status: str
    details: dict[str, Any]
    results: dict[str, bytes]
    withheld: list[dict[str, str]]


def ended(place: Home, told: dict[str, str], job_id: str) -> Ended:
    """What became of the job; its results from whichever store they are in."""
    from c2d.database.jobs import JobRepository
    from c2d.results.reader import Reader
    from c2d.settings import installation

    file = stack.env_file()
    given = {"OPERATOR_PRIVATE_KEY": place.secrets()["operator_private_key"], **(stack.operator_settings(file) if file else {}), **told}
    store = JobRepository(told["C2D_DATABASE_URL"])
    row = store.job(job_id)
    if row is None:
        return Ended("no record of the job", {}, {}, [])
    reader = Reader(installation.read(given), row, store.result_keys(job_id))
    results = {f["path"].removeprefix("data/"): b"".join(reader.read(f)) for f in row.results}
    return Ended(f"{row.status} {row.statusText.strip()}", row.terminationDetails or {}, results, row.withheld)


def show_results(job: Ended) -> None:
    for path, content in job.results.items():
        print(f"\n  {path}  ({len(content)} bytes)")
        if path.endswith((".png", ".jpg", ".zip")) or b"\0" in content[:1024]:
            continue
        show_lines(content.decode(errors="replace"))
    for file in job.withheld:
        print(f"\n  {file['path']}  withheld: {file['reason']}")


def show_lines(text: str) -> None:
    """The first lines of a result. A job's output must not steer the terminal."""
    lines = text.splitlines()
    for line in lines[:FIRST_LINES]:
        print("    " + "".join(c if c.isprintable() else "?" for c in line[:130]))
    if len(lines) > FIRST_LINES:
        print(f"    ... {len(lines) - FIRST_LINES} more lines")


def differences(expect: dict[str, Any], state: str, job: Ended) -> list[str]:
    """What is not as examples/JOB/expect.json says; nothing when all is."""
    found = []
    if state != expect["state"]:
        found.append(f"the run ended {state}, {expect['state']} is expected")
    if job.details.get("exitCode") != expect["exitCode"]:
        found.append(f"the algorithm's exit code is {job.details.get('exitCode')}, {expect['exitCode']} is expected")
    if not job.results:
        return [*found, "nothing was published"]
    for name in expect["outputs"]:
        if f"outputs/{name}" not in job.results:
            found.append(f"outputs/{name} is missing")
    for path, line in expect["lines"].items():
        if path not in job.results:
            found.append(f"{path} is missing")
        elif line not in job.results[path].decode(errors="replace"):
            found.append(f"{path} has no line with: {line}")
    return found


@contextlib.contextmanager
def running_stack(place: Home) -> Iterator[dict[str, str]]:
    """The stack that is up, or one for as long as this lasts."""
    mine = not (place.path.exists() and stack.is_running(place))
    told = stack.up(place, stack.env_file())
    try:
        yield told
    finally:
        if mine:
            with uninterrupted():
                stack.down(place)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """A second Ctrl-C must not keep the first from ending what runs."""
    old = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def environment_of(client: Client) -> str:
    """The environment to use: ocean-compute, or the first that the operator's settings make."""
    found = sorted(dag["dag_id"] for dag in client.get("/dags", limit=100, tags="c2d")["dags"] if "janitor" not in dag["dag_id"])
    return "ocean-compute" if "ocean-compute" in found or not found else found[0]


def main() -> int:
    begun = time.monotonic()
    name = sys.argv[1] if len(sys.argv) > 1 else "statistics"
    job, expect, source = load(name)
    place = home()
    print(f"Example {name}: {expect['about']}", flush=True)
    with running_stack(place) as told:
        client = Client(told["AIRFLOW_URL"], told["AIRFLOW_PASSWORD"])
        client.log_in()
        environment, job_id = environment_of(client), f"demo-{name}-{secrets.token_hex(4)}"
        login = f"user {told['AIRFLOW_USER']}, password {told['AIRFLOW_PASSWORD']}"
        print(f"The stack is up after {time.monotonic() - begun:.0f} s: {told['AIRFLOW_URL']}  ({login})")
        print(f"Job {job_id} in {environment}", flush=True)
        try:
            trigger(client, environment, filled_in(job, {"DATA_URL": told["DATA_URL"], "ALGORITHM": source}), job_id)
            state = follow(client, environment, job_id)
        except BaseException:
            with uninterrupted():
                stop_run(client, environment, job_id)
            raise
        done = ended(place, told, job_id)
        reason = f" ({done.details['reason']})" if done.details.get("reason") else ""
        print(f"\nStatus: {done.status}; run {state}; algorithm's exit code {done.details.get('exitCode')}{reason}")
        print(f"In Airflow: {told['AIRFLOW_URL']}/dags/{environment}/runs/{job_id}  (while the stack is up: make up)")
        folder = Path(told["C2D_RESULTS_PATH"]) / job_id
        if folder.is_dir():
            print(f"Results: {os.path.relpath(folder)}/data")
        show_results(done)
        wrong = differences(expect, state, done)
    return verdict(wrong, begun)


def verdict(wrong: list[str], begun: float) -> int:
    """Says whether the demonstration went as expected; returns its exit code."""
    print()
    for difference in wrong:
        print(f"Not as expected: {difference}.", file=sys.stderr)
    if not wrong:
        print(f"As expected, after {time.monotonic() - begun:.0f} s.")
    return 1 if wrong else 0


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stack.interrupt)
    raise SystemExit(stack.guarded(main))
