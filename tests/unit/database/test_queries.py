"""What the APIs see of jobs, and the nonce that each question uses up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from c2d.database.nonces import Caller
from c2d.database.queries import JobFilter, JobQueries
from c2d.database.queue import JobQueue
from c2d.errors import NonceUsed
from c2d.jobs.ids import new_job_id
from c2d.jobs.model import Job
from tests.unit.database.test_queue import NONCES, PROVIDER, PUBLIC_KEY, accept, caller, owner, queries, queue  # noqa: F401
from tests.unit.examples import job


def test_a_provider_finds_its_own_jobs_by_each_field(queries: JobQueries, queue: JobQueue) -> None:
    job_id = accept(queue, "b")
    accept(queue, "c")
    for job_filter in (JobFilter(jobId=job_id), JobFilter(owner=owner("B")), JobFilter(jobId=job_id, owner=owner("b"))):
        assert [row.jobId for row in queries.find(caller(), job_filter)] == [job_id]
        assert queries.find(caller("0x" + "bb" * 20), job_filter) == []
    assert queries.find(caller(), JobFilter(jobId=job_id, owner=owner("c"))) == []


def test_an_id_that_no_api_gave_out_uses_up_no_nonce(queries: JobQueries) -> None:
    assert queries.find(Caller(PROVIDER, 2**40), JobFilter(jobId="not-ours")) == []
    assert queries.find(Caller(PROVIDER, 1), JobFilter(owner="0x")) == []


def test_each_signers_nonces_must_rise(queries: JobQueries, queue: JobQueue) -> None:
    for provider, nonce, fits in (("0x1", 5, True), ("0x1", 5, False), ("0x1", 4, False), ("0x2", 4, True), ("0x1", 6, True)):
        if fits:
            assert queries.find(Caller(provider, nonce), JobFilter(owner="0x")) == []
        else:
            with pytest.raises(NonceUsed):
                queries.find(Caller(provider, nonce), JobFilter(owner="0x"))


def test_exactly_one_of_concurrent_replays_is_served(queries: JobQueries, queue: JobQueue) -> None:
    replayed = Caller(PROVIDER, next(NONCES))
    sealed = Job.parse(job(owner=owner("a")), "env").sealed(PUBLIC_KEY, None)

    def attempt(n: int) -> bool:
        try:
            if n % 3 == 0:
                queue.accept(new_job_id(), "env", sealed, replayed, 10)
            elif n % 3 == 1:
                queries.find(replayed, JobFilter(owner="0x"))
            else:
                queue.request_stop(replayed, JobFilter(owner="0x"))
        except NonceUsed:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(attempt, range(24))).count(True) == 1
