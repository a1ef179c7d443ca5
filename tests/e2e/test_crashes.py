"""Each process of the system killed while jobs stand in every stage: each accepted job ends once, with its result.

Two kills a process: the first while one job waits, one fetches, one computes and one is filtered; the second while that one is published.
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
# Sparse, so that it is made at once, and then takes the filter and publish seconds to read.
LARGE = f"{RESULT}\nopen('/data/outputs/large', 'wb').truncate(800 * 2**20)"
SLOW = {"id": "did:op:aa", "url": ["{DATA}/slow"]}


def kill(stack: Stack, unit: str) -> None:
    """SIGKILL; a worker is every process that the scheduler has made."""
    if unit == "worker":
        for pid in processes.descendants(stack.unit("scheduler")["pid"]):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
    else:
        it = stack.unit(unit)
        processes.kill_session(it["pid"], it["started"])


def reached(job: Job, stage: str, after: tuple[str, ...]) -> bool:
    """Whether the stage's pod works, or worked so fast that it was not seen to."""
    return job.is_running(stage) or any(job.is_running(s) for s in after) or ((row := job.row) is not None and row.dateFinished is not None)


@pytest.mark.parametrize("unit", ["api-server", "scheduler", "dag-processor", "worker", "postgres"])
def test_whatever_dies_every_accepted_job_ends_with_its_result(operator: Operator, stack: Stack, unit: str) -> None:
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
