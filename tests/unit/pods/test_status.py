from __future__ import annotations

import json
from typing import Any

import pytest

from c2d.contract import ConfigureAnswer, Failure
from c2d.jobs.status import Reason, Stage
from c2d.pods.status import deadline, end_of, running_since, why_pending


def pod(state: dict[str, Any] | None = None, phase: str = "Running", reason: str | None = None, **status: Any) -> dict[str, Any]:
    statuses = [{"name": "base", "state": state}] if state is not None else []
    return {"status": {"phase": phase, "reason": reason, "containerStatuses": statuses, **status}}


def ended(code: int, reason: str = "Error", message: str = "") -> dict[str, Any]:
    times = {"startedAt": "2026-11-22T06:00:00Z", "finishedAt": "2026-11-22T06:00:05Z"}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


RUNNING = {"running": {"startedAt": "2026-11-22T06:00:00Z"}}
PULL_FAILED = {"waiting": {"reason": "ErrImagePull", "message": "rpc error: code = NotFound desc = x: not found"}}
PULL_LATER = {"waiting": {"reason": "ErrImagePull", "message": "dial tcp: connection refused"}}

CASES: dict[str, tuple[dict[str, Any], Reason | None]] = {
    "not scheduled": (pod(None, "Pending"), None),
    "runs": (pod(RUNNING), None),
    "succeeded before the phase changes": (pod(ended(0, "Completed")), Reason.COMPLETED),
    "failed before the phase changes": (pod(ended(3)), Reason.ERROR),
    "killed before the phase changes": (pod(ended(137)), None),
    "killed by itself": (pod(ended(137), "Failed"), Reason.ERROR),
    "out of memory": (pod(ended(137, "OOMKilled")), Reason.OOM_KILLED),
    "deadline": (pod(ended(137), "Failed", "DeadlineExceeded"), Reason.DEADLINE_EXCEEDED),
    "deadline before it started": (pod(None, "Failed", "DeadlineExceeded"), Reason.NOT_STARTED),
    "deadline during isolation": (
        pod(None, "Failed", "DeadlineExceeded", initContainerStatuses=[{"name": "isolated", "state": ended(137)}]),
        Reason.NOT_STARTED,
    ),
    "evicted during isolation": (
        pod(None, "Failed", "Evicted", initContainerStatuses=[{"name": "isolated", "state": ended(137)}]),
        Reason.EVICTED,
    ),
    "deadline before the container is reported as ended": (pod(RUNNING, "Failed", "DeadlineExceeded"), Reason.DEADLINE_EXCEEDED),
    "evicted": (pod(ended(137), "Failed", "Evicted"), Reason.EVICTED),
    "node lost": (pod(ended(137), "Failed", "NodeLost"), Reason.POD_LOST),
    "failed for an unknown reason": (pod(None, "Failed", "Whatever"), Reason.POD_LOST),
    "no such image": (pod(PULL_FAILED, "Pending"), Reason.NOT_STARTED),
    "registry does not answer": (pod(PULL_LATER, "Pending"), None),
    "invalid image name": (pod({"waiting": {"reason": "InvalidImageName"}}, "Pending"), Reason.NOT_STARTED),
    "init container failed": (pod(None, "Failed", initContainerStatuses=[{"name": "i", "state": ended(2)}]), Reason.ERROR),
    "not isolated in time": (pod(None, "Failed", initContainerStatuses=[{"name": "isolated", "state": ended(1)}]), Reason.NOT_STARTED),
    "init container runs": (pod(None, "Pending", initContainerStatuses=[{"name": "i", "state": {"running": {}}}]), None),
    "init container cannot be pulled": (
        pod(None, "Pending", initContainerStatuses=[{"name": "i", "state": PULL_FAILED}]),
        Reason.NOT_STARTED,
    ),
}


@pytest.mark.parametrize(("status", "reason"), CASES.values(), ids=CASES)
def test_the_end_of_a_pod_follows_from_its_status(status: dict[str, Any], reason: Reason | None) -> None:
    end = end_of(status)
    assert (end and end.reason) == reason


@pytest.mark.parametrize(("accepted", "seconds"), [("05:59:30", 42), ("06:00:00", 12), ("06:00:10", 12), ("05:00:00", 912), (None, 12)])
def test_the_containers_time_starts_with_it_and_never_ends_after_the_pods(accepted: str | None, seconds: int) -> None:
    running = pod(RUNNING, **({"startTime": f"2026-11-22T{accepted}Z"} if accepted else {}))
    assert deadline({**running, "spec": {"activeDeadlineSeconds": 912}}, 12) == seconds


def test_the_end_has_the_containers_times_and_message() -> None:
    end = end_of(pod(ended(0, "Completed", '{"ok": true, "files": 3, "bytes": 5, "seconds": 0.1}')))
    assert end is not None and end.started is not None and end.finished is not None
    assert (end.finished - end.started).total_seconds() == 5
    assert end.of_stage(Stage.CONFIGURE).answer == ConfigureAnswer(files=3, bytes=5, seconds=0.1)
    assert running_since(pod({"running": {"startedAt": "2026-11-22T06:00:00Z"}})) == end.started


def test_the_message_of_a_failed_stage_is_the_one_in_its_answer() -> None:
    answer = json.dumps({"ok": False, "status": 31, "message": "inputs[0].files[0]: 404"})
    end = end_of(pod(ended(1, message=answer))).of_stage(Stage.CONFIGURE)  # type: ignore[union-attr]
    assert (end.message, end.answer) == ("inputs[0].files[0]: 404", Failure(status=31, message="inputs[0].files[0]: 404"))


@pytest.mark.parametrize("answer", ["", "not json", "[]", '{"ok": false}', '{"released": 1, "withheld": 0, "bytes": 1}', '{"ok": true}'])
def test_a_stage_that_exits_with_0_without_a_positive_answer_has_failed(answer: str) -> None:
    end = end_of(pod(ended(0, "Completed", answer))).of_stage(Stage.FILTER)  # type: ignore[union-attr]
    assert not end.ok and end.message == "the stage gave no answer"


def test_the_algorithms_termination_message_is_not_read() -> None:
    for code, reason in ((0, "Completed"), (1, "Error"), (137, "OOMKilled")):
        end = end_of(pod(ended(code, reason, '{"ok": true, "leak": "patient 7"}'), "Failed")).of_stage(Stage.ALGORITHM)  # type: ignore[union-attr]
        assert "patient" not in repr(end)


def test_a_pending_pod_tells_what_it_waits_for() -> None:
    conditions = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}]
    assert "Insufficient cpu" in why_pending(pod(None, "Pending", conditions=conditions))


@pytest.mark.parametrize("stage", Stage)
def test_a_message_of_kubernetes_may_contain_braces(stage: Stage) -> None:
    taint = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/disk-pressure: }."
    end = end_of(pod(None, "Failed", "DeadlineExceeded", conditions=[{"status": "False", "message": taint}]))
    assert end and end.of_stage(stage).message == f"the pod did not start in time: {taint}"
