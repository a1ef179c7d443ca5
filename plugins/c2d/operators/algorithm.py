"""algorithm: the consumer's container, isolated."""

from __future__ import annotations

from c2d.operators.pod import C2DPodOperator
from c2d.status import Stage, Status


class AlgorithmOperator(C2DPodOperator):
    """Runs the consumer's image without network on the inputs that configure laid out."""

    stage = Stage.ALGORITHM
    opens_secrets = True  # the job's own `secret`, handed over as $secret

    def started(self) -> None:
        self.store.set_status(self.job_id, Status.RUNNING)
