"""The operator that runs one stage of a job as one pod.

It is a KubernetesPodOperator (connection, UI, settings) with its own ``execute``, for these reasons (numbers are Airflow's issues):

* The pod is made from the job model in ``execute``. No field is a template, so no text of a consumer ever reaches Jinja.
* The stage ends when its *container* ends. KubernetesPodOperator polls for the pod's phase, which follows a second later.
* SIGTERM to a worker must not end the stage as a success (#73006). If somebody asked for the job to stop, the pod is deleted. If not, the
  worker is being moved: the pod goes on, and the next try takes it over.
* A stage runs once. Its end is recorded before its pod is deleted, so a later try goes on from a recorded end, or from an existing pod,
  whether that has ended or not. KubernetesPodOperator would delete a finished pod and run it again.
* Airflow tries again only if the pod was lost, or if an API or a chain does not answer. A stage that failed stays failed.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import secrets
import time
from abc import abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from c2d.database.jobs import JobRepository
from c2d.errors import InvalidJob, JobIdTaken, ManifestRejected, UpstreamUnavailable
from c2d.hooks.kubernetes import LOG_LINE_BYTES, Pods
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd, after_stage
from c2d.operators.context import StageContext
from c2d.operators.follow import ContainerStarted, Ended, LogTruncated, Lost, ShowLine, StageFollower
from c2d.pods import manifests
from c2d.pods.status import PodEnd
from c2d.results.keys import consumers_key
from c2d.settings import installation

if TYPE_CHECKING:
    from airflow.sdk import Context

TASK_LOG_BYTES = 2**20
"""How much of a pod's log is shown in the task's log."""


class PodLost(AirflowException):
    """The pod disappeared without an end. Airflow may try the stage again."""


class WorkerStopped(AirflowException):
    """The worker was stopped while the stage's pod was running."""


