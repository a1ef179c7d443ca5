"""algorithm: the consumer's container, isolated."""

from __future__ import annotations

from typing import Any

from c2d.errors import ManifestRejected
from c2d.jobs.status import Stage, Status
from c2d.operators.context import StageContext
from c2d.operators.pod import C2DPodOperator
from c2d.pods import manifests
from c2d.pods.stage_input import algorithm_secret_content
from c2d.pods.status import deadline, end_of


class AlgorithmOperator(C2DPodOperator):
    """Runs the consumer's image on the inputs that configure fetched. It has no network unless the owner of each data set allows it."""

    stage = Stage.ALGORITHM
    opens_secrets = True  # the job's own `secret` becomes the variable $secret

    def prepare(self, ctx: StageContext) -> None:
        if not ctx.pods.denies_by_default():  # the consumer's code would have the cluster's network
            raise ManifestRejected("the jobs' namespace lacks the NetworkPolicy c2d-default-deny; apply helm_values/jobs-namespace")

    def stage_input(self, ctx: StageContext, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        return algorithm_secret_content(ctx.job)

    def allows_network(self, ctx: StageContext) -> bool:
        return ctx.environment.enableNetwork and ctx.repository.network_allowed(ctx.job_id)

    def on_container_start(self, ctx: StageContext, pod: dict[str, Any]) -> None:
        ctx.repository.set_status(ctx.job_id, Status.RUNNING)
        if end_of(pod):
            return
        # The algorithm's time starts now. The node ends the pod when it is over, even if no task runs then.
        run_seconds = manifests.run_seconds(self.stage, ctx.job, ctx.environment)
        if not ctx.pods.set_deadline(ctx.pod_name, deadline(pod, run_seconds)):
            self.log.warning("operators may not patch pods (see helm_values/jobs-namespace): only this task enforces the time limit")
