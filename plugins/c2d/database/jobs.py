"""The jobs in PostgreSQL, and every statement that changes them.

Each job has a row with Ocean's field names, and each stage that has ended has one. A job's status only rises
(:func:`c2d.jobs.status.can_follow`). A job's end follows from the ends of its stages, so the row comes out the same whoever writes it:
the publish task, or after a crash the listener or the janitor.

Modules beside this one change a job's row only through the functions at the end of this file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from c2d.contract import read_answer
from c2d.database.connections import single_connection_engine, task_engine
from c2d.database.tables import jobs, notifications, stages, used_orders
from c2d.errors import JobIdTaken, OrderUsed
from c2d.jobs.files import Sealed
from c2d.jobs.model import Job
from c2d.jobs.status import Outcome, Reason, Stage, StageEnd, Status, can_follow, outcome, termination_details

if TYPE_CHECKING:
    from c2d.market.orders import OrderKey


@dataclass(frozen=True)
class JobRow:
    """A job as the APIs show it. Names are Ocean's; times are UTC."""

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


# The sealed conf and secret are left out: only two processes need them.
COLUMNS = [jobs.c[f.name] for f in dataclasses.fields(JobRow)]


class JobRepository:
    """The jobs in the database at ``url``.

    :param keep_connection: hold on to one connection between calls, for a process that does not fork afterwards. By default each call
        opens a connection.
    """

    def __init__(self, url: str, keep_connection: bool = False):
        self.engine = single_connection_engine(url) if keep_connection else task_engine(url)

    # -- reading ----------------------------------------------------------------------------------------------------------

    def job(self, job_id: str) -> JobRow | None:
        """The job's row, or None."""
        with self.engine.connect() as c:
            return _row(c, job_id)

    def unfinished_with_run(self) -> list[JobRow]:
        """The unfinished jobs that have a run, oldest first. A job that waits for its run is in :mod:`c2d.database.queue`."""
        with self.engine.connect() as c:
            has_run = jobs.c.dateFinished.is_(None) & jobs.c.conf.is_(None)
            rows = c.execute(sa.select(*COLUMNS).where(has_run).order_by(jobs.c.dateCreated))
            return [JobRow(**r._mapping) for r in rows]

    def stage_ends(self, job_id: str) -> dict[Stage, StageEnd]:
        """How the job's stages ended, for those that have ended."""
        with self.engine.connect() as c:
            return _stage_ends(c, job_id)

    def result_keys(self, job_id: str) -> dict[str, str] | None:
        """The keys of the job's results (:mod:`c2d.results.keys`). None: there are none, or they have been deleted."""
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar()

    def network_allowed(self, job_id: str) -> bool:
        """Whether the job's algorithm may have the network."""
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.allowNetworkAccess).where(jobs.c.jobId == job_id)).scalar() is True

    # -- changing ---------------------------------------------------------------------------------------------------------

    def open_job(self, job_id: str, environment: str, job: Job) -> JobRow:
        """The job's row. Makes it at :attr:`Status.WARMING_UP` if there is none yet: then the run was started in Airflow.

        :raises JobIdTaken: the id belongs to another job.
        """
        with self.engine.begin() as c:
            if insert_job(c, job_id, environment, job):
                c.execute(insert(notifications).values(jobId=job_id, event="start"))
            row = _row(c, job_id)
            accepted = c.execute(sa.select(jobs.c.confSha256).where(jobs.c.jobId == job_id)).scalar()
        if row is None or row.environment != environment:
            raise JobIdTaken(f"dag_run_id: {job_id} is in use for a job of another environment; choose another")
        if accepted is not None and accepted != job.digest():
            # Somebody who may start runs guessed the id of a waiting job, and would have worked in its Provider's name.
            raise JobIdTaken(f"dag_run_id: {job_id} is in use for another job; choose another")
        return row

    def set_status(self, job_id: str, status: Status) -> None:
        """Show the job at ``status``, unless it is further already."""
        with self.engine.begin() as c:
            _advance(c, job_id, status)

    def end_stage(
        self, job_id: str, end: StageEnd, started: datetime | None, finished: datetime | None, status: Status | None = None
    ) -> StageEnd:
        """Record how a stage ended, and the job's status that follows from it, in one transaction.

        A stage runs once, so the first record stays.

        :returns: the record that holds.
        """
        values = {
            "jobId": job_id,
            "stage": str(end.stage),
            "started": started,
            "finished": finished,
            "reason": str(end.reason),
            "exitCode": end.exit_code,
            "message": end.message,
            "answer": end.answer.to_json() if end.answer else {},
        }
        with self.engine.begin() as c:
            c.execute(insert(stages).values(values).on_conflict_do_nothing())
            if status is not None:
                _advance(c, job_id, status)
            return _stage_ends(c, job_id)[end.stage]

    def store_result_keys(self, job_id: str, keys: dict[str, str]) -> dict[str, str]:
        """Store the keys of the job's results, unless an earlier try has stored some.

        :returns: the keys that hold.
        """
        with self.engine.begin() as c:
            change_jobs(c, (jobs.c.jobId == job_id) & jobs.c.resultKeys.is_(None), resultKeys=keys)
            return dict(c.execute(sa.select(jobs.c.resultKeys).where(jobs.c.jobId == job_id)).scalar_one())

    def use_orders(self, job_id: str, owner: str, orders: Iterable[OrderKey]) -> None:
        """Use up orders for this job alone. Repeating it for the same job changes nothing.

        :raises OrderUsed: another job has used one of them.
        """
        with self.engine.begin() as c:
            use_orders(c, job_id, owner, orders)

    def allow_network(self, job_id: str, allowed: bool) -> None:
        """Record whether the job's algorithm may have the network."""
        with self.engine.begin() as c:
            change_jobs(c, jobs.c.jobId == job_id, allowNetworkAccess=allowed)

    def request_stop(self, job_id: str) -> None:
        """Record that the job is to stop. A job that has ended stays unchanged."""
        with self.engine.begin() as c:
            mark_stop_requested(c, job_id)

    def finish_job(self, job_id: str, manifest: dict[str, Any] | None = None, stores: dict[str, Any] | None = None) -> Outcome:
        """End the job: derive its outcome from its stages and write it with the results, once. Again only if its results came later.

        :param manifest: what publish wrote (``files``, ``withheld``). None: nothing was published.
        :param stores: where the results lie.
        :raises LookupError: there is no such job.
        """
        with self.engine.begin() as c:
            row = c.execute(sa.select(jobs.c.resultKeys, *COLUMNS).where(jobs.c.jobId == job_id).with_for_update()).one_or_none()
            if row is None:
                raise LookupError(f"no job {job_id}")
            end = outcome(_stage_ends(c, job_id), stopped=row.stopreq == 1)
            # 62 is the one final status that can change: results that were published later count (c2d.database.retention).
            republished = row.status == Status.UPLOAD_FAILED and end.status != Status.UPLOAD_FAILED and manifest is not None
            if row.dateFinished is not None and not republished:
                return Outcome(Status(row.status), row.terminationDetails)
            status = Status(row.status) if Status(row.status).final and not republished else end.status
            results: dict[str, Any] = {}
            if manifest is not None:
                results = {
                    "stores": stores,
                    "results": manifest["files"],
                    "withheld": manifest["withheld"],
                    "resultKeys": keys_after_publishing(row.resultKeys),
                }
            timed_out = row.stopreq == 0 and end.terminationDetails["reason"] == Reason.DEADLINE_EXCEEDED
            _end(c, job_id, status, end.terminationDetails, stopreq=2 if timed_out else row.stopreq, **results)
            if republished:  # a new notification, for the one that announced no results may be on its way
                c.execute(sa.delete(notifications).where(notifications.c.jobId == job_id, notifications.c.event == "stop"))
            c.execute(insert(notifications).values(jobId=job_id, event="stop").on_conflict_do_nothing())
            return Outcome(status, end.terminationDetails)


