"""How a job enters by an API and waits for its run, and what a Provider may see of it.

A job is accepted in one transaction: the caller's nonce, the job's row with its sealed conf, and the notification of its start. The conf
stays in the row until the job's run exists in Airflow, so whatever dies in between, the run is made once: run ids are unique.

Jobs are released to Airflow's run queue one by one, at most ``maxJobs`` of an environment at a time, so that the queue is ours and fair:
the next one is the oldest job of the owner who has the fewest jobs at work in the environment, and of several such owners of the one
whose last turn is longest ago. So a flood of one owner's jobs costs another owner one job's time at most, for each job at once.

Only the API server uses this; it keeps a pool of connections.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert

from c2d.database.jobs import COLUMNS, JobRow, new_job, use_orders, who_used
from c2d.database.tables import jobs, nonces, notifications, stages
from c2d.errors import AgreementInUse, NonceUsed, OrderUsed, RunRejected, TooManyJobs
from c2d.jobs.ids import API_JOB_ID
from c2d.jobs.model import Job
from c2d.jobs.status import TEXTS, Reason, Status
from c2d.market.compute_request import OrderKey

NONCE_LIMIT = 2**63


@dataclass(frozen=True)
class Caller:
    """Who asks.

    :param provider: the signer's address in lower case.
    :param nonce: to be used up by what is asked; None: replays are refused elsewhere, or in legacy mode not at all.
    :param everybody: every Provider's jobs are seen (legacy mode).
    """

    provider: str
    nonce: int | None
    everybody: bool = False

    @property
    def sees(self) -> str | None:
        """Whose jobs the caller may see; None: everybody's."""
        return None if self.everybody else self.provider


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are meant: all that is given must fit."""

    jobId: str | None = None
    agreementId: str | None = None
    owner: str | None = None


@functools.cache
def engines(url: str) -> tuple[sa.Engine, sa.Engine]:
    """One for changes, and one for questions that does not wait for the disk: they change nothing but the nonce."""

    def engine(**options: Any) -> sa.Engine:
        return sa.create_engine(url, pool_size=8, max_overflow=8, pool_timeout=20, pool_pre_ping=False, pool_recycle=1800, **options)

    # Said, for a server may have it off: what was answered with 200 is on the disk.
    change = {"connect_timeout": 5, "application_name": "c2d-api", "options": "-c synchronous_commit=on"}
    changes = engine(connect_args=change)
    question = {"connect_timeout": 5, "application_name": "c2d-api-read", "options": "-c synchronous_commit=off"}
    return changes, engine(connect_args=question, isolation_level="AUTOCOMMIT")


def close(url: str) -> None:
    """Closes the connections to ``url``."""
    for engine in engines(url):
        engine.dispose()


class Intake:
    """The jobs in ``url`` as an API sees them."""

    def __init__(self, url: str):
        self.engine, self.questions = engines(url)

    # -- a job enters ---------------------------------------------------------------------------------------------------

    def accept(self, job_id: str, environment: str, job: Job, caller: Caller, active_limit: int, orders: Sequence[OrderKey] = ()) -> None:
        """Takes the job in: nonce, row, conf and the notification of its start, or nothing but the nonce.

        :param job: sealed.
        :param active_limit: jobs that one owner may have that have not ended.
        :param orders: that are good for this job alone.
        :raises NonceUsed, AgreementInUse, TooManyJobs, c2d.errors.OrderUsed:
        """
        owner = job.owner.lower()
        values = {**new_job(job_id, environment, job), "provider": caller.provider, "conf": job.dump()}
        with self.engine.begin() as c:
            _use_nonce(c, caller)
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("c2d.owner." + owner))))
            own = sa.func.lower(jobs.c.owner) == owner
            mine = sa.select(sa.func.count()).where(own, jobs.c.dateFinished.is_(None), jobs.c.provider.is_not(None))
            full = (c.execute(mine).scalar() or 0) >= active_limit
            entered, used = False, None
            try:
                with c.begin_nested():  # what goes wrong in it leaves the nonce used up
                    entered = not full and bool(c.execute(insert(jobs).values(values).on_conflict_do_nothing()).rowcount)
                    if entered:
                        c.execute(insert(notifications).values(jobId=job_id, event="start"))
                        use_orders(c, job_id, job.owner, orders)
            except OrderUsed as e:
                used = e
        if used:
            raise used
        if full:
            raise TooManyJobs(f"owner: has {active_limit} jobs that have not ended; wait for one of them or stop it")
        if not entered:
            raise AgreementInUse("`agreementId` already in use for other job.")

    def is_used(self, order: OrderKey) -> bool:
        """Whether a job has used up the order."""
        with self.questions.connect() as c:
            return who_used(c, order) is not None

    # -- questions --------------------------------------------------------------------------------------------------------

    def find(self, caller: Caller, wanted: JobFilter) -> list[JobRow]:
        """The caller's jobs that are wanted, oldest first; the nonce is used up in the same statement.

        :raises NonceUsed:
        """
        if wanted.jobId is not None and not API_JOB_ID.match(wanted.jobId):
            return []  # none of ours, so there is nothing to tell and no nonce to use up (see new_job_id)
        if caller.nonce is None:
            return self.see(caller.sees, wanted)
        given = {"signer": caller.provider, "nonce": caller.nonce, **_given(wanted)}
        with self.questions.connect() as c:
            rows = c.exec_driver_sql(_question(frozenset(_given(wanted))), given).all()
        if not rows:
            raise NonceUsed(NONCE_TEXT)
        return [JobRow(*r) for r in rows if r[0] is not None]

    def see(self, provider: str | None, wanted: JobFilter) -> list[JobRow]:
        """The wanted jobs of one Provider (None: of all), oldest first, for a request that has been admitted already."""
        own = jobs.c.provider.is_not(None) if provider is None else jobs.c.provider == provider
        with self.questions.connect() as c:
            found = c.execute(sa.select(*COLUMNS).where(own, _fits(wanted)).order_by(jobs.c.dateCreated))
            return [JobRow(**r._mapping) for r in found]

    def running(self, provider: str | None) -> list[JobRow]:
        """The jobs that came by an API and have not ended, oldest first; of one Provider, or of all."""
        fits = [jobs.c.dateFinished.is_(None), jobs.c.provider.is_not(None) if provider is None else jobs.c.provider == provider]
        with self.questions.connect() as c:
            return [JobRow(**r._mapping) for r in c.execute(sa.select(*COLUMNS).where(*fits).order_by(jobs.c.dateCreated))]

    def job(self, job_id: str) -> JobRow | None:
        with self.questions.connect() as c:
            row = c.execute(sa.select(*COLUMNS).where(jobs.c.jobId == job_id)).one_or_none()
            return None if row is None else JobRow(**row._mapping)

    def result_keys(self, job_id: str) -> dict[str, str] | None:
        """As :meth:`c2d.database.jobs.JobRepository.result_keys`."""
        with self.questions.connect() as c:
            return c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar()

    def job_ids(self) -> list[str]:
        """Every job that has not ended, oldest first."""
        with self.questions.connect() as c:
            return list(c.execute(sa.select(jobs.c.jobId).where(jobs.c.dateFinished.is_(None)).order_by(jobs.c.dateCreated)).scalars())

    def stages_of(self, job_id: str) -> list[dict[str, Any]]:
        """What is known of the job's stages that have ended."""
        with self.questions.connect() as c:
            return [dict(r._mapping) for r in c.execute(sa.select(stages).where(stages.c.jobId == job_id).order_by(stages.c.recorded))]

    def current_jobs(self) -> dict[str, int]:
        """How many jobs are at work, by environment. Those that wait in the queue are not."""
        at_work = jobs.c.dateFinished.is_(None) & (jobs.c.status > int(Status.WARMING_UP))
        with self.questions.connect() as c:
            return {r.environment: r.n for r in c.execute(_count_by_environment(at_work))}

    def queue_position(self, row: JobRow) -> int | None:
        """How many jobs stand before this one in the queue, if it waits: as if nobody else came."""
        with self.questions.connect() as c:
            return {r.jobId: n for n, r in enumerate(c.execute(_queue(row.environment)))}.get(row.jobId)

    # -- stop -------------------------------------------------------------------------------------------------------------

    def stop(self, caller: Caller, wanted: JobFilter) -> list[JobRow]:
        """Notes that the wanted jobs are to stop, and ends those that have no run yet. Returns those whose run is still to be stopped.

        :raises NonceUsed:
        """
        if wanted.jobId is not None and not API_JOB_ID.match(wanted.jobId):
            return []
        with self.engine.begin() as c:
            _use_nonce(c, caller)
            own = jobs.c.provider.is_not(None) if caller.sees is None else jobs.c.provider == caller.sees
            unfinished = sa.select(jobs.c.conf, *COLUMNS).where(own, _fits(wanted), jobs.c.dateFinished.is_(None))
            found = c.execute(unfinished.order_by(jobs.c.jobId).with_for_update()).all()
            for row in found:
                c.execute(sa.update(jobs).where(jobs.c.jobId == row.jobId, jobs.c.stopreq == 0).values(stopreq=1))
                if row.conf is not None:
                    _end_without_run(c, row.jobId, Status.FINISHED, Reason.STOPPED, "the job was stopped before it had begun")
        return [JobRow(**{k: v for k, v in r._mapping.items() if k != "conf"}) for r in found if r.conf is None]

    def stops_to_repeat(self) -> list[tuple[str, str]]:
        """Jobs with a run that were asked to stop and have not ended: (job id, environment)."""
        asked = (jobs.c.stopreq == 1) & jobs.c.dateFinished.is_(None) & jobs.c.conf.is_(None)
        with self.questions.connect() as c:
            return [(r.jobId, r.environment) for r in c.execute(sa.select(jobs.c.jobId, jobs.c.environment).where(asked))]

    # -- release ----------------------------------------------------------------------------------------------------------

    def waiting(self) -> set[str]:
        """The environments with jobs that wait for their run."""
        with self.questions.connect() as c:
            return set(c.execute(sa.select(jobs.c.environment).where(jobs.c.conf.is_not(None)).distinct()).scalars())

    def release_next(self, environment: str, at_once: int, start: Callable[[str, str, dict[str, Any]], None]) -> str | None:
        """Makes the run of the job whose turn it is, if the environment has room. Returns its id.

        :param at_once: jobs of the environment that may have a run and no end.
        :param start: makes the run (environment, job id, conf); does nothing where it exists. Raises :class:`RunRejected` where the job
            can never have one, which ends the job; anything else leaves it in the queue.
        """
        with self.engine.begin() as c:
            # One at a time, whichever process: two that count at the same moment would both see room.
            c.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext("c2d.release." + environment))))
            has_run = (jobs.c.environment == environment) & jobs.c.dateFinished.is_(None) & jobs.c.conf.is_(None)
            if (c.execute(sa.select(sa.func.count()).where(has_run)).scalar() or 0) >= at_once:
                return None
            for candidate in c.execute(_queue(environment)):
                # Skipped: somebody stops it right now.
                mine = sa.select(jobs.c.conf).where(jobs.c.jobId == candidate.jobId, jobs.c.conf.is_not(None))
                conf = c.execute(mine.with_for_update(skip_locked=True)).scalar()
                if conf is None:
                    continue
                try:
                    start(environment, candidate.jobId, conf)
                except RunRejected as e:
                    _end_without_run(c, candidate.jobId, Status.FINISHED, Reason.NOT_STARTED, str(e))
                else:
                    c.execute(sa.update(jobs).where(jobs.c.jobId == candidate.jobId).values(conf=None, released=datetime.now(UTC)))
                return str(candidate.jobId)
        return None


