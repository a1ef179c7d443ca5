"""The operator that runs one stage of a job as one pod.

It is a KubernetesPodOperator (connection, UI, settings) with an ``execute`` of its own. The reasons (numbers are Airflow's issues):

* A pod is made from the job model in ``execute``; no field is a template, so no consumer text ever meets Jinja.
* The end of the *container* is the end of the stage. KPO polls for the pod's phase, which comes a second later.
* SIGTERM to a worker does not end the stage as a success (#73006). If somebody asked for the stop, the pod is deleted; if not, the worker
  is being moved away: the pod stays and the next try takes it over.
* A stage runs once. Its end is recorded before its pod is deleted, and a try that finds a recorded end, a running pod, or a finished pod
  goes on from there (KPO deletes a finished pod and runs it again).
* Only a lost pod, or an API or a chain that does not answer, is tried again; a stage that failed has failed.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from c2d.database.jobs import JobRepository
from c2d.errors import InvalidJob, JobIdTaken, ManifestRejected, UpstreamUnavailable
from c2d.hooks.kubernetes import LOG_LINE_BYTES, LogLine, Pods
from c2d.jobs import ids
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd
from c2d.pods import manifests
from c2d.pods.status import PodEnd, end_of, running_since, why_pending
from c2d.results.keys import consumers_key
from c2d.settings import installation

if TYPE_CHECKING:
    from airflow.sdk import Context

TASK_LOG_BYTES = 2**20
LOG_DRAIN_SECONDS = 3
# Beyond the kubelet's own deadline: it may be away. Then the operator ends the pod itself.
DEADLINE_GRACE_SECONDS = 60


class PodLost(AirflowException):
    """The pod vanished without an end; the stage may be tried again."""


class WorkerStopped(AirflowException):
    """The worker was told to end while the stage's pod was running."""


