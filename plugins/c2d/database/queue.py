"""The queue of accepted jobs: how a job enters by an API, waits for its run, and is released to Airflow.

One transaction accepts a job: the caller's nonce, the job's row with its sealed conf, and the notification of its start. The conf stays
in the row until the run exists in Airflow. So whatever crashes in between, the run is made once: run ids are unique.

Jobs are released to Airflow one by one, at most ``maxJobs`` of an environment at a time, so the order is ours and fair. The next job is
the oldest one of the owner with the fewest running jobs in the environment; between such owners, of the one whose last turn is longest
ago. A flood of one owner's jobs thus delays another owner by one job's time at most, for each job that runs at once.

Only the API server uses this; it keeps a pool of connections.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from c2d.database.connections import pools
from c2d.database.jobs import COLUMNS, JobRow, end_without_run, insert_job, mark_released, mark_stop_requested, use_orders
from c2d.database.nonces import Caller, use_nonce
from c2d.database.queries import JobFilter, matching, visible_to
from c2d.database.tables import jobs, notifications
from c2d.errors import AgreementInUse, OrderUsed, RunRejected, TooManyJobs
from c2d.jobs.model import Job
from c2d.jobs.status import Reason
from c2d.market.orders import OrderKey

_HAS_RUN = jobs.c.dateFinished.is_(None) & jobs.c.conf.is_(None)


class JobQueue:
    """The queue of the jobs in ``url``."""

    def __init__(self, url: str):
        self.engine, self.reads = pools(url).changes, pools(url).reads

    def accept(self, job_id: str, environment: str, job: Job, caller: Caller, active_limit: int, orders: Sequence[OrderKey] = ()) -> None:
        """Accept the job: nonce, row, conf and the notification of its start. A refusal uses up the nonce and nothing else.

        :param job: sealed.
        :param active_limit: how many unfinished jobs one owner may have.
        :param orders: the orders that this job uses up.
        :raises NonceUsed: the nonce is not higher than the caller's last one.
        :raises AgreementInUse: an unfinished job has the same agreementId.
        :raises TooManyJobs: the owner has reached ``active_limit``.
        :raises OrderUsed: another job has used up one of ``orders``.
        """
        owner = job.owner.lower()
        with self.engine.begin() as c:
            use_nonce(c, caller)
            _lock(c, "c2d.owner." + owner)
            unfinished = sa.select(sa.func.count()).where(
                sa.func.lower(jobs.c.owner) == owner, jobs.c.dateFinished.is_(None), jobs.c.provider.is_not(None)
            )
            if (c.execute(unfinished).scalar() or 0) >= active_limit:
                refusal: Exception | None = TooManyJobs(
                    f"owner: has {active_limit} jobs that have not ended; wait for one of them or stop it"
                )
            else:
                refusal = _enter(c, job_id, environment, job, caller, orders)
        # Raised after the commit: a refused request has used up its nonce.
        if refusal:
            raise refusal

    def queue_position(self, row: JobRow) -> int | None:
        """How many jobs come before this one, if it waits. Jobs that arrive later are not foreseen."""
        with self.reads.connect() as c:
            return {r.jobId: n for n, r in enumerate(c.execute(_turns(row.environment)))}.get(row.jobId)

    # -- stop -------------------------------------------------------------------------------------------------------------

    def request_stop(self, caller: Caller, job_filter: JobFilter) -> list[JobRow]:
        """Record that the caller's matching jobs are to stop, and end those that have no run yet.

        :returns: the jobs whose run must still be stopped.
        :raises NonceUsed: the nonce is not higher than the caller's last one.
        """
        if job_filter.matches_none:
            return []
        with self.engine.begin() as c:
            use_nonce(c, caller)
            unfinished = sa.select(jobs.c.conf, *COLUMNS).where(
                visible_to(caller.sees), matching(job_filter), jobs.c.dateFinished.is_(None)
            )
            rows = c.execute(unfinished.order_by(jobs.c.jobId).with_for_update()).all()
            for row in rows:
                mark_stop_requested(c, row.jobId)
                if row.conf is not None:
                    end_without_run(c, row.jobId, Reason.STOPPED, "the job was stopped before it began")
        return [JobRow(**{k: v for k, v in row._mapping.items() if k != "conf"}) for row in rows if row.conf is None]

    def requested_stops(self) -> list[tuple[str, str]]:
        """The unfinished jobs with a run that are to stop: (job id, environment)."""
        with self.reads.connect() as c:
            requested = sa.select(jobs.c.jobId, jobs.c.environment).where(_HAS_RUN, jobs.c.stopreq == 1)
            return [(r.jobId, r.environment) for r in c.execute(requested)]

    # -- release ----------------------------------------------------------------------------------------------------------

    def environments_with_waiting_jobs(self) -> set[str]:
        """The environments in which a job waits for its run."""
        with self.reads.connect() as c:
            return set(c.execute(sa.select(jobs.c.environment).where(jobs.c.conf.is_not(None)).distinct()).scalars())

    def release_next(self, environment: str, limit: int, start_run: Callable[[str, str, dict[str, Any]], None]) -> str | None:
        """Make the run of the job whose turn it is, if the environment has room.

        :param limit: how many unfinished jobs of the environment may have a run.
        :param start_run: makes the run (environment, job id, conf), and does nothing if it exists. :class:`RunRejected` ends the job;
            any other error leaves it in the queue.
        :returns: the id of the job that left the queue.
        """
        with self.engine.begin() as c:
            # One release at a time over all API servers: two that count at the same moment would both see room.
            _lock(c, "c2d.release." + environment)
            if (c.execute(sa.select(sa.func.count()).where(_HAS_RUN, jobs.c.environment == environment)).scalar() or 0) >= limit:
                return None
            for candidate in c.execute(_turns(environment)):
                conf_of = sa.select(jobs.c.conf).where(jobs.c.jobId == candidate.jobId, jobs.c.conf.is_not(None))
                conf = c.execute(conf_of.with_for_update(skip_locked=True)).scalar()
                if conf is None:  # locked: it is being stopped right now
                    continue
                try:
                    start_run(environment, candidate.jobId, conf)
                except RunRejected as e:
                    end_without_run(c, candidate.jobId, Reason.NOT_STARTED, str(e))
                else:
                    mark_released(c, candidate.jobId)
                return str(candidate.jobId)
        return None


def _lock(c: sa.Connection, name: str) -> None:
    """Hold the lock ``name``, over all processes, until the transaction ends."""
    c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))


def _enter(c: sa.Connection, job_id: str, environment: str, job: Job, caller: Caller, orders: Sequence[OrderKey]) -> Exception | None:
    """Insert an accepted job with its orders and its notification, or nothing: then return why."""
    try:
        with c.begin_nested():
            if not insert_job(c, job_id, environment, job, provider=caller.provider, conf=job.dump()):
                return AgreementInUse("`agreementId` already in use for other job.")
            c.execute(insert(notifications).values(jobId=job_id, event="start"))
            use_orders(c, job_id, job.owner, orders)
    except OrderUsed as e:
        return e
    return None


def _turns(environment: str) -> sa.Select[Any]:
    """The ids of an environment's waiting jobs in the order of their release.

    An owner's running jobs count as its first ones, and everybody's n-th job comes before anybody's (n+1)-th. Between those, the owner
    whose last turn is longest ago comes first.
    """
    owner = sa.func.lower(jobs.c.owner)
    here = jobs.c.environment == environment
    running = sa.select(owner.label("owner"), sa.func.count().label("jobs")).where(here, _HAS_RUN).group_by(owner).subquery("running")
    waiting = (
        sa.select(
            jobs.c.jobId,
            jobs.c.dateCreated,
            owner.label("owner"),
            sa.func.row_number().over(partition_by=owner, order_by=(jobs.c.dateCreated, jobs.c.jobId)).label("number"),
        )
        .where(here, jobs.c.conf.is_not(None))
        .subquery("waiting")
    )
    released = jobs.alias("released")
    last_turn = (
        sa.select(sa.func.max(released.c.released))
        .where(released.c.environment == environment, sa.func.lower(released.c.owner) == waiting.c.owner)
        .scalar_subquery()
    )
    turn = waiting.c.number + sa.func.coalesce(running.c.jobs, 0)
    joined = waiting.outerjoin(running, running.c.owner == waiting.c.owner)
    return sa.select(waiting.c.jobId).select_from(joined).order_by(turn, last_turn.nulls_first(), waiting.c.dateCreated, waiting.c.jobId)
