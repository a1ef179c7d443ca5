"""algorithm: the consumer's container, isolated."""

from __future__ import annotations

from typing import Any

from c2d.errors import ManifestRejected
from c2d.jobs.status import Stage, Status
from c2d.operators.pod import C2DPodOperator
from c2d.pods import manifests
from c2d.pods.stage_input import algorithm_secret_content
from c2d.pods.status import deadline, end_of


class AlgorithmOperator(C2DPodOperator):
    """Runs the consumer's image on the inputs that configure laid out; without network, unless each data set's owner allows it."""

    stage = Stage.ALGORITHM
    opens_secrets = True  # the job's own `secret`, handed over as $secret

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        return algorithm_secret_content(self.job)

    def make_pod(self, ends_ok: dict[Stage, bool], may_exist: bool) -> dict[str, Any]:
        # Without it the consumer's code would have the cluster's network: better no job than that one.
        if not self.pods.denies_by_default():
            raise ManifestRejected("the jobs' namespace lacks the NetworkPolicy c2d-default-deny; apply helm_values/jobs-namespace")
        return super().make_pod(ends_ok, may_exist)

    def network(self) -> bool:
        return self.environment.enableNetwork and self.store.network_allowed(self.job_id)

    def started(self, pod: dict[str, Any]) -> None:
        self.store.set_status(self.job_id, Status.RUNNING)
        if end_of(pod):
            return
        # The consumer's time begins now. The node sees to its end, also while no operator is there.
        limit = manifests.run_seconds(self.stage, self.job, self.environment)
        if not self.pods.set_deadline(self.pod_name, deadline(pod, limit)):
            self.log.warning("the operators may not patch pods (helm_values/jobs-namespace): the time limit is kept by this task alone")