class C2DPodOperator(KubernetesPodOperator):
    """Runs one stage. Subclasses say what the stage means for the job (:meth:`begin`, :meth:`record`, :meth:`conclude`).

    :param stage: which of the four.
    """

    template_fields: ClassVar[Sequence[str]] = ()
    stage: ClassVar[Stage]
    opens_secrets: ClassVar[bool] = False

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {
            "task_id": str(self.stage),
            "retries": 6,
            "retry_delay": timedelta(seconds=1),
            "retry_exponential_backoff": True,
            "max_retry_delay": timedelta(seconds=60),
            "weight_rule": "upstream",  # where workers are short, started jobs end before new ones begin
            "do_xcom_push": False,
            "log_pod_spec_on_failure": False,
            "log_events_on_startup": False,
            "on_finish_action": "delete_pod",
            "automount_service_account_token": False,
            **kwargs,
        }
        super().__init__(**kwargs)
        self._following = False

    # -- what a stage means ---------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Before the pod is made."""

    def content(self, ends_ok: dict[Stage, bool]) -> dict[str, str]:
        """What the pod may know. Called once for each pod that is made."""
        raise NotImplementedError

    def secret_name(self) -> str:
        """The name of the Secret with :meth:`content`."""
        return self.pod_name

    def heard(self, line: str) -> None:
        """A line of the pod's log, for the operators of pods that are ours alone."""

    def network(self) -> bool:
        """Whether the pod's own code may have the public internet."""
        return False

    def started(self, pod: dict[str, Any]) -> None:
        """The pod's container works."""

    def stopped(self, store: JobRepository) -> None:
        """The pod was deleted on somebody's request. ``store``: with a connection of its own."""

    def record(self, end: PodEnd) -> StageEnd:
        """Writes the stage's end down; returns the record that holds."""
        return self.store.end_stage(self.job_id, end.of_stage(self.stage), end.started, end.finished)

    def conclude(self, end: StageEnd) -> None:
        """After the end is recorded; also when a former try had recorded it. Raises where the task has failed."""
        if not end.ok:
            raise AirflowFailException(f"{self.stage}: {end.message or end.reason}")

    # -- the way of every stage -----------------------------------------------------------------------------------------

    def execute(self, context: Context) -> None:
        self.settings = installation.load()
        self.job_id = str(context["run_id"])
        self.environment = self.settings.environment(context["dag"].dag_id)
        if self.environment.LOG_LEVEL:  # this process works for one environment alone
            logging.getLogger("c2d").setLevel(self.environment.LOG_LEVEL)
        self.store = JobRepository(self.settings.C2D_DATABASE_URL, keep_connection=True)
        try:
            sealed = Job.parse(context["dag_run"].conf, self.environment.id)
            self.job = sealed.opened(self.settings.OPERATOR_PRIVATE_KEY, self.job_id) if self.opens_secrets else sealed
            consumers_key(self.job, self.environment)
            # The row keeps what is sealed: the notification of the job's end tells the receiver its secret.
            self.store.open_job(self.job_id, self.environment.id, sealed)
        except (InvalidJob, JobIdTaken) as e:
            raise AirflowFailException(f"the job is refused: {e}") from None
        self.pods = Pods(self.client, self.settings.C2D_NAMESPACE)
        self.pod_name = ids.stage_name(self.job_id, self.stage)
        self._following = True
        ends = self.store.stage_ends(self.job_id)
        end = ends.get(self.stage)
        if end is None:
            self.begin()
            end = self._run({s: e.ok for s, e in ends.items()}, int(context["ti"].try_number), int(context["ti"].max_tries))
        self._following = False
        self.conclude(end)

    def on_kill(self) -> None:
        """Called in SIGTERM's handler. Raises, so that the interrupted task cannot go on to a success."""
        if not self._following:
            return  # nothing has begun, or the end is recorded: let the task finish
        self._following = False
        # Connections of its own, to the database and to Kubernetes: the interrupted code may hold a lock of the others.
        store = JobRepository(self.settings.C2D_DATABASE_URL)
        row = store.job(self.job_id)
        if row is None or not row.stopreq:
            raise WorkerStopped("the worker was stopped; the pod runs on and the next try takes it over")
        from kubernetes.client import ApiClient, CoreV1Api

        pods = Pods(CoreV1Api(ApiClient(self.client.api_client.configuration)), self.settings.C2D_NAMESPACE)
        if row.dateFinished is not None or self.stage is Stage.PUBLISH:  # the whole run was ended: no later stage will tidy up
            pods.delete_owner(ids.object_name(self.job_id))
        pods.delete(self.pod_name)
        store.end_stage(self.job_id, StageEnd(self.stage, Reason.STOPPED, message="the job was stopped"), None, None)
        self.stopped(store)
        raise AirflowFailException("the job was stopped")

    def _run(self, ends_ok: dict[Stage, bool], try_number: int, max_tries: int) -> StageEnd:
        try:
            end = self._follow(self.make_pod(ends_ok, may_exist=try_number > 1))
        except ManifestRejected as e:
            end = PodEnd(Reason.NOT_STARTED, message=str(e))
        except UpstreamUnavailable as e:
            if try_number <= max_tries:
                raise AirflowException(str(e)) from None
            end = PodEnd(Reason.NOT_STARTED, message=str(e))
        except PodLost as e:
            if try_number <= max_tries:
                raise
            end = PodEnd(Reason.POD_LOST, message=str(e))
        recorded = self.record(end)
        self._following = False  # the end is written: a stop comes too late to change it
        self.log.info("%s ended: %s%s", self.stage, recorded.reason, f" ({recorded.message})" if recorded.message else "")
        self.pods.delete(self.pod_name)
        return recorded

    def make_pod(self, ends_ok: dict[Stage, bool], may_exist: bool) -> dict[str, Any]:
        """The stage's pod: the one of a former try, or a new one with all it needs."""
        # The first try finds no pod: one call saved in the usual case; `ensure` would find it all the same.
        found = self.pods.read(self.pod_name) if may_exist else None
        if found and not found["metadata"].get("deletionTimestamp"):
            self.log.info("taking over pod %s of a former try", self.pod_name)
            return found
        env, job_id = self.environment, self.job_id
        owner = self.pods.owner(ids.object_name(job_id)) if self.stage is not Stage.CONFIGURE else None
        if owner is None:
            owner = self.pods.ensure(manifests.owner(job_id, env.id))
            self.pods.ensure(manifests.claim(job_id, env, owner["metadata"]["uid"]))
        uid = owner["metadata"]["uid"]
        secret = self.secret_name()
        self.pods.ensure(manifests.secret(job_id, self.stage, self.content(ends_ok), env.id, uid, secret))
        if self.stage is Stage.CONFIGURE:
            self.pods.await_volume(f"{ids.object_name(job_id)}-data")
        pod = self.pods.ensure(manifests.pod(self.stage, job_id, self.job, env, self.settings, uid, secret, self.network()))
        if pod["metadata"].get("deletionTimestamp"):
            raise PodLost("the former pod is still going away")
        return pod

    def _follow(self, pod: dict[str, Any]) -> PodEnd:
        created = time.monotonic()
        begun: float | None = None
        end: PodEnd | None = None
        log_ended, drain_until = False, 0.0
        shown = 0
        limit = manifests.run_seconds(self.stage, self.job, self.environment)
        for event in self.pods.follow(pod, TASK_LOG_BYTES, tick=0.5):
            now = time.monotonic()
            if isinstance(event, LogLine):
                log_ended = event.text is None
                if event.text is not None:
                    shown += len(event.text) + 1
                    self.log.info("%s | %s", self.stage, readable(event.text))
                    self.heard(event.text.decode("utf-8", "replace"))
                elif shown >= TASK_LOG_BYTES:
                    self.log.info("%s | (more was printed than is shown here; the stage's log file has it)", self.stage)
            elif end is None:
                if event.pod is None:
                    raise PodLost("the pod vanished before it had ended")
                pod = event.pod
                if begun is None and running_since(pod):
                    begun = now
                    self.started(pod)
                end = end_of(pod)
                if end and end.reason is Reason.POD_LOST:
                    self.pods.delete(self.pod_name)
                    raise PodLost(end.message or "the node lost the pod")
                if end and begun is None:
                    return end  # nothing ran, so there is no log
                drain_until = now + LOG_DRAIN_SECONDS
                if end is None and begun is None and now - created > self.environment.C2D_START_SECONDS:
                    return PodEnd(Reason.NOT_STARTED, message=f"the pod did not start in time: {why_pending(pod)}")
                if end is None and begun is not None and now - begun > limit + DEADLINE_GRACE_SECONDS:
                    return PodEnd(Reason.DEADLINE_EXCEEDED)
            if end and (log_ended or now >= drain_until):
                return end
        raise AssertionError("follow never ends by itself")


def readable(line: bytes) -> str:
    """A line that untrusted code printed, safe for the task log: one line, no control sequences, no log groups, of bounded length."""
    text = line[:LOG_LINE_BYTES].decode("utf-8", "backslashreplace")
    text = "".join(c if c.isprintable() or c == "\t" else c.encode("unicode_escape").decode() for c in text)
    return re.sub(r"::(group|endgroup)", r": :\1", text)
