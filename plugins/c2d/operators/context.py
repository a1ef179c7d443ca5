"""What the task of a stage works with."""

from __future__ import annotations

from dataclasses import dataclass

from c2d.database.jobs import JobRepository
from c2d.hooks.kubernetes import Pods
from c2d.jobs import ids
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings


@dataclass(frozen=True)
class StageContext:
    """One stage of one job, as its task sees it.

    :param job: with its secrets in clear if the stage needs them (:attr:`C2DPodOperator.opens_secrets`).
    :param repository: over one connection, which the task keeps.
    :param pods: in the jobs' namespace.
    """

    stage: Stage
    job_id: str
    job: Job
    environment: Environment
    settings: Settings
    repository: JobRepository
    pods: Pods

    @property
    def pod_name(self) -> str:
        """The name of the stage's pod."""
        return ids.stage_name(self.job_id, self.stage)

    @property
    def owner_name(self) -> str:
        """The name of the object that owns all others of the job."""
        return ids.object_name(self.job_id)
