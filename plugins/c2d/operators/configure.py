"""configure: fetches the data sets and the algorithm into the job's volume."""

from __future__ import annotations

import secrets
import time

from c2d import grants, objects
from c2d.hooks.pods import Refused
from c2d.operators.pod import C2DPodOperator
from c2d.pod_state import PodEnd
from c2d.status import Stage, StageEnd, Status, after_configure


class ConfigureOperator(C2DPodOperator):
    """Makes the job's volume and lays out its inputs. Fails the job with 31 (an input) or 32 (the algorithm)."""

    stage = Stage.CONFIGURE
    opens_secrets = True  # the files' URLs and headers, and the grants are signed

    def begin(self) -> None:
        self.store.set_status(self.job_id, Status.CONFIGURING)

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """The stage's input, with grants where assets are named by transaction.

        :raises Refused: they are, and no Provider sent the job.
        """
        if self.job.orders:
            raise Refused("order: assets that are kept here are not served yet")
        content = super().content(ends_ok)
        if not self.job.remotes:
            return content
        row = self.store.job(self.job_id)
        if row is None or row.provider is None:
            # The order's Provider has not checked who uses it, nor with which algorithm: whoever may start a run could read every
            # asset that was ever ordered for this operator, or have grants sent to a server of their own.
            raise Refused("remote: an order is taken from an Ocean Provider only (the operator-service API); give files")
        dids = [did for did, _ in self.job.remotes]
        number = grants.number_for(len(dids), sum(len(text) for text in content.values()))
        # Two jobs that begin in the same millisecond should not offer a Provider the same nonce.
        start = time.time_ns() // 1_000_000 + secrets.randbelow(1000)
        # Twice the stage's time: a lost pod's successor gets the same grants.
        granted = grants.grant(self.settings.OPERATOR_PRIVATE_KEY, dids, start, number, 2 * self.environment.C2D_STAGE_SECONDS)
        return objects.stage_input(self.stage, self.job_id, self.job, self.environment, ends_ok, granted)

    def record(self, end: PodEnd) -> StageEnd:
        of_stage = end.of_stage(self.stage)
        return self.store.end_stage(self.job_id, of_stage, end.started, end.finished, after_configure(of_stage))