def keys_after_publishing(keys: dict[str, str] | None) -> dict[str, str] | None:
    """The result keys that stay once the results are published: only the consumer's own, if the results are sealed to the consumer."""
    return {n: k for n, k in keys.items() if n != "results"} if keys and "consumer" in keys else keys


def job_that_used(c: sa.Connection, order: OrderKey) -> str | None:
    """The id of the job that has used up an order. None: the order is unused."""
    same = sa.and_(*(used_orders.c[name] == value for name, value in order._asdict().items()))
    return c.execute(sa.select(used_orders.c.jobId).where(same)).scalar()


def _row(c: sa.Connection, job_id: str) -> JobRow | None:
    row = c.execute(sa.select(*COLUMNS).where(jobs.c.jobId == job_id)).one_or_none()
    return None if row is None else JobRow(**row._mapping)


def _stage_ends(c: sa.Connection, job_id: str) -> dict[Stage, StageEnd]:
    rows = c.execute(sa.select(stages).where(stages.c.jobId == job_id))
    return {Stage(r.stage): StageEnd(Stage(r.stage), Reason(r.reason), r.exitCode, r.message, read_answer(r.stage, r.answer)) for r in rows}


# -- every change of a job's row, within the caller's transaction ---------------------------------------------------------------------


def change_jobs(c: sa.Connection, which: sa.ColumnElement[bool], **values: Any) -> int:
    """Change the rows of the jobs that ``which`` selects. Returns how many. No other statement changes an existing row."""
    return c.execute(sa.update(jobs).where(which).values(**values)).rowcount