class C2DPodOperator(KubernetesPodOperator):
    """Runs one stage of a job. A subclass states what is particular to its stage. Its methods are called in this order::

        prepare
        stage_input, allows_network           only if a new pod is created
        on_container_start, on_log_line ...   while the pod is followed
        stage_end                             then its result is recorded, and the pod deleted
        conclude                              the only one if an earlier try recorded the stage's end

    ``on_stop`` is called instead of the rest if the job is stopped.
    """

    template_fields: Sequence[str] = ()
    stage: ClassVar[Stage]
    opens_secrets: ClassVar[bool] = False
    """Whether the stage needs the job's secrets in clear."""
    new_secret_per_pod: ClassVar[bool] = False
    """Whether each pod of the stage has a Secret of its own, because the content of an earlier one is outdated."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {
            "task_id": str(self.stage),
            "retries": 6,
            "retry_delay": timedelta(seconds=1),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(seconds=60),
            "weight_rule": "upstream",  # if workers are short, jobs that have begun are finished before others begin
            "do_xcom_push": False,
            "log_pod_spec_on_failure": False,
            "log_events_on_startup": False,
            "on_finish_action": "delete_pod",
            "automount_service_account_token": False,
            **kwargs,
        }
        super().__init__(**kwargs)
        self._active: StageContext | None = None
        """The stage that a stop has to end. None: the stage has not begun, or its end is recorded."""

    # -- what a subclass states about its stage ------------------------------------------------------------------------------------

    def prepare(self, ctx: StageContext) -> None:
        """Called before the pod is created or taken over.

        :raises ManifestRejected: the pod must not run.
        """

    @abstractmethod
    def stage_input(self, ctx: StageContext, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """The content of the stage's Secret, which is all that the pod may know. Called once for each new pod.

        :param ends_ok: the stages that have ended, and whether they succeeded.
        :raises ManifestRejected: the job is not allowed.
        :raises UpstreamUnavailable: a system that must be asked does not answer.
        """

    def allows_network(self, ctx: StageContext) -> bool:
        """Whether code of the consumer gets the public internet."""
        return False

    def on_container_start(self, ctx: StageContext, pod: dict[str, Any]) -> None:
        """Called when the pod's container has started."""

    def on_log_line(self, ctx: StageContext, line: str) -> None:
        """Called for each line of the pod's log. Do not trust the line of a pod that runs a consumer's code."""

    def on_stop(self, ctx: StageContext) -> None:
        """Called in the handler of SIGTERM, after a stop was recorded and the pod deleted. ``ctx`` has connections of its own."""

    def stage_end(self, ctx: StageContext, pod_end: PodEnd) -> StageEnd:
        """How the stage ended, now that its pod has. This is what will be recorded."""
        return pod_end.of_stage(self.stage)

    def conclude(self, ctx: StageContext, end: StageEnd) -> None:
        """Called after the stage's end was recorded, by this try or an earlier one.

        :raises AirflowFailException: the task has failed.
        """
        if not end.ok:
            raise AirflowFailException(f"{self.stage}: {end.message or end.reason}")

    # -- what all stages have in common --------------------------------------------------------------------------------------------

    def execute(self, context: Context) -> None:
        ctx = self._open(context)
        self._active = ctx
        ends = ctx.repository.stage_ends(ctx.job_id)
        end = ends.get(self.stage)
        if end is None:
            attempt = context["ti"]
            end = self._run(ctx, {s: e.ok for s, e in ends.items()}, int(attempt.try_number), int(attempt.max_tries))
        self._active = None
        self.conclude(ctx, end)

    def on_kill(self) -> None:
        """Called in the handler of SIGTERM. Raises, so that the interrupted task cannot go on and succeed."""
        if self._active is None:
            return
        interrupted, self._active = self._active, None
        # New connections, because the interrupted code may hold a lock of the others.
        repository = JobRepository(interrupted.settings.C2D_DATABASE_URL)
        row = repository.job(interrupted.job_id)
        if row is None or not row.stopreq:
            raise WorkerStopped("the worker was stopped; the pod goes on, and the next try takes it over")
        from kubernetes.client import ApiClient, CoreV1Api

        pods = Pods(CoreV1Api(ApiClient(self.client.api_client.configuration)), interrupted.settings.C2D_NAMESPACE)
        ctx = dataclasses.replace(interrupted, repository=repository, pods=pods)
        if row.dateFinished is not None or self.stage is Stage.PUBLISH:  # the whole run has ended: no later stage cleans up
            ctx.pods.delete_owner(ctx.owner_name)
        ctx.pods.delete(ctx.pod_name)
        ctx.repository.end_stage(ctx.job_id, StageEnd(self.stage, Reason.STOPPED, message="the job was stopped"), None, None)
        self.on_stop(ctx)
        raise AirflowFailException("the job was stopped")

    def _open(self, context: Context) -> StageContext:
        """Read the job from the run's conf, and make sure that it has a row.

        :raises AirflowFailException: the job is invalid, or its id belongs to another job.
        """
        settings = installation.load()
        job_id = str(context["run_id"])
        environment = settings.environment(context["dag"].dag_id)
        if environment.LOG_LEVEL:  # this process works for one environment only
            logging.getLogger("c2d").setLevel(environment.LOG_LEVEL)
        repository = JobRepository(settings.C2D_DATABASE_URL, keep_connection=True)
        try:
            sealed = Job.parse(context["dag_run"].conf, environment.id)
            job = sealed.opened(settings.OPERATOR_PRIVATE_KEY, job_id) if self.opens_secrets else sealed
            consumers_key(job, environment)  # raises InvalidJob if the environment needs the consumer's key and the job has none
            # The row gets the sealed job: the notification of the job's end contains its secret, sealed.
            repository.open_job(job_id, environment.id, sealed)
        except (InvalidJob, JobIdTaken) as e:
            raise AirflowFailException(f"the job is rejected: {e}") from None
        pods = Pods(self.client, settings.C2D_NAMESPACE)
        return StageContext(self.stage, job_id, job, environment, settings, repository, pods)

    def _run(self, ctx: StageContext, ends_ok: dict[Stage, bool], try_number: int, max_tries: int) -> StageEnd:
        """Run the stage's pod to its end, record that end, and only then delete the pod.

        :returns: the recorded end.
        :raises AirflowException: Airflow is to try again.
        """
        last_try = try_number > max_tries
        try:
            self.prepare(ctx)
            pod_end = self._follow(ctx, self._pod(ctx, ends_ok, may_exist=try_number > 1))
        except ManifestRejected as e:
            pod_end = PodEnd(Reason.NOT_STARTED, message=str(e))
        except UpstreamUnavailable as e:
            if not last_try:
                raise AirflowException(str(e)) from None
            pod_end = PodEnd(Reason.NOT_STARTED, message=str(e))
        except PodLost as e:
            if not last_try:
                raise
            pod_end = PodEnd(Reason.POD_LOST, message=str(e))
        end = self.stage_end(ctx, pod_end)
        recorded = ctx.repository.end_stage(ctx.job_id, end, pod_end.started, pod_end.finished, after_stage(end))
        self._active = None  # a stop comes too late to change the recorded end
        self.log.info("%s ended: %s%s", self.stage, recorded.reason, f" ({recorded.message})" if recorded.message else "")
        ctx.pods.delete(ctx.pod_name)
        return recorded

    def _pod(self, ctx: StageContext, ends_ok: dict[Stage, bool], may_exist: bool) -> dict[str, Any]:
        """The stage's pod: that of an earlier try, or a new one.

        :param may_exist: look for an existing pod first. It would be found without that as well, after a vain attempt to create it.
        """
        existing = ctx.pods.read(ctx.pod_name) if may_exist else None
        if existing and not existing["metadata"].get("deletionTimestamp"):
            self.log.info("taking over pod %s of an earlier try", ctx.pod_name)
            return existing
        owner_uid = self._volume_owner(ctx)
        secret_name = f"{ctx.pod_name}-{secrets.token_hex(4)}" if self.new_secret_per_pod else ctx.pod_name
        content = self.stage_input(ctx, ends_ok)
        ctx.pods.ensure(manifests.secret(ctx.job_id, self.stage, content, ctx.environment.id, owner_uid, secret_name))
        if self.stage is Stage.CONFIGURE:
            ctx.pods.await_volume(manifests.claim_name(ctx.job_id))
        network = self.allows_network(ctx)
        pod = ctx.pods.ensure(
            manifests.pod(self.stage, ctx.job_id, ctx.job, ctx.environment, ctx.settings, owner_uid, secret_name, network)
        )
        if pod["metadata"].get("deletionTimestamp"):
            raise PodLost("the pod of an earlier try is still being deleted")
        return pod

    def _volume_owner(self, ctx: StageContext) -> str:
        """The uid of the job's owner object. Creates it, with the job's volume, if it does not exist."""
        owner = None if self.stage is Stage.CONFIGURE else ctx.pods.owner(ctx.owner_name)
        if owner is None:
            owner = ctx.pods.ensure(manifests.owner(ctx.job_id, ctx.environment.id))
            ctx.pods.ensure(manifests.claim(ctx.job_id, ctx.environment, owner["metadata"]["uid"]))
        return str(owner["metadata"]["uid"])

    def _follow(self, ctx: StageContext, pod: dict[str, Any]) -> PodEnd:
        """Show the pod's log until the pod has ended.

        :raises PodLost: its end will never be known.
        """
        run_seconds = manifests.run_seconds(self.stage, ctx.job, ctx.environment)
        follower = StageFollower(time.monotonic(), ctx.environment.C2D_START_SECONDS, run_seconds, TASK_LOG_BYTES)
        for event in ctx.pods.follow(pod, TASK_LOG_BYTES, tick=0.5):
            for decision in follower.decide(event, time.monotonic()):
                match decision:
                    case ContainerStarted(started):
                        self.on_container_start(ctx, started)
                    case ShowLine(text):
                        self.log.info("%s | %s", self.stage, readable(text))
                        self.on_log_line(ctx, text.decode("utf-8", "replace"))
                    case LogTruncated():
                        self.log.info("%s | (more was printed than is shown here; the stage's log file has it)", self.stage)
                    case Lost(message, remains):
                        if remains:
                            ctx.pods.delete(ctx.pod_name)
                        raise PodLost(message)
                    case Ended(end):
                        return end
        raise AssertionError("the events of a pod never end by themselves")


def readable(line: bytes) -> str:
    """A line that untrusted code printed, made safe for the task's log: one line of limited length, without control sequences or groups."""
    text = line[:LOG_LINE_BYTES].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
    return re.sub(r"::(group|endgroup)", r": :\1", text)
