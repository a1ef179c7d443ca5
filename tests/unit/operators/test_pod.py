"""The steps of every stage's task, in an order that makes each of them safe to interrupt. Whole jobs are in tests/e2e."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from c2d.database.retention import Retention
from c2d.errors import ManifestRejected, UpstreamUnavailable
from c2d.hooks.kubernetes import LogLine, PodState
from c2d.jobs.status import Reason, Stage, StageEnd
from c2d.operators import pod as pod_module
from c2d.operators.algorithm import AlgorithmOperator
from c2d.operators.context import StageContext
from c2d.operators.filter import FilterOperator
from c2d.operators.pod import C2DPodOperator, PodLost, WorkerStopped, readable
from c2d.operators.publish import PublishOperator
from tests.unit.operators.stage import ENDED, NODE_LOST, RUNNING, FakePods, FakeRepository, context_of

TO_THE_END = (PodState(RUNNING), LogLine(None), PodState(ENDED))


def run(operator: C2DPodOperator, ctx: StageContext, try_number: int = 1) -> StageEnd:
    operator._active = ctx
    return operator._run(ctx, {}, try_number, max_tries=6)


# -- running a stage -----------------------------------------------------------------------------------------------------------------


def test_the_end_is_recorded_before_the_pod_is_deleted() -> None:
    pods = FakePods(*TO_THE_END)
    assert run(AlgorithmOperator(), context_of(Stage.ALGORITHM, pods)).ok
    assert pods.done == [
        ("ensure", "ConfigMap", "j1"),
        ("ensure", "PersistentVolumeClaim", "j1-data"),
        ("ensure", "Secret", "j1-algorithm"),
        ("ensure", "Pod", "j1-algorithm"),
        ("set_status", 40),
        ("set_deadline", "j1-algorithm", 45 + 60),
        ("end_stage", Reason.COMPLETED, None),
        ("delete", "j1-algorithm"),
    ]


def test_a_later_try_takes_over_the_pod_of_an_earlier_one() -> None:
    pods = FakePods(*TO_THE_END, existing=RUNNING)
    assert run(AlgorithmOperator(), context_of(Stage.ALGORITHM, pods), try_number=2).ok
    assert pods.done[0] == ("read", "j1-algorithm")
    assert not [call for call in pods.done if call[0] == "ensure"]


def test_a_pod_that_is_still_being_deleted_is_not_taken_over() -> None:
    dying = {**RUNNING, "metadata": {"name": "pod", "deletionTimestamp": "2026-11-22T06:00:00Z"}}
    with pytest.raises(PodLost, match="still being deleted"):
        run(AlgorithmOperator(), context_of(Stage.ALGORITHM, FakePods(existing=dying)), try_number=2)


def test_a_rejected_manifest_ends_the_stage_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def reject(*_: Any) -> None:
        raise ManifestRejected("Pod j1-filter: forbidden")

    operator, pods = FilterOperator(), FakePods()
    monkeypatch.setattr(pods, "ensure", reject)
    end = run(operator, context_of(Stage.FILTER, pods))
    assert (end.reason, end.message) == (Reason.NOT_STARTED, "Pod j1-filter: forbidden")


def test_a_stage_that_cannot_ask_another_system_is_tried_again_and_in_the_last_try_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any) -> Any:
        raise UpstreamUnavailable("chain 8996: no RPC server answers; try again later")

    operator, pods = FilterOperator(), FakePods()
    ctx = context_of(Stage.FILTER, pods)
    monkeypatch.setattr(operator, "stage_input", silent)
    with pytest.raises(AirflowException, match="chain 8996: no RPC server answers"):
        run(operator, ctx, try_number=6)
    assert not [call for call in pods.done if call[0] == "end_stage"]
    end = run(operator, ctx, try_number=7)
    assert (end.reason, end.message) == (Reason.NOT_STARTED, "chain 8996: no RPC server answers; try again later")


@pytest.mark.parametrize(("state", "message", "deletions"), [(None, "vanished", 0), (NODE_LOST, "the node is gone", 1)])
def test_a_lost_pod_is_tried_again_and_in_the_last_try_ends_the_stage(state: dict[str, Any] | None, message: str, deletions: int) -> None:
    pods = FakePods(PodState(state))
    ctx = context_of(Stage.ALGORITHM, pods)
    with pytest.raises(PodLost, match=message):
        run(AlgorithmOperator(), ctx, try_number=6)
    assert pods.done.count(("delete", "j1-algorithm")) == deletions
    assert not [call for call in pods.done if call[0] == "end_stage"]
    end = run(AlgorithmOperator(), ctx, try_number=7)
    assert end.reason is Reason.POD_LOST and message in end.message


@pytest.mark.parametrize("ok", [True, False])
def test_a_stage_whose_end_is_recorded_does_not_run_again(ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = StageEnd(Stage.FILTER, Reason.COMPLETED if ok else Reason.ERROR, message="" if ok else "the filter failed")
    pods = FakePods()
    ctx = context_of(Stage.FILTER, pods, FakeRepository(pods.done, {Stage.FILTER: recorded}))
    operator = FilterOperator()
    monkeypatch.setattr(operator, "_open", lambda context: ctx)
    if ok:
        operator.execute({})
    else:
        with pytest.raises(AirflowFailException, match="filter: the filter failed"):
            operator.execute({})
    assert pods.done == []


# -- SIGTERM -------------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """What on_kill finds over its own connections."""
    pods = FakePods()
    fakes = SimpleNamespace(pods=pods, repository=FakeRepository(pods.done))
    monkeypatch.setattr(pod_module, "Pods", lambda api, namespace: fakes.pods)
    monkeypatch.setattr(pod_module, "JobRepository", lambda url: fakes.repository)
    monkeypatch.setattr("kubernetes.client.ApiClient", lambda configuration: None)
    monkeypatch.setattr(Retention, "__init__", lambda self, repository: None)
    monkeypatch.setattr(Retention, "abandon", lambda self, job_id, stores: pods.done.append(("abandon", job_id, stores)))
    return fakes


def active(operator: C2DPodOperator) -> C2DPodOperator:
    """The operator while its pod runs. Over the connections of the interrupted code, nothing may happen."""
    operator._active = context_of(operator.stage)
    operator.__dict__["client"] = SimpleNamespace(api_client=SimpleNamespace(configuration=None))
    return operator


def test_sigterm_without_a_stop_leaves_the_pod_to_the_next_try(connections: Any) -> None:
    with pytest.raises(WorkerStopped, match="the next try takes it over"):
        active(AlgorithmOperator()).on_kill()
    assert connections.pods.done == []


def test_a_stop_deletes_the_pod_and_records_the_stages_end(connections: Any) -> None:
    connections.repository.row.stopreq = 1
    with pytest.raises(AirflowFailException, match="the job was stopped"):
        active(AlgorithmOperator()).on_kill()
    assert connections.pods.done == [("delete", "j1-algorithm"), ("end_stage", Reason.STOPPED, None)]


def test_a_stop_of_the_whole_run_deletes_all_objects_of_the_job(connections: Any) -> None:
    connections.repository.row.stopreq, connections.repository.row.dateFinished = 1, "now"
    with pytest.raises(AirflowFailException, match="the job was stopped"):
        active(AlgorithmOperator()).on_kill()
    assert connections.pods.done[:2] == [("delete_owner", "j1"), ("delete", "j1-algorithm")]


def test_a_stop_in_publish_deletes_all_objects_and_abandons_the_upload(connections: Any) -> None:
    connections.repository.row.stopreq = 1
    with pytest.raises(AirflowFailException, match="the job was stopped"):
        active(PublishOperator()).on_kill()
    assert connections.pods.done == [
        ("delete_owner", "j1"),
        ("delete", "j1-publish"),
        ("end_stage", Reason.STOPPED, None),
        ("abandon", "j1", {"results": {"type": "directory"}}),
    ]


def test_a_stop_after_the_end_was_recorded_lets_the_task_finish(connections: Any) -> None:
    connections.repository.row.stopreq = 1
    operator = active(AlgorithmOperator())
    run(operator, context_of(Stage.ALGORITHM, FakePods(*TO_THE_END)))
    operator.on_kill()
    assert connections.pods.done == []


# -- the log ---------------------------------------------------------------------------------------------------------------------------


def test_untrusted_lines_are_harmless_in_the_tasks_log() -> None:
    assert readable(b"\x1b[31mred\x1b[0m") == r"\x1b[31mred\x1b[0m"
    assert readable(b"::group::hide\r") == r": :group::hide\r"
    assert readable(b"\xff ok \xe2\x80\xae") == r"\xff ok \u202e"
    assert len(readable(b"x" * 10**6)) == 4096
