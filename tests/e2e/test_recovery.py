"""When a process dies, its jobs do not run twice, do not hang, and do not look more successful than they were."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

from local import processes
from tests.e2e.client import Job, Stack, moment, until
from tests.e2e.confs import ONCE, conf

KILLED: dict[str, float] = {}
"""When something of a job was killed, by job id."""


def task_processes(job: Job, stage: str = "algorithm") -> tuple[int, int]:
    """The pids of a stage's task process and of its worker."""
    scheduler = job.stack.unit("scheduler")["pid"]
    task = until(lambda: job.task(stage)["pid"], f"the process of {stage} of {job}")
    fields = processes.stat(task)
    assert fields is not None
    worker = int(fields[1])
    assert {task, worker} <= set(processes.descendants(scheduler)) and worker != scheduler
    return task, worker


def mark(job: Job) -> None:
    """Note that something of this job is killed now."""
    KILLED[job.id] = time.time()
    job.stack.disturbed.add(job.id)


def kill_worker(job: Job) -> None:
    """Kill the worker and its task, as the loss of the worker's machine would. The worker goes first: it must not see its task end."""
    task, worker = task_processes(job)
    mark(job)
    for pid in (worker, task):
        os.kill(pid, signal.SIGKILL)


def terminate_task(job: Job) -> None:
    """Send SIGTERM to the task, as when the worker's machine is drained."""
    mark(job)
    os.kill(task_processes(job)[0], signal.SIGTERM)


def kill_unit(stack: Stack, name: str) -> None:
    """Kill a service of the stack with all that it has started. The supervisor has to restart it."""
    unit = stack.unit(name)
    processes.kill_session(unit["pid"], unit["started"])


def ran_once(job: Job) -> None:
    """Assert that the algorithm ran once, to its end, in one pod, although its task was retried."""
    job.has_ended("success", 70, "Job finished", exitCode=0, reason="Completed")
    for file in ("outputs/runs", "logs/runs"):
        assert len(job.published(file).splitlines()) == 1
    assert job.published("logs/algorithm.log") == b"begun\ndone\n"
    assert job.pods_made("algorithm") == 1


def taken_over_after(job: Job, stage: str = "algorithm") -> float:
    """Seconds from the kill until the next try took the pod over."""
    lines = [json.loads(line) for line in job.task_log(stage).splitlines() if "taking over pod" in line]
    assert lines, job.task_log(stage)
    return moment(lines[-1]["timestamp"]) - KILLED[job.id]


@pytest.mark.job(conf(ONCE.format(40)), once_running=kill_worker)
def test_an_algorithm_runs_once_when_its_worker_is_killed(ended: Job, stack: Stack) -> None:
    ran_once(ended)
    stack.number("worker killed, pod taken over after", taken_over_after(ended))


@pytest.mark.job(conf(ONCE.format(12)), once_running=terminate_task)
def test_an_algorithm_runs_once_when_its_task_is_terminated(ended: Job, stack: Stack) -> None:
    ran_once(ended)
    stack.number("task terminated, pod taken over after", taken_over_after(ended))


@pytest.mark.job(conf(ONCE.format(5)), once_running=kill_worker)
def test_an_algorithm_that_ends_while_no_worker_watches_it_is_not_run_again(ended: Job) -> None:
    ran_once(ended)
    assert ended.task("algorithm")["try_number"] > 1


def test_two_running_jobs_survive_the_crash_of_the_scheduler(stack: Stack) -> None:
    goes_on = stack.submit(conf(ONCE.format(60)), name="goes-on").await_running("algorithm")
    ends_meanwhile = stack.submit(conf(ONCE.format(5)), name="ends-meanwhile").await_running("algorithm")
    begun = [goes_on, ends_meanwhile]
    for job in begun:
        mark(job)
    kill_unit(stack, "scheduler")
    for job in begun:
        ran_once(job.await_end())
    stack.number("scheduler killed, pod taken over after", taken_over_after(goes_on))
    assert stack.unit("scheduler")["restarts"] > 0


def test_a_running_job_survives_the_crash_of_the_api_server(stack: Stack) -> None:
    job = stack.submit(conf(ONCE.format(5)), name="api-server-dies").await_running("algorithm")
    mark(job)
    kill_unit(stack, "api-server")
    ran_once(job.await_end())
    assert stack.unit("api-server")["restarts"] > 0
