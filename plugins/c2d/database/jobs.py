"""The jobs' tables in PostgreSQL.

Each job has a row with Ocean's field names, and each stage that has ended has one. Every change goes through :class:`JobRepository`, which
keeps the order of the numbers (:func:`c2d.jobs.status.can_follow`). A job's end is derived from the ends of its stages, so the row comes
out the same whoever writes it: the publish task, or after a crash the listener or the janitor.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from c2d.database.tables import jobs, notifications, stages, used_orders
from c2d.errors import JobIdTaken, OrderUsed
from c2d.jobs.model import Job, Sealed
from c2d.jobs.status import FINAL, TEXTS, Outcome, Reason, Stage, StageEnd, Status, can_follow, outcome

if TYPE_CHECKING:
    from c2d.market.compute_request import OrderKey


@dataclass(frozen=True)
class JobRow:
    """A job as the outside sees it; names are Ocean's. Times are UTC."""

    jobId: str
    environment: str
    owner: str
    agreementId: str | None
    chainId: int | None
    algoDID: str
    inputDID: list[str]
    status: int
    statusText: str
    dateCreated: datetime
    dateFinished: datetime | None
    stopreq: int
    removed: int
    results: list[dict[str, Any]]
    withheld: list[dict[str, Any]]
    terminationDetails: dict[str, Any] | None
    provider: str | None = None
    stores: dict[str, Any] | None = None


# What a reader of jobs gets: not the sealed conf and secret, which only two processes need.
COLUMNS = [jobs.c[f.name] for f in dataclasses.fields(JobRow)]


# What is recorded is on the disk, also where the server's default is not to wait (the laptop's): else a stage's end could be forgotten.
_CONNECT = {"connect_timeout": 10, "application_name": "c2d", "options": "-c synchronous_commit=on"}


@functools.cache
def _engine(url: str) -> sa.Engine:
    # No pool: task processes are forked from the scheduler, and a connection must never be shared over a fork.
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=_CONNECT)


class JobRepository:
    """The jobs' tables behind ``url``.

    :param keep: hold on to one connection between calls; only for a process that does not fork afterwards. Else each call opens one.
    """

    def __init__(self, url: str, keep: bool = False):
        self.engine = sa.create_engine(url, pool_size=1, pool_pre_ping=True, connect_args=_CONNECT) if keep else _engine(url)

    def open_job(self, job_id: str, environment: str, job: Job) -> JobRow:
        """The job's row; makes it at :attr:`Status.WARMING_UP` where there is none yet.

        :raises JobIdTaken: the id belongs to another job.
        """
        with self.engine.begin() as c:
            if c.execute(insert(jobs).values(new_job(job_id, environment, job)).on_conflict_do_nothing()).rowcount:
                c.execute(insert(notifications).values(jobId=job_id, event="start"))
            row = self._row(c, job_id)
            accepted = c.execute(sa.select(jobs.c.confSha256).where(jobs.c.jobId == job_id)).scalar()
        if row is None or row.environment != environment:
            raise JobIdTaken(f"dag_run_id: {job_id} is in use for a job of another environment; choose another")
        if accepted is not None and accepted != job.digest():
            # Somebody who may start runs has guessed the id of a job that waits for its own, and would work in its Provider's name.
            raise JobIdTaken(f"dag_run_id: {job_id} is in use for another job; choose another")
        return row

    def job(self, job_id: str) -> JobRow | None:
        """The job's row, or None."""
        with self.engine.connect() as c:
            return self._row(c, job_id)

    def unfinished(self) -> list[JobRow]:
        """The jobs that have no end yet and a run, oldest first. (A job that waits for its run is the dispatcher's: c2d.database.queue.)"""
        with self.engine.connect() as c:
            has_run = jobs.c.dateFinished.is_(None) & jobs.c.conf.is_(None)
            rows = c.execute(sa.select(*COLUMNS).where(has_run).order_by(jobs.c.dateCreated))
            return [JobRow(**r._mapping) for r in rows]

    def set_status(self, job_id: str, status: Status) -> None:
        """Shows the job at ``status`` unless it is further already."""
        with self.engine.begin() as c:
            self._advance(c, job_id, status)

    def stage_ends(self, job_id: str) -> dict[Stage, StageEnd]:
        """How the job's stages ended, as far as they have."""
        with self.engine.connect() as c:
            return self._ends(c, job_id)

    def end_stage(
        self, job_id: str, end: StageEnd, started: datetime | None, finished: datetime | None, status: Status | None = None
    ) -> StageEnd:
        """Records how a stage ended, and the job's number that follows from it, in one transaction.

        The first record stays: a stage runs once. Returns the record that holds.
        """
        values = {
            "jobId": job_id,
            "stage": str(end.stage),
            "started": started,
            "finished": finished,
            "reason": str(end.reason),
            "exitCode": end.exit_code,
            "message": end.message,
            "answer": end.answer,
        }
        with self.engine.begin() as c:
            c.execute(insert(stages).values(values).on_conflict_do_nothing())
            if status is not None:
                self._advance(c, job_id, status)
            return self._ends(c, job_id)[end.stage]

    def result_keys(self, job_id: str) -> dict[str, str] | None:
        """The keys of the job's results (:mod:`c2d.results.keys`); None: there are none, or they have been deleted."""
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar()

    def keep_keys(self, job_id: str, new: dict[str, str]) -> dict[str, str]:
        """The keys of the job's results: ``new``, or those of a former try."""
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id, jobs.c.resultKeys.is_(None)).values(resultKeys=new))
            return dict(c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar_one())

    def use_orders(self, job_id: str, owner: str, orders: Iterable[OrderKey]) -> None:
        """Uses up orders for this job alone; again for the same job is fine.

        :raises OrderUsed: another job has used one of them.
        """
        with self.engine.begin() as c:
            use_orders(c, job_id, owner, orders)

    def allow_network(self, job_id: str, allowed: bool) -> None:
        """Notes whether the job's algorithm may have the network."""
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(allowNetworkAccess=allowed))

    def network_allowed(self, job_id: str) -> bool:
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.allowNetworkAccess).where(jobs.c.jobId == job_id)).scalar() is True

    def request_stop(self, job_id: str) -> None:
        """Notes that somebody asked for the job to stop; a job that has ended stays as it is."""
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id, jobs.c.dateFinished.is_(None), jobs.c.stopreq == 0).values(stopreq=1))

    def finish_job(self, job_id: str, manifest: dict[str, Any] | None = None, stores: dict[str, Any] | None = None) -> Outcome:
        """Ends the job: derives the outcome from its stages and writes it with the results, once; again if its results came later.

        :param manifest: what publish wrote (``files``, ``withheld``); None where nothing was published.
        :param stores: where that lies.
        :raises LookupError: there is no such job.
        """
        with self.engine.begin() as c:
            row = c.execute(sa.select(jobs.c.resultKeys, *COLUMNS).where(jobs.c.jobId == job_id).with_for_update()).one_or_none()
            if row is None:
                raise LookupError(f"no job {job_id}")
            end = outcome(self._ends(c, job_id), stopped=row.stopreq == 1)
            # 62 alone is not for ever: what was published in the end has its results (c2d.database.retention).
            republished = row.status == Status.UPLOAD_FAILED and end.status != Status.UPLOAD_FAILED and manifest is not None
            if row.dateFinished is not None and not republished:
                return Outcome(Status(row.status), row.terminationDetails)
            number = Status(row.status) if row.status in FINAL and not republished else end.status
            stopreq = 2 if row.stopreq == 0 and end.terminationDetails["reason"] == Reason.DEADLINE_EXCEEDED else row.stopreq
            values: dict[str, Any] = {
                "status": int(number),
                "statusText": TEXTS[number],
                "dateFinished": datetime.now(UTC),
                "terminationDetails": end.terminationDetails,
                "stopreq": stopreq,
                "conf": None,
            }
            if manifest is not None:
                values |= {
                    "stores": stores,
                    "results": manifest["files"],
                    "withheld": manifest["withheld"],
                    "resultKeys": keys_after_publishing(row.resultKeys),
                }
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(values))
            if republished:  # who was told that there are no results is told once more; as a new one, for the former may be on its way
                c.execute(sa.delete(notifications).where(notifications.c.jobId == job_id, notifications.c.event == "stop"))
            c.execute(insert(notifications).values(jobId=job_id, event="stop").on_conflict_do_nothing())
            return Outcome(number, end.terminationDetails)

    def _row(self, c: sa.Connection, job_id: str) -> JobRow | None:
        row = c.execute(sa.select(*COLUMNS).where(jobs.c.jobId == job_id)).one_or_none()
        return None if row is None else JobRow(**row._mapping)

    def _advance(self, c: sa.Connection, job_id: str, status: Status) -> None:
        old = c.execute(sa.select(jobs.c.status).where(jobs.c.jobId == job_id, jobs.c.dateFinished.is_(None)).with_for_update()).scalar()
        if old is not None and can_follow(Status(old), status):
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(status=int(status), statusText=TEXTS[status]))

    def _ends(self, c: sa.Connection, job_id: str) -> dict[Stage, StageEnd]:
        rows = c.execute(sa.select(stages).where(stages.c.jobId == job_id))
        return {Stage(r.stage): StageEnd(Stage(r.stage), Reason(r.reason), r.exitCode, r.message, r.answer) for r in rows}


