"""What happens to a job's results after its end: publishing them once more, and their removal when their time is over. Knows SQL.

A result's removal has two steps, so that a store that does not answer cannot keep it readable: the row says ``removed`` and its key is
gone; then the store is emptied, as often as it takes, and the row forgets where it was.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from c2d.database.jobs import JobRepository
from c2d.database.tables import jobs, stages
from c2d.errors import InvalidJob
from c2d.jobs.status import Reason, Stage, Status
from c2d.settings.installation import Environment

UNPUBLISHED_KEPT = timedelta(hours=24)
"""How long the volume of a job stays whose results could not be published."""

AT_ONCE = 500
"""Jobs of an environment that one sweep removes the results of."""


class NotRepublishable(InvalidJob):
    """This job's results cannot be published again; the text says why."""


@dataclass(frozen=True)
class StoredResults:
    """Where results lie that are to be removed; ``stores`` is :attr:`c2d.database.jobs.JobRow.stores`."""

    jobId: str
    stores: dict[str, Any]


class Retention:
    """The results of jobs that have ended."""

    def __init__(self, store: JobRepository):
        self.engine = store.engine

    # -- publishing again ------------------------------------------------------------------------------------------------------

    def ask_republish(self, job_id: str, now: datetime) -> None:
        """Asks for the job's results to be published once more; the API server sees to it.

        :raises NotRepublishable: they are published, or not there any more.
        """
        with self.engine.begin() as c:
            row = c.execute(
                sa.select(jobs.c.status, jobs.c.dateFinished, jobs.c.terminationDetails).where(jobs.c.jobId == job_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise NotRepublishable(f"there is no job {job_id}")
            if row.dateFinished is None:
                raise NotRepublishable(f"job {job_id} has not ended: it is at {row.status}")
            if row.status != Status.UPLOAD_FAILED or (row.terminationDetails or {}).get("reason") != Reason.PUBLISH_FAILED:
                raise NotRepublishable(f"job {job_id} ended at {row.status}: there is nothing that was not published")
            if now - row.dateFinished > UNPUBLISHED_KEPT:
                hours = int(UNPUBLISHED_KEPT.total_seconds() // 3600)
                raise NotRepublishable(
                    f"job {job_id} ended at {row.dateFinished:%Y-%m-%d %H:%M} UTC; its volume was kept for {hours} hours"
                )
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(republish=now))

    def republish_asked(self) -> list[tuple[str, str]]:
        """Job and environment of what is to be published again."""
        with self.engine.connect() as c:
            found = c.execute(sa.select(jobs.c.jobId, jobs.c.environment).where(jobs.c.republish.is_not(None)).order_by(jobs.c.republish))
            return [(r.jobId, r.environment) for r in found]

    def forget_publish(self, job_id: str) -> None:
        """Forgets that publish has failed, so that its task runs it again. The job stays at its number until that has gone well."""
        failed = (stages.c.jobId == job_id) & (stages.c.stage == str(Stage.PUBLISH)) & (stages.c.reason != str(Reason.COMPLETED))
        with self.engine.begin() as c:
            c.execute(sa.delete(stages).where(failed))

    def republish_begun(self, job_id: str) -> None:
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(republish=None))

    # -- expiry ------------------------------------------------------------------------------------------------------------------

    def expire(self, env: Environment, now: datetime) -> int:
        """Marks the results whose time is over as removed, and deletes the keys that they are encrypted with. Returns how many jobs."""
        marked = 0
        in_ipfs = _place("results")["type"].astext == "ipfs"
        for kept, which in ((env.STORAGE_EXPIRY * 3600, sa.true()), (env.IPFS_EXPIRY_TIME, in_ipfs)):
            if not kept:
                continue
            over = (jobs.c.environment == env.id) & (jobs.c.removed == 0) & (jobs.c.dateFinished < now - timedelta(seconds=kept))
            published = jobs.c.results != sa.text("'[]'::jsonb")
            directory = sa.text("""coalesce(stores, '{"results": {"type": "directory"}}'::jsonb)""")  # rows from before there was a choice
            with self.engine.begin() as c:
                done = c.execute(sa.update(jobs).where(over, published, which).values(removed=1, resultKeys=None, stores=directory))
            marked += done.rowcount
        return marked

    def expire_gone(self, known: Collection[str], now: datetime) -> int:
        """The same for jobs of environments that are not ``known`` any more, by the term that was theirs when they were published."""
        term = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(_place("results")["keptSeconds"].astext, sa.Float))
        over = jobs.c.environment.not_in(known) & (jobs.c.removed == 0) & (jobs.c.dateFinished + term < now)
        with self.engine.begin() as c:
            return c.execute(sa.update(jobs).where(over).values(removed=1, resultKeys=None)).rowcount

    def abandon(self, job_id: str, stores: dict[str, Any]) -> None:
        """Notes that publishing was stopped: what has arrived already is nobody's."""
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id, jobs.c.results == sa.text("'[]'::jsonb")).values(stores=stores))

    def to_remove(self, environment: str) -> list[StoredResults]:
        """What is marked as removed, or was stopped before it was published, and lies in a store still. Some of it, where it is much."""
        nobodys = (jobs.c.removed == 1) | (jobs.c.results == sa.text("'[]'::jsonb"))
        wanted = (jobs.c.environment == environment) & jobs.c.dateFinished.is_not(None) & nobodys & jobs.c.stores.is_not(None)
        with self.engine.connect() as c:
            # In no order: what can never be removed does not stand before the rest for ever.
            found = c.execute(sa.select(jobs.c.jobId, jobs.c.stores).where(wanted).order_by(sa.func.random()).limit(AT_ONCE))
            return [StoredResults(r.jobId, r.stores) for r in found]

    def gone(self, known: Collection[str]) -> list[str]:
        """The environments that are not ``known`` any more and have something in a store."""
        wanted = jobs.c.environment.not_in(known) & jobs.c.stores.is_not(None)
        with self.engine.connect() as c:
            return list(c.scalars(sa.select(jobs.c.environment).where(wanted).distinct()))

    def removed(self, job_id: str) -> None:
        """Nothing of the job is in any store."""
        with self.engine.begin() as c:
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(stores=None))

    def shared(self, job_id: str, cid: str) -> bool:
        """Whether another job has results of the very same content, which one pin keeps for both."""
        same = sa.or_(*(_place(name)["cid"].astext == cid for name in ("results", "adminLogs")))
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.jobId).where(jobs.c.jobId != job_id, jobs.c.removed == 0, same).limit(1)).first() is not None


def _place(name: str) -> Any:
    return jobs.c.stores[name]
