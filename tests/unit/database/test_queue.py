"""How a job enters the queue and leaves it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from c2d.crypto import ecies
from c2d.database.jobs import JobRepository
from c2d.database.nonces import Caller
from c2d.database.queries import JobFilter, JobQueries
from c2d.database.queue import JobQueue
from c2d.database.tables import jobs, notifications
from c2d.errors import AgreementInUse, JobIdTaken, NonceUsed, OrderUsed, RunRejected, TooManyJobs
from c2d.jobs.ids import new_job_id
from c2d.jobs.model import Job
from c2d.market.orders import OrderKey
from tests.unit.examples import job

PUBLIC_KEY = ecies.public_key(ecies.new_private_key())
PROVIDER = "0x" + "aa" * 20
NONCES = itertools.count(1)


@pytest.fixture
def queries(database_url: str) -> JobQueries:
    return JobQueries(database_url)


@pytest.fixture
def queue(database_url: str) -> JobQueue:
    return JobQueue(database_url)


@pytest.fixture
def repository(database_url: str) -> JobRepository:
    return JobRepository(database_url)


def caller(provider: str = PROVIDER) -> Caller:
    return Caller(provider, next(NONCES))


def owner(letter: str) -> str:
    return "0x" + letter * 40


def accept(queue: JobQueue, who: str = "a", limit: int = 1000, **changes: Any) -> str:
    job_id = new_job_id()
    a_job = Job.parse(job(owner=owner(who), agreementId=f"0x{next(NONCES)}", **changes), "env").sealed(PUBLIC_KEY, job_id)
    queue.accept(job_id, "env", a_job, caller(), limit)
    return job_id


def release(queue: JobQueue, at_once: int = 1, start: Callable[..., None] = lambda *_: None) -> str | None:
    return queue.release_next("env", at_once, start)


def test_an_accepted_job_waits_with_its_sealed_conf_and_a_notification(queue: JobQueue, repository: JobRepository) -> None:
    job_id = accept(queue)
    with queue.engine.connect() as c:
        row = c.execute(sa.select(jobs).where(jobs.c.jobId == job_id)).one()
        events = c.execute(sa.select(notifications.c.event).where(notifications.c.jobId == job_id)).scalars().all()
    assert (row.status, row.provider, events) == (1, PROVIDER, ["start"])
    assert "TOPSECRET" not in str(row.conf) and row.secret.startswith("0x")
    assert repository.unfinished_with_run() == [], "the janitor would end it, for it has no run"


def test_the_stages_find_the_row_that_the_api_inserted(queue: JobQueue, repository: JobRepository) -> None:
    job_id = accept(queue, **{"algorithm.algocustomdata": {"b": 1e22, "a": 1.0}})
    started: list[Any] = []
    release(queue, start=lambda environment, job_id, conf: started.append(conf))
    row = repository.open_job(job_id, "env", Job.parse(json.loads(json.dumps(started[0])), "env"))
    assert row.provider == PROVIDER
    with queue.engine.connect() as c:
        assert c.execute(sa.select(sa.func.count()).select_from(notifications)).scalar() == 1
    repository.finish_job(job_id)
    repository.finish_job(job_id)
    with queue.engine.connect() as c:
        assert c.execute(sa.select(notifications.c.event).order_by(notifications.c.id)).scalars().all() == ["start", "stop"]


def test_a_run_with_the_id_of_a_waiting_job_is_refused(queue: JobQueue, repository: JobRepository) -> None:
    job_id = accept(queue)  # somebody who may start runs has guessed it
    with pytest.raises(JobIdTaken, match="is in use for another job"):
        repository.open_job(job_id, "env", Job.parse(job(owner=owner("a")), "env"))


def ordered(queue: JobQueue, *orders: OrderKey) -> str:
    job_id = new_job_id()
    of_asset = {"id": "did:op:aa", "order": {"txId": "0x" + "Ab" * 32, "serviceId": "s"}}
    a_job = Job.parse(job(owner=owner("a"), agreementId=f"0x{next(NONCES)}", chainId=8996, **{"inputs.0": of_asset}), "env")
    queue.accept(job_id, "env", a_job.sealed(PUBLIC_KEY, job_id), caller(), 1000, orders)
    return job_id


def test_an_order_pays_for_one_job_if_the_settings_say_so(queries: JobQueries, queue: JobQueue, repository: JobRepository) -> None:
    order, other = OrderKey(8996, "0x" + "ab" * 32, "did:op:aa"), OrderKey(8996, "0x" + "cd" * 32, "did:op:aa")
    assert not queries.order_is_used(order)
    first = ordered(queue, order)
    assert queries.order_is_used(order) and not queries.order_is_used(other)
    with pytest.raises(OrderUsed, match="order: the order of did:op:aa has been used for another job"):
        ordered(queue, other, order)
    ordered(queue)
    ordered(queue, other)
    with queue.engine.connect() as c:
        assert c.execute(sa.select(sa.func.count()).select_from(jobs)).scalar() == 3, "a refused job leaves no row"
    repository.use_orders(first, owner("a"), [order])  # a later try of its own job
    with pytest.raises(OrderUsed):
        repository.use_orders("another", owner("a"), [order])


def test_the_limit_of_unfinished_jobs_holds_under_concurrency(queries: JobQueries, queue: JobQueue) -> None:
    def attempt(_: int) -> bool:
        try:
            accept(queue, limit=3)
        except TooManyJobs:
            return False
        except NonceUsed:  # the threads' nonces overtake each other
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(attempt, range(16))).count(True) <= 3
    assert len(queries.unfinished_ids()) <= 3


def test_an_agreement_id_is_free_again_after_its_job(queue: JobQueue, repository: JobRepository) -> None:
    sealed = Job.parse(job(owner=owner("a"), agreementId="0xa"), "env").sealed(PUBLIC_KEY, None)
    first = new_job_id()
    queue.accept(first, "env", sealed, caller(), 10)
    with pytest.raises(AgreementInUse):
        queue.accept(new_job_id(), "env", sealed, caller("0x" + "bb" * 20), 10)
    queue.request_stop(caller(), JobFilter(jobId=first))
    queue.accept(new_job_id(), "env", sealed, caller(), 10)


# -- release ---------------------------------------------------------------------------------------------------------------


def test_jobs_are_released_up_to_the_limit(queue: JobQueue, repository: JobRepository) -> None:
    first, second, third = (accept(queue) for _ in range(3))
    assert [release(queue, 2) for _ in range(3)] == [first, second, None]
    repository.finish_job(first)
    assert [release(queue, 2) for _ in range(2)] == [third, None]
    assert queue.environments_with_waiting_jobs() == set()


def test_a_flood_of_one_owner_does_not_delay_another(queue: JobQueue, repository: JobRepository) -> None:
    flood = [accept(queue, "a") for _ in range(6)]
    order = [release(queue)]
    late = [accept(queue, "b"), accept(queue, "b"), accept(queue, "c")]
    row = repository.job(late[0])
    assert row is not None and queue.queue_position(row) == 0
    for _ in range(8):
        repository.finish_job(str(order[-1]))
        order.append(release(queue))
    # The running job first. Then the owners take turns; the one that has waited longest for its turn comes first.
    assert order == [flood[0], late[0], late[2], flood[1], late[1], *flood[2:]]


def test_an_owner_with_running_jobs_comes_after_one_without(queue: JobQueue) -> None:
    a = [accept(queue, "a") for _ in range(5)]
    assert [release(queue, 3) for _ in range(3)] == a[:3]
    b = [accept(queue, "b") for _ in range(2)]
    assert [release(queue, 9) for _ in range(4)] == [*b, a[3], a[4]]


def test_a_run_that_could_not_be_started_is_started_later_and_once(queue: JobQueue) -> None:
    job_id = accept(queue)
    made: list[str] = []

    def crash(environment: str, job: str, conf: dict[str, Any]) -> None:
        made.append(job)
        raise RuntimeError("the API server died after it had made the run")

    with pytest.raises(RuntimeError):
        release(queue, 1, crash)
    assert release(queue, 1, lambda e, j, c: made.append(j)) == job_id  # AirflowRuns.start finds the existing run
    assert release(queue, 9) is None
    assert made == [job_id, job_id]


def test_a_job_that_airflow_rejects_ends_and_blocks_nobody(queue: JobQueue, repository: JobRepository) -> None:
    bad, good = accept(queue), accept(queue)

    def refuse(environment: str, job: str, conf: dict[str, Any]) -> None:
        if job == bad:
            raise RunRejected("Airflow refused the job")

    assert [release(queue, 1, refuse), release(queue, 1, refuse)] == [bad, good]
    row = repository.job(bad)
    assert row is not None and row.status == 70 and row.terminationDetails == {
        "exitCode": None, "OOMKilled": False, "reason": "NotStarted", "message": "Airflow refused the job"
    }  # fmt: skip


def test_several_servers_release_each_job_once(queue: JobQueue) -> None:
    ids = {accept(queue) for _ in range(12)}
    made: list[str] = []

    def start(environment: str, job: str, conf: dict[str, Any]) -> None:
        time.sleep(0.01)
        made.append(job)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: release(queue, 5, start), range(20)))
    assert len(made) == 5 == len(set(made)) and set(made) < ids


def test_a_stop_and_a_release_exclude_each_other(queue: JobQueue, repository: JobRepository) -> None:
    for _ in range(8):
        job_id = accept(queue)
        made: list[str] = []
        with ThreadPoolExecutor(2) as pool:
            released = pool.submit(release, queue, 99, lambda e, j, c, made=made: made.append(j))
            to_stop = pool.submit(queue.request_stop, caller(), JobFilter(jobId=job_id))
            released.result()
            # Either the run was made and must be stopped, or the job has ended without one.
            assert [r.jobId for r in to_stop.result()] == made
        row = repository.job(job_id)
        assert row is not None and row.stopreq == 1 and (row.dateFinished is None) == bool(made)
        repository.finish_job(job_id)