def keys_after_publishing(keys: dict[str, str] | None) -> dict[str, str] | None:
    """The result keys to keep once the results are published: only the consumer's own, if the results are sealed to the consumer."""
    return {n: k for n, k in keys.items() if n != "results"} if keys and "consumer" in keys else keys


def new_job(job_id: str, environment: str, job: Job) -> dict[str, Any]:
    """The first row of a job, at :attr:`Status.WARMING_UP`."""
    return {
        "jobId": job_id,
        "environment": environment,
        "owner": job.owner,
        "agreementId": job.agreementId,
        "chainId": job.chainId,
        "algoDID": job.algorithm.id or "raw",
        "inputDID": [i.id for i in job.inputs],
        "status": int(Status.WARMING_UP),
        "statusText": TEXTS[Status.WARMING_UP],
        "dateCreated": datetime.now(UTC),
        "secret": job.secret.sealed if isinstance(job.secret, Sealed) else None,
        "confSha256": job.digest(),
    }


def use_orders(c: sa.Connection, job_id: str, owner: str, orders: Iterable[OrderKey]) -> None:
    """Uses up orders for this job alone.

    :raises OrderUsed: another job has used one of them; the transaction is to be rolled back.
    """
    for order in sorted(orders):  # in one sequence for all, so that two never wait for each other
        c.execute(insert(used_orders).values(**order._asdict(), jobId=job_id, owner=owner).on_conflict_do_nothing())
        if who_used(c, order) != job_id:
            raise OrderUsed(f"order: the order of {order.did} has been used for another job; order it again")


def who_used(c: sa.Connection, order: OrderKey) -> str | None:
    """The id of the job that has used up an order; None: it is still good."""
    same = sa.and_(*(used_orders.c[name] == value for name, value in order._asdict().items()))
    return c.execute(sa.select(used_orders.c.jobId).where(same)).scalar()


def migrate(url: str) -> None:
    """Brings the tables in ``url`` to this version; safe to call at every start, from several processes at once."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["url"] = url
    command.upgrade(config, "head")