NONCE_TEXT = "nonce: must be higher than every nonce that this signer has used before"


_NEW_NONCE = insert(nonces).values(signer=sa.bindparam("signer"), nonce=sa.bindparam("nonce"))
# Uses up a nonce; gives a row only if it was higher than the last one.
_RISING = _NEW_NONCE.on_conflict_do_update(
    index_elements=[nonces.c.signer], set_={"nonce": _NEW_NONCE.excluded.nonce}, where=nonces.c.nonce < _NEW_NONCE.excluded.nonce
).returning(nonces.c.signer)


@functools.cache
def _question(given: frozenset[str]) -> str:
    """Uses up a nonce and finds the signer's jobs, as the driver takes it: most of a status request's time was SQLAlchemy's way there.

    :param given: which fields of :class:`JobFilter` are.
    """
    used = _RISING.cte("used")
    fits = [_WANTED_COLUMNS[name] == sa.bindparam(name) for name in sorted(given)]
    with_jobs = used.outerjoin(jobs, sa.and_(jobs.c.provider == used.c.signer, *fits))
    found = sa.select(*COLUMNS).select_from(with_jobs).order_by(jobs.c.dateCreated)
    return str(found.compile(dialect=postgresql.dialect(paramstyle="pyformat")))


def _use_nonce(c: sa.Connection, caller: Caller) -> None:
    if caller.nonce is not None and c.execute(_RISING, {"signer": caller.provider, "nonce": caller.nonce}).scalar() is None:
        raise NonceUsed(NONCE_TEXT)


