"""What happens to a job's results after its end: publishing them once more, and removing them when they expire.

Removal has two steps, so that a store that does not answer cannot keep a result readable. First the row says ``removed`` and its key is
deleted. Then the store is emptied, as often as it takes, and the row forgets where the results were.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from c2d.database.jobs import JobRepository, change_jobs
from c2d.database.tables import jobs, stages
from c2d.errors import NotRepublishable
from c2d.jobs.status import Reason, Stage, Status
from c2d.settings.environment import Environment

UNPUBLISHED_RETENTION = timedelta(hours=24)
"""How long the volume of a job stays if its results could not be published."""

JOBS_PER_SWEEP = 500
"""How many jobs' results one sweep removes from an environment's stores."""

_NO_RESULTS = jobs.c.results == sa.text("'[]'::jsonb")


@dataclass(frozen=True)
class StoredResults:
    """Where the results of a job lie. ``stores`` is :attr:`c2d.database.jobs.JobRow.stores`."""

    jobId: str
    stores: dict[str, Any]


class Retention:
    """The results of jobs that have ended."""

    def __init__(self, repository: JobRepository):
        self.engine = repository.engine

    # -- publishing again ------------------------------------------------------------------------------------------------------

    def request_republish(self, job_id: str, now: datetime) -> None:
        """Request that the job's results are published once more. The API server does it.

        :raises NotRepublishable: they are published, or they no longer exist.
        """
        with self.engine.begin() as c:
            row = c.execute(
                sa.select(jobs.c.status, jobs.c.dateFinished, jobs.c.terminationDetails).where(jobs.c.jobId == job_id).with_for_update()
            ).one_or_none()
            if row is None:
                raise NotRepublishable(f"there is no job {job_id}")
            if row.dateFinished is None:
                raise NotRepublishable(f"job {job_id} has not ended: its status is {row.status}")
            if row.status != Status.UPLOAD_FAILED or (row.terminationDetails or {}).get("reason") != Reason.PUBLISH_FAILED:
                raise NotRepublishable(f"job {job_id} ended with status {row.status}: all its results are published")
            if now - row.dateFinished > UNPUBLISHED_RETENTION:
                hours = int(UNPUBLISHED_RETENTION.total_seconds() // 3600)
                raise NotRepublishable(
                    f"job {job_id} ended at {row.dateFinished:%Y-%m-%d %H:%M} UTC; its volume was kept for {hours} hours"
                )
            change_jobs(c, jobs.c.jobId == job_id, republish=now)

    def requested_republishes(self) -> list[tuple[str, str]]:
        """The jobs to publish once more: (job id, environment)."""
        with self.engine.connect() as c:
            requested = sa.select(jobs.c.jobId, jobs.c.environment).where(jobs.c.republish.is_not(None)).order_by(jobs.c.republish)
            return [(r.jobId, r.environment) for r in c.execute(requested)]

    def forget_publish(self, job_id: str) -> None:
        """Delete the record that publish failed, so that its task runs again. The job's status stays until that has succeeded."""
        failed = (stages.c.jobId == job_id) & (stages.c.stage == str(Stage.PUBLISH)) & (stages.c.reason != str(Reason.COMPLETED))
        with self.engine.begin() as c:
            c.execute(sa.delete(stages).where(failed))

    def republish_begun(self, job_id: str) -> None:
        """The request has been met: publish's task runs again."""
        with self.engine.begin() as c:
            change_jobs(c, jobs.c.jobId == job_id, republish=None)

    # -- expiry ------------------------------------------------------------------------------------------------------------------

    def expire(self, env: Environment, now: datetime) -> int:
        """Mark expired results as removed, and delete the keys that they are encrypted with.

        :returns: the number of jobs.
        """
        marked = 0
        in_ipfs = _store("results")["type"].astext == "ipfs"
        for seconds, which in ((env.STORAGE_EXPIRY * 3600, sa.true()), (env.IPFS_EXPIRY_TIME, in_ipfs)):
            if not seconds:
                continue
            over = (jobs.c.environment == env.id) & (jobs.c.removed == 0) & (jobs.c.dateFinished < now - timedelta(seconds=seconds))
            volume = sa.text("""coalesce(stores, '{"results": {"type": "directory"}}'::jsonb)""")  # rows older than the column
            with self.engine.begin() as c:
                marked += change_jobs(c, over & ~_NO_RESULTS & which, removed=1, resultKeys=None, stores=volume)
        return marked

    def expire_in_former_environments(self, environments: Collection[str], now: datetime) -> int:
        """Do the same for jobs of environments other than ``environments``, by the term that held when they were published."""
        term = sa.func.make_interval(0, 0, 0, 0, 0, 0, sa.cast(_store("results")["keptSeconds"].astext, sa.Float))
        over = jobs.c.environment.not_in(environments) & (jobs.c.removed == 0) & (jobs.c.dateFinished + term < now)
        with self.engine.begin() as c:
            return change_jobs(c, over, removed=1, resultKeys=None)

    def abandon(self, job_id: str, stores: dict[str, Any]) -> None:
        """Record that publishing was stopped: the janitor deletes the partial upload."""
        with self.engine.begin() as c:
            change_jobs(c, (jobs.c.jobId == job_id) & _NO_RESULTS, stores=stores)

    def results_to_remove(self, environment: str) -> list[StoredResults]:
        """The results that are marked as removed or abandoned, and still lie in a store; at most :data:`JOBS_PER_SWEEP` jobs."""
        removable = (jobs.c.removed == 1) | _NO_RESULTS
        selected = (jobs.c.environment == environment) & jobs.c.dateFinished.is_not(None) & removable & jobs.c.stores.is_not(None)
        with self.engine.connect() as c:
            # In random order, so that results that can never be removed do not block the others for ever.
            rows = c.execute(sa.select(jobs.c.jobId, jobs.c.stores).where(selected).order_by(sa.func.random()).limit(JOBS_PER_SWEEP))
            return [StoredResults(r.jobId, r.stores) for r in rows]

    def former_environments(self, environments: Collection[str]) -> list[str]:
        """The environments other than ``environments`` whose jobs have something in a store."""
        former = jobs.c.environment.not_in(environments) & jobs.c.stores.is_not(None)
        with self.engine.connect() as c:
            return list(c.scalars(sa.select(jobs.c.environment).where(former).distinct()))

    def removed(self, job_id: str) -> None:
        """Record that nothing of the job is left in any store."""
        with self.engine.begin() as c:
            change_jobs(c, jobs.c.jobId == job_id, stores=None)

    def is_shared(self, job_id: str, cid: str) -> bool:
        """Whether another job has results with the very same content, so that one pin holds both."""
        same = sa.or_(*(_store(name)["cid"].astext == cid for name in ("results", "adminLogs")))
        with self.engine.connect() as c:
            return c.execute(sa.select(jobs.c.jobId).where(jobs.c.jobId != job_id, jobs.c.removed == 0, same).limit(1)).first() is not None


def _store(name: str) -> Any:
    return jobs.c.stores[name]