def insert_job(
    c: sa.Connection, job_id: str, environment: str, job: Job, provider: str | None = None, conf: dict[str, Any] | None = None
) -> bool:
    """Insert a job's first row, at :attr:`Status.WARMING_UP`. False: the id, or the agreementId of an unfinished job, is taken.

    :param provider: the address of the Provider that sent it. None: the run was started in Airflow.
    :param conf: the sealed job, for as long as it waits for its run.
    """
    values = {
        "jobId": job_id,
        "environment": environment,
        "owner": job.owner,
        "agreementId": job.agreementId,
        "chainId": job.chainId,
        "algoDID": job.algorithm.id or "raw",
        "inputDID": [i.id for i in job.inputs],
        "status": int(Status.WARMING_UP),
        "statusText": Status.WARMING_UP.text,
        "dateCreated": datetime.now(UTC),
        "secret": job.secret.sealed if isinstance(job.secret, Sealed) else None,
        "confSha256": job.digest(),
        "provider": provider,
        "conf": conf,
    }
    return c.execute(insert(jobs).values(values).on_conflict_do_nothing()).rowcount > 0


def mark_released(c: sa.Connection, job_id: str) -> None:
    """The job's run exists: it has left the queue."""
    change_jobs(c, jobs.c.jobId == job_id, conf=None, released=datetime.now(UTC))


def mark_stop_requested(c: sa.Connection, job_id: str) -> None:
    """The job is to stop, if it has not ended."""
    change_jobs(c, (jobs.c.jobId == job_id) & jobs.c.dateFinished.is_(None) & (jobs.c.stopreq == 0), stopreq=1)


def end_without_run(c: sa.Connection, job_id: str, reason: Reason, message: str) -> None:
    """End a job that never had a run."""
    _end(c, job_id, Status.FINISHED, termination_details(reason, message))
    c.execute(insert(notifications).values(jobId=job_id, event="stop").on_conflict_do_nothing())


def use_orders(c: sa.Connection, job_id: str, owner: str, orders: Iterable[OrderKey]) -> None:
    """Use up orders for this job alone.

    :raises OrderUsed: another job has used one of them. Roll the transaction back.
    """
    for order in sorted(orders):  # in one sequence for all, so that two transactions never wait for each other
        c.execute(insert(used_orders).values(**order._asdict(), jobId=job_id, owner=owner).on_conflict_do_nothing())
        if job_that_used(c, order) != job_id:
            raise OrderUsed(f"order: the order of {order.did} has been used for another job; order it again")


def _advance(c: sa.Connection, job_id: str, status: Status) -> None:
    old = c.execute(sa.select(jobs.c.status).where(jobs.c.jobId == job_id, jobs.c.dateFinished.is_(None)).with_for_update()).scalar()
    if old is not None and can_follow(Status(old), status):
        change_jobs(c, jobs.c.jobId == job_id, status=int(status), statusText=status.text)


def _end(c: sa.Connection, job_id: str, status: Status, details: dict[str, Any], **more: Any) -> None:
    end = {"status": int(status), "statusText": status.text, "dateFinished": datetime.now(UTC), "terminationDetails": details}
    change_jobs(c, jobs.c.jobId == job_id, **end, conf=None, **more)
