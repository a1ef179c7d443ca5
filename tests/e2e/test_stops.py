"""Jobs that are stopped: their pod is deleted, their owner still gets the logs, and the row has the reason."""

from __future__ import annotations

import pytest

from tests.e2e.client import ENDED, Job, Stack, until
from tests.e2e.confs import SLEEP, conf, data_set, file

PARTS = """
    import time
    open("/data/outputs/part", "w").write("so far")
    print("working", flush=True)
    time.sleep(600)
"""

LARGE = "import os; open('/data/outputs/large', 'wb').write(os.urandom(32 << 20))"


def stopped(job: Job, stage: str) -> Job:
    """Stop a job in a stage and wait until it has ended."""
    job.await_running(stage).stop(stage)
    job.stack.number(f"stopped in {stage}, pod gone after", job.pod_gone_after(stage))
    return job.await_end()


@pytest.mark.job(conf(inputs=[data_set("aa", file("drip?token={KEY}"))]))
def test_a_job_can_be_stopped_while_it_fetches_its_data(job: Job) -> None:
    stopped(job, "configure").has_ended("failed", 70, "Job finished", stopreq=1, exitCode=None, reason="Stopped")
    assert job.tasks() == {"configure": "failed", "algorithm": "upstream_failed", "filter": "success", "publish": "failed"}
    assert job.pods_made("algorithm") == 0
    assert "adminlogs/publish.log" in job.files


@pytest.mark.job(conf(PARTS))
def test_a_job_that_is_stopped_while_it_computes_publishes_what_it_has(job: Job) -> None:
    stopped(job, "algorithm").has_ended("failed", 70, "Job finished", stopreq=1, OOMKilled=False, reason="Stopped")
    assert job.tasks() == {"configure": "success", "algorithm": "failed", "filter": "success", "publish": "failed"}
    assert job.published("outputs/part") == b"so far"
    assert job.published("logs/algorithm.log") == b"working\n"
    assert (job.pods_made("algorithm"), job.pods_made("publish")) == (1, 1)


@pytest.mark.job(conf(PARTS))
def test_a_run_that_is_marked_as_failed_ends_without_results(job: Job) -> None:
    job.await_running("algorithm").stop_run()
    job.stack.number("whole run ended, pod gone after", job.pod_gone_after("algorithm"))
    row = job.await_end().has_ended("failed", 70, "Job finished", stopreq=1, reason="Stopped")
    assert row.results == []
    assert job.pods_made("filter") == 0


def test_a_job_that_is_stopped_while_it_publishes_has_no_results(stack: Stack) -> None:
    with stack.stores.slowly():  # otherwise publish may end before Kubernetes reports that it runs
        job = stack.submit(conf(LARGE), "slow", "stop-in-publish").await_running("publish")
        job.stop("publish")
        stack.number("stopped in publish, pod gone after", job.pod_gone_after("publish"))
    row = job.await_end().has_ended("failed", 70, "Job finished", stopreq=1, exitCode=0, reason="Stopped")
    assert row.results == []


def test_a_stop_right_after_the_task_has_started_leaves_no_pod_behind(stack: Stack) -> None:
    job = stack.submit(conf(SLEEP.format(600)), name="early-stop")
    until(lambda: job.tasks().get("algorithm") == "running", f"the algorithm's task of {job} runs")
    job.stop("algorithm")
    until(lambda: job.run["state"] in ENDED, f"the end of {job}")
    job.await_end().has_ended("failed", 70, "Job finished", stopreq=1, reason="Stopped")
