"""filter: decides which of the algorithm's outputs may leave."""

from __future__ import annotations

from c2d.jobs.status import Stage, Status
from c2d.operators.context import StageContext
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import filter_input, secret_content


class FilterOperator(C2DPodOperator):
    """Runs however the earlier stages ended. If it does not succeed, publish withholds the outputs."""

    stage = Stage.FILTER

    def prepare(self, ctx: StageContext) -> None:
        ctx.repository.set_status(ctx.job_id, Status.FILTERING)

    def stage_input(self, ctx: StageContext, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        return secret_content(filter_input(ctx.job_id, ctx.environment))