_WANTED_COLUMNS = {"jobId": jobs.c.jobId, "agreementId": jobs.c.agreementId, "owner": sa.func.lower(jobs.c.owner)}


def _given(wanted: JobFilter) -> dict[str, str]:
    given = {"jobId": wanted.jobId, "agreementId": wanted.agreementId, "owner": wanted.owner and wanted.owner.lower()}
    return {name: value for name, value in given.items() if value is not None}


def _fits(wanted: JobFilter) -> Any:
    return sa.and_(sa.true(), *(_WANTED_COLUMNS[name] == value for name, value in _given(wanted).items()))


def _queue(environment: str) -> Any:
    """The ids of an environment's waiting jobs in the order of their release, as far as it is known: an owner's jobs at work count as its
    first ones, and everybody's n-th job comes before anybody's (n+1)-th; among those, the owner whose last turn is longest ago.
    """
    owner = sa.func.lower(jobs.c.owner)
    here = jobs.c.environment == environment
    at_work = (
        sa.select(owner.label("owner"), sa.func.count().label("n"))
        .where(here, jobs.c.dateFinished.is_(None), jobs.c.conf.is_(None))
        .group_by(owner)
        .subquery("at_work")
    )
    waiting = (
        sa.select(
            jobs.c.jobId,
            jobs.c.dateCreated,
            owner.label("owner"),
            sa.func.row_number().over(partition_by=owner, order_by=(jobs.c.dateCreated, jobs.c.jobId)).label("n"),
        )
        .where(here, jobs.c.conf.is_not(None))
        .subquery("waiting")
    )
    served = jobs.alias("served")
    last_turn = (
        sa.select(sa.func.max(served.c.released))
        .where(served.c.environment == environment, sa.func.lower(served.c.owner) == waiting.c.owner)
        .scalar_subquery()
    )
    turn = waiting.c.n + sa.func.coalesce(at_work.c.n, 0)
    joined = waiting.outerjoin(at_work, at_work.c.owner == waiting.c.owner)
    return sa.select(waiting.c.jobId).select_from(joined).order_by(turn, last_turn.nulls_first(), waiting.c.dateCreated, waiting.c.jobId)


def _count_by_environment(condition: Any) -> Any:
    return sa.select(jobs.c.environment, sa.func.count().label("n")).where(condition).group_by(jobs.c.environment)


def _end_without_run(c: sa.Connection, job_id: str, status: Status, reason: Reason, message: str) -> None:
    details = {"exitCode": None, "OOMKilled": False, "reason": str(reason), "message": message}
    values = {
        "status": int(status),
        "statusText": TEXTS[status],
        "dateFinished": datetime.now(UTC),
        "terminationDetails": details,
        "conf": None,
    }
    c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(values))
    c.execute(insert(notifications).values(jobId=job_id, event="stop").on_conflict_do_nothing())
