"""A stage's context with stand-ins for Kubernetes and the database, which record what is done to them."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from c2d.crypto import ecies
from c2d.database.jobs import JobRepository
from c2d.hooks.kubernetes import LogLine, Pods, PodState
from c2d.jobs.model import Job
from c2d.jobs.status import Stage, StageEnd, Status
from c2d.operators.context import StageContext
from c2d.settings import installation
from tests.unit.examples import job

PENDING: dict[str, Any] = {"metadata": {"name": "pod"}, "status": {"phase": "Pending"}}
RUNNING: dict[str, Any] = {
    "metadata": {"name": "pod"},
    "spec": {"activeDeadlineSeconds": 4500},
    "status": {
        "phase": "Running",
        "startTime": "2026-11-22T05:59:15Z",
        "containerStatuses": [{"name": "base", "state": {"running": {"startedAt": "2026-11-22T06:00:00Z"}}}],
    },
}
TERMINATED = {"exitCode": 0, "reason": "Completed", "startedAt": "2026-11-22T06:00:00Z", "finishedAt": "2026-11-22T06:00:01Z"}
ENDED: dict[str, Any] = {"status": {"phase": "Running", "containerStatuses": [{"name": "base", "state": {"terminated": TERMINATED}}]}}
NODE_LOST: dict[str, Any] = {"status": {"phase": "Failed", "reason": "NodeLost", "message": "the node is gone"}}


class FakePods:
    """Pods with a script of events. Asking for more than these fails the test.

    :param existing: the pod of an earlier try.
    """

    def __init__(self, *events: PodState | LogLine, existing: dict[str, Any] | None = None, denies: bool = True, patchable: bool = True):
        self.events, self.existing, self.denies, self.patchable = events, existing, denies, patchable
        self.done: list[Any] = []

    def denies_by_default(self) -> bool:
        return self.denies

    def owner(self, name: str) -> dict[str, Any] | None:
        return None

    def read(self, name: str) -> dict[str, Any] | None:
        self.done.append(("read", name))
        return self.existing

    def ensure(self, manifest: dict[str, Any]) -> dict[str, Any]:
        self.done.append(("ensure", manifest["kind"], manifest["metadata"]["name"]))
        if manifest["kind"] == "Pod" and self.existing:
            return self.existing
        return {**manifest, "metadata": {**manifest["metadata"], "uid": "uid-1"}}

    def await_volume(self, claim: str) -> None:
        self.done.append(("await_volume", claim))

    def set_deadline(self, name: str, seconds: int) -> bool:
        self.done.append(("set_deadline", name, seconds))
        return self.patchable

    def follow(self, pod: Any, log_bytes: int, tick: float) -> Iterator[PodState | LogLine]:
        yield from self.events
        raise AssertionError("the operator still waits after the last event")

    def delete(self, name: str) -> None:
        self.done.append(("delete", name))

    def delete_owner(self, name: str) -> None:
        self.done.append(("delete_owner", name))


class FakeRepository:
    """The row of one job, and the ends of its stages.

    :param done: what was done, in one sequence with :class:`FakePods`.
    """

    def __init__(self, done: list[Any] | None = None, ends: dict[Stage, StageEnd] | None = None, **row: Any):
        self.done = [] if done is None else done
        self.ends = dict(ends or {})
        defaults = {"stopreq": 0, "dateFinished": None, "status": 1, "provider": None}
        self.row = SimpleNamespace(**{**defaults, **row})

    def job(self, job_id: str) -> Any:
        return self.row

    def stage_ends(self, job_id: str) -> dict[Stage, StageEnd]:
        return dict(self.ends)

    def set_status(self, job_id: str, status: Status) -> None:
        self.done.append(("set_status", int(status)))

    def end_stage(self, job_id: str, end: StageEnd, started: Any, finished: Any, status: Status | None = None) -> StageEnd:
        self.done.append(("end_stage", end.reason, status))
        return self.ends.setdefault(end.stage, end)

    def network_allowed(self, job_id: str) -> bool:
        return True

    def result_keys(self, job_id: str) -> None:
        return None


def context_of(
    stage: Stage,
    pods: FakePods | None = None,
    repository: FakeRepository | None = None,
    conf: dict[str, Any] | None = None,
    **variables: str,
) -> StageContext:
    """The context of a stage of job j1. Without ``repository``, its calls are recorded with those of ``pods``."""
    settings = installation.read({"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x", **variables})
    pods = pods or FakePods()
    return StageContext(
        stage,
        "j1",
        Job.parse(conf or job(), "ocean-compute"),
        settings.environments[0],
        settings,
        cast(JobRepository, repository or FakeRepository(pods.done)),
        cast(Pods, pods),
    )
