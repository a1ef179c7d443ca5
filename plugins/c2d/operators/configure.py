"""configure: fetches the data sets and the algorithm into the job's volume."""

from __future__ import annotations

from c2d.operators.pod import C2DPodOperator
from c2d.pod_state import PodEnd
from c2d.status import Stage, StageEnd, Status, after_configure


class ConfigureOperator(C2DPodOperator):
    """Makes the job's volume and lays out its inputs. Fails the job with 31 (an input) or 32 (the algorithm)."""

    stage = Stage.CONFIGURE
    opens_secrets = True  # the files' URLs and headers

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.CONFIGURING)

    def record(self, end: PodEnd) -> StageEnd:
        of_stage = end.of_stage(self.stage)
        return self.store.end_stage(self.job_id, of_stage, end.started, end.finished, after_configure(of_stage))
