"""Every process of the system is killed while jobs are in every stage. Each accepted job must end once, with its result.

Each process is killed twice: first while one job waits, one fetches, one computes and one is filtered; then while the last is published.
"""

from __future__ import annotations

import os
import signal
import textwrap
import time

import pytest

from local import processes
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import ONCE
from tests.e2e.test_operator_service import Operator, ended, events, operator  # noqa: F401 (a fixture)

RESULT = "open('/data/outputs/result', 'w').write('here')"
# A sparse file: written at once, but filter and publish need seconds to read it.
LARGE = f"{RESULT}\nopen('/data/outputs/large', 'wb').truncate(800 * 2**20)"
SLOW = {"id": "did:op:aa", "url": ["{DATA}/slow"]}


def kill(stack: Stack, unit: str) -> None:
    """Send SIGKILL to a process. `worker` means all descendants of the scheduler."""
    if unit == "worker":
        for pid in processes.descendants(stack.unit("scheduler")["pid"]):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    else:
        status = stack.unit(unit)
        processes.kill_session(status["pid"], status["started"])


def reached(job: Job, stage: str, after: tuple[str, ...]) -> bool:
    """Whether the stage's pod is running, or has ended already, too fast to be seen."""
    return job.is_running(stage) or any(job.is_running(s) for s in after) or ((row := job.row) is not None and row.dateFinished is not None)


@pytest.mark.parametrize("unit", ["api-server", "scheduler", "dag-processor", "worker", "postgres"])
def test_every_accepted_job_ends_once_with_its_result_when_a_process_is_killed(operator: Operator, stack: Stack, unit: str) -> None:
    fetching = operator.start(RESULT, inputs=[SLOW])
    computing = operator.start(f"{RESULT}\n" + textwrap.dedent(ONCE.format(15)))
    first = operator.start(f"{RESULT}\nimport time; time.sleep(15)", "single")
    waiting = operator.start(RESULT, "single")
    large = operator.start(LARGE)
    jobs = [fetching, computing, first, waiting, large]
    stack.disturbed |= {job.id for job in jobs}
    until(lambda: reached(large, "filter", ("publish",)), f"the filter of {large}")
    kill(stack, unit)
    until(lambda: reached(large, "publish", ()), f"publish of {large}")
    kill(stack, unit)
    killed = time.monotonic()
    for job in jobs:
        until(lambda job=job: ended(operator, job), f"the end of {job}")
    stack.number(f"{unit} killed twice, five jobs ended after", time.monotonic() - killed)
    for job in jobs:
        job.await_end().has_ended("success", 70, "Job finished", reason="Completed", exitCode=0)
        assert job.published("outputs/result") == b"here"
        assert job.pods_made("algorithm") == 1, f"the algorithm of {job} ran again"
        assert events(stack, job) == ["start", "stop"]
