"""publish: uploads the results to their store, and ends the job."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowFailException

from c2d.contract import PLAN_LINE, PublishAnswer
from c2d.database.retention import Retention
from c2d.errors import ManifestRejected, ResultStoreError
from c2d.jobs.status import Reason, Stage, StageEnd, Status
from c2d.operators.context import StageContext
from c2d.operators.pod import C2DPodOperator
from c2d.pods.stage_input import publish_input, secret_content
from c2d.pods.status import PodEnd
from c2d.results import keys
from c2d.results.destinations import destinations
from c2d.results.stores import JobResultStores, Published


class PublishOperator(C2DPodOperator):
    """Runs however the earlier stages ended, so that the owner always gets the logs. Ends the job and deletes its objects.

    The task fails if the job has failed, so that the DAG run shows it. Its message states whether the results were published all the same.
    """

    stage = Stage.PUBLISH
    new_secret_per_pod = True  # the upload rights of an earlier pod have expired, or soon will
    _published: Published | None = None
    """What this try has verified."""

    def prepare(self, ctx: StageContext) -> None:
        ctx.repository.set_status(ctx.job_id, Status.PUBLISHING)
        row = ctx.repository.job(ctx.job_id)
        if row is not None and row.dateFinished is not None and ctx.pods.owner(ctx.owner_name) is None:
            raise ManifestRejected("the job has ended and its volume was deleted: there is nothing left to publish")

    def stage_input(self, ctx: StageContext, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """The keys that encrypt the results, and the rights to upload them.

        :raises ManifestRejected: a store refuses, or would give the pod more rights than it needs.
        """
        result_keys = keys.new_keys(ctx.job_id, ctx.job, ctx.environment, ctx.settings.public_key)
        if result_keys:
            result_keys = ctx.repository.store_result_keys(ctx.job_id, result_keys)
        encryption = keys.for_publish(result_keys, ctx.settings.OPERATOR_PRIVATE_KEY, ctx.job_id)
        try:
            rights = _stores(ctx).upload_rights(_right_seconds(ctx))
        except ResultStoreError as e:
            raise ManifestRejected(str(e)) from None
        return secret_content(publish_input(ctx.job_id, ctx.environment, ends_ok, rights.store, rights.admin_logs, encryption))

    def on_log_line(self, ctx: StageContext, line: str) -> None:
        """Answer the pod's upload plan, which it announces with a line of its log.

        :raises ManifestRejected: the plan asks for something outside of the job's results.
        """
        if line.startswith(PLAN_LINE):
            try:
                _stores(ctx).answer_plans(_right_seconds(ctx))
            except ResultStoreError as e:
                raise ManifestRejected(f"publish's upload plan is rejected: {e}") from None

    def on_stop(self, ctx: StageContext) -> None:
        Retention(ctx.repository).abandon(ctx.job_id, destinations(ctx.environment).dump())

    def stage_end(self, ctx: StageContext, pod_end: PodEnd) -> StageEnd:
        """Success only if everything that publish reports is in its store."""
        end = pod_end.of_stage(self.stage)
        if end.ok:
            try:
                self._published = _verified(ctx, end)
            except ResultStoreError as e:
                return StageEnd(self.stage, Reason.ERROR, message=f"the published results cannot be verified: {e}")
        return end

    def conclude(self, ctx: StageContext, end: StageEnd) -> None:
        """End the job. Its objects are deleted only if the results are published; otherwise the janitor deletes them later."""
        row = ctx.repository.job(ctx.job_id)
        # An earlier try may have ended the job: then the manifest's key may have been deleted. A job that ended at 62 had no results then.
        has_ended = row is not None and row.dateFinished is not None and row.status != Status.UPLOAD_FAILED
        if end.ok and not has_ended:
            published = self._published or _verified(ctx, end)
            outcome = ctx.repository.finish_job(ctx.job_id, published.manifest.to_json(), published.stores)
        else:
            outcome = ctx.repository.finish_job(ctx.job_id)
        if not end.ok:
            raise AirflowFailException(f"publish: {end.message or end.reason}")
        ctx.pods.delete_owner(ctx.owner_name)
        if not outcome.ok:
            details = outcome.terminationDetails
            raise AirflowFailException(f"the job failed, but its logs are published: {details['reason']}: {details['message']}")


def _stores(ctx: StageContext) -> JobResultStores:
    return JobResultStores(destinations(ctx.environment), ctx.environment, ctx.settings, ctx.job_id)


def _right_seconds(ctx: StageContext) -> int:
    """How long an upload right is valid: until the latest end of a pod that is created now."""
    return ctx.environment.C2D_STAGE_SECONDS + ctx.environment.C2D_START_SECONDS


def _verified(ctx: StageContext, end: StageEnd) -> Published:
    """What a successful publish has published.

    :raises ResultStoreError: a result is missing, or is not as it was sent.
    """
    if not isinstance(end.answer, PublishAnswer):
        raise ResultStoreError("publish did not answer what it has published")
    result_keys = ctx.repository.result_keys(ctx.job_id)

    def opened(content: bytes) -> bytes:
        return keys.open_manifest(content, result_keys, ctx.settings.OPERATOR_PRIVATE_KEY, ctx.job_id)

    return _stores(ctx).verify_published(end.answer, opened)
