"""Nothing that dies under a job makes it run twice, hang, or look better than it was."""

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
"""Job id -> when something of it was killed."""


def task_processes(job: Job, stage: str = "algorithm") -> tuple[int, int]:
    """The stage's task process and the worker that watches over it."""
    scheduler = job.stack.unit("scheduler")["pid"]
    task = until(lambda: job.task(stage)["pid"], f"the process of {stage} of {job}")
    fields = processes.stat(task)
    assert fields is not None
    worker = int(fields[1])
    assert {task, worker} <= set(processes.descendants(scheduler)) and worker != scheduler
    return task, worker


def mark(job: Job) -> None:
    KILLED[job.id] = time.time()
    job.stack.disturbed.add(job.id)


def kill_worker(job: Job) -> None:
    """As when the machine of the worker is lost: the worker first, or it would see its task end."""
    task, worker = task_processes(job)
    mark(job)
    for pid in (worker, task):
        os.kill(pid, signal.SIGKILL)


def tell_task_to_end(job: Job) -> None:
    """As when the worker's machine is drained."""
    mark(job)
    os.kill(task_processes(job)[0], signal.SIGTERM)


def kill_unit(stack: Stack, name: str) -> None:
    """SIGKILL to one of the stack's services and all that it started; the stack's supervisor has to notice."""
    unit = stack.unit(name)
    processes.kill_session(unit["pid"], unit["started"])


def ran_once(job: Job) -> None:
    """The algorithm ran once, to its end, in one pod, though its task was tried again."""
    job.has_ended("success", 70, "Job finished", exitCode=0, reason="Completed")
    for file in ("outputs/runs", "logs/runs"):
        assert len(job.published(file).splitlines()) == 1
    assert job.published("logs/algorithm.log") == b"begun\ndone\n"
    assert job.pods_made("algorithm") == 1


def taken_over_after(job: Job, stage: str = "algorithm") -> float:
    """Seconds from the kill until a next try had taken the pod over."""
    lines = [json.loads(line) for line in job.task_log(stage).splitlines() if "taking over pod" in line]
    assert lines, job.task_log(stage)
    return moment(lines[-1]["timestamp"]) - KILLED[job.id]


@pytest.mark.job(conf(ONCE.format(40)), once_running=kill_worker)
def test_a_worker_that_dies_under_an_algorithm(ended: Job, stack: Stack) -> None:
    ran_once(ended)
    stack.number("worker killed, pod taken over after", taken_over_after(ended))


@pytest.mark.job(conf(ONCE.format(12)), once_running=tell_task_to_end)
def test_a_worker_that_is_told_to_end_under_an_algorithm(ended: Job, stack: Stack) -> None:
    ran_once(ended)
    stack.number("task told to end, pod taken over after", taken_over_after(ended))


@pytest.mark.job(conf(ONCE.format(5)), once_running=kill_worker)
def test_an_algorithm_that_ends_while_nobody_watches_is_harvested(ended: Job) -> None:
    ran_once(ended)
    assert ended.task("algorithm")["try_number"] > 1


def test_a_scheduler_that_dies_under_two_jobs(stack: Stack) -> None:
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


def test_an_api_server_that_dies_under_a_job(stack: Stack) -> None:
    job = stack.submit(conf(ONCE.format(5)), name="api-server-dies").await_running("algorithm")
    mark(job)
    kill_unit(stack, "api-server")
    ran_once(job.await_end())
    assert stack.unit("api-server")["restarts"] > 0
