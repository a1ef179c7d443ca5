"""filter: says which of the algorithm's outputs may leave."""

from __future__ import annotations

from c2d.jobs.status import Stage, Status
from c2d.operators.pod import C2DPodOperator


class FilterOperator(C2DPodOperator):
    """Runs whatever happened before. Without its consent publish withholds the outputs."""

    stage = Stage.FILTER

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.FILTERING)
