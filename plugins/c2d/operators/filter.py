"""filter: says which of the algorithm's outputs may leave."""

from __future__ import annotations

from c2d.jobs.status import Stage, Status
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import filter_input, secret_content


class FilterOperator(C2DPodOperator):
    """Runs whatever happened before. Without its consent publish withholds the outputs."""

    stage = Stage.FILTER

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.FILTERING)

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        return secret_content(filter_input(self.job_id, self.environment))
