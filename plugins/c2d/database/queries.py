"""What the APIs ask about jobs. Only the API server uses this; it keeps a pool of connections."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from c2d.database import nonces
from c2d.database.connections import pools
from c2d.database.jobs import COLUMNS, JobRow, job_that_used
from c2d.database.nonces import Caller
from c2d.database.tables import jobs, stages
from c2d.errors import NonceUsed
from c2d.jobs.ids import API_JOB_ID
from c2d.jobs.status import Status
from c2d.market.orders import OrderKey


@dataclass(frozen=True)
class JobFilter:
    """Which jobs a request means: those that match every field that is set."""

    jobId: str | None = None
    agreementId: str | None = None
    owner: str | None = None

    @property
    def values(self) -> dict[str, str]:
        """The fields that are set, by name."""
        fields = {"jobId": self.jobId, "agreementId": self.agreementId, "owner": self.owner and self.owner.lower()}
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def matches_none(self) -> bool:
        """Whether it names a job id that an API never gave out. Then there is nothing to reveal, and no nonce to use up."""
        return self.jobId is not None and not API_JOB_ID.match(self.jobId)


_COLUMNS_OF_FILTER = {"jobId": jobs.c.jobId, "agreementId": jobs.c.agreementId, "owner": sa.func.lower(jobs.c.owner)}


def visible_to(provider: str | None) -> sa.ColumnElement[bool]:
    """The condition for jobs that came by an API: one Provider's, or (None) everybody's."""
    return jobs.c.provider.is_not(None) if provider is None else jobs.c.provider == provider


def matching(job_filter: JobFilter) -> sa.ColumnElement[bool]:
    """The condition that a filter stands for."""
    return sa.and_(sa.true(), *(_COLUMNS_OF_FILTER[name] == value for name, value in job_filter.values.items()))


class JobQueries:
    """The jobs in ``url`` as an API sees them."""

    def __init__(self, url: str):
        self.engine = pools(url).reads

    def find(self, caller: Caller, job_filter: JobFilter) -> list[JobRow]:
        """The caller's jobs that match, oldest first. The nonce is used up in the same statement.

        :raises NonceUsed: the nonce is not higher than the caller's last one.
        """
        if job_filter.matches_none:
            return []
        if caller.nonce is None:
            return self.see(caller.sees, job_filter)
        parameters = {"signer": caller.provider, "nonce": caller.nonce, **job_filter.values}
        with self.engine.connect() as c:
            rows = c.exec_driver_sql(_find_statement(c.dialect, frozenset(job_filter.values)), parameters).all()
        if not rows:
            raise NonceUsed(nonces.NONCE_USED)
        return [JobRow(*row) for row in rows if row[0] is not None]

    def see(self, provider: str | None, job_filter: JobFilter) -> list[JobRow]:
        """The jobs of one Provider (None: of all) that match, oldest first. For a request that was admitted already."""
        return self._rows(visible_to(provider), matching(job_filter))

    def running(self, provider: str | None) -> list[JobRow]:
        """The unfinished jobs that came by an API, oldest first; of one Provider (None: of all)."""
        return self._rows(visible_to(provider), jobs.c.dateFinished.is_(None))

    def job(self, job_id: str) -> JobRow | None:
        """One job, whoever's it is."""
        return next(iter(self._rows(jobs.c.jobId == job_id)), None)

    def result_keys(self, job_id: str) -> dict[str, str] | None:
        """See :meth:`c2d.database.jobs.JobRepository.result_keys`."""
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar()

    def unfinished_ids(self) -> list[str]:
        """The ids of all unfinished jobs, oldest first."""
        with self.engine.connect() as c:
            return list(c.execute(sa.select(jobs.c.jobId).where(jobs.c.dateFinished.is_(None)).order_by(jobs.c.dateCreated)).scalars())

    def ended_stages(self, job_id: str) -> list[dict[str, Any]]:
        """The records of the job's stages that have ended, in the order in which they were written."""
        with self.engine.connect() as c:
            return [dict(r._mapping) for r in c.execute(sa.select(stages).where(stages.c.jobId == job_id).order_by(stages.c.recorded))]

    def running_by_environment(self) -> dict[str, int]:
        """How many jobs run in each environment. Jobs in the queue do not count."""
        runs = jobs.c.dateFinished.is_(None) & (jobs.c.status > int(Status.WARMING_UP))
        count = sa.select(jobs.c.environment, sa.func.count().label("count")).where(runs).group_by(jobs.c.environment)
        with self.engine.connect() as c:
            return {r.environment: r[1] for r in c.execute(count)}

    def order_is_used(self, order: OrderKey) -> bool:
        """Whether a job has used up the order."""
        with self.engine.connect() as c:
            return job_that_used(c, order) is not None

    def _rows(self, *conditions: sa.ColumnElement[bool]) -> list[JobRow]:
        with self.engine.connect() as c:
            rows = c.execute(sa.select(*COLUMNS).where(*conditions).order_by(jobs.c.dateCreated))
            return [JobRow(**row._mapping) for row in rows]


@functools.cache
def _find_statement(dialect: sa.Dialect, fields: frozenset[str]) -> str:
    """Use up a nonce and find the signer's jobs, as text for the driver: compiling the statement took most of a status request's time.

    :param fields: the fields of :class:`JobFilter` that are set.
    """
    used = nonces.USE.cte("used")
    conditions = [_COLUMNS_OF_FILTER[name] == sa.bindparam(name) for name in sorted(fields)]
    with_jobs = used.outerjoin(jobs, sa.and_(jobs.c.provider == used.c.signer, *conditions))
    statement = sa.select(*COLUMNS).select_from(with_jobs).order_by(jobs.c.dateCreated)
    return str(statement.compile(dialect=dialect))
