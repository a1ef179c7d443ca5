"""What a stage's task decides about the events of its pod, at moments that a real cluster shows only now and then."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from c2d.hooks.kubernetes import LogLine, PodState
from c2d.jobs.status import Reason
from c2d.operators.follow import ContainerStarted, Decision, Ended, LogTruncated, Lost, ShowLine, StageFollower
from c2d.pods.status import PodEnd
from tests.unit.operators.stage import ENDED, NODE_LOST, PENDING, RUNNING

START_SECONDS, RUN_SECONDS, LOG_BYTES = 900, 60, 10


def decided(*events: tuple[float, PodState | LogLine]) -> list[list[Decision]]:
    """The decisions about each event; an event comes with its time. The pod was created at 1000."""
    follower = StageFollower(1000, START_SECONDS, RUN_SECONDS, LOG_BYTES)
    return [list(follower.decide(event, now)) for now, event in events]


def ends(*events: tuple[float, PodState | LogLine]) -> list[PodEnd | None]:
    """How the stage has ended after each event."""
    return [next((d.end for d in decisions if isinstance(d, Ended)), None) for decisions in decided(*events)]


@pytest.mark.parametrize(
    "events",
    [
        [PodState(RUNNING), LogLine(b"x"), LogLine(None), PodState(ENDED)],
        [PodState(RUNNING), PodState(ENDED), LogLine(b"x"), LogLine(None)],
        [PodState(PENDING), PodState(ENDED), LogLine(None)],
    ],
    ids=["log ends first", "container ends first", "never seen running"],
)
def test_a_stage_ends_when_both_its_container_and_its_log_have_ended(events: list[PodState | LogLine]) -> None:
    *before, last = ends(*((1001, event) for event in events))
    assert before == [None] * len(before)
    assert last and last.reason is Reason.COMPLETED


def test_the_rest_of_a_log_is_awaited_for_three_seconds() -> None:
    *before, last = ends(
        (1001, PodState(RUNNING)), (1002, PodState(ENDED)), (1004.9, LogLine(b"late")), (1004.9, PodState(ENDED)), (1005, PodState(ENDED))
    )
    assert before == [None] * 4
    assert last and last.reason is Reason.COMPLETED


def test_the_start_of_the_container_is_decided_once() -> None:
    events = [PodState(PENDING), PodState(RUNNING), PodState(RUNNING), PodState(ENDED)]
    starts = [d for decisions in decided(*((1001, event) for event in events)) for d in decisions if isinstance(d, ContainerStarted)]
    assert starts == [ContainerStarted(RUNNING)]


def test_a_container_that_starts_and_ends_between_two_events_has_started() -> None:
    assert decided((1001, PodState(ENDED))) == [[ContainerStarted(ENDED)]]


def test_every_line_of_the_log_is_shown_and_a_truncated_log_is_noted() -> None:
    assert decided((1001, LogLine(b"12345")), (1001, LogLine(b"789")), (1001, LogLine(None))) == [
        [ShowLine(b"12345")],
        [ShowLine(b"789")],
        [LogTruncated()],
    ]
    assert decided((1001, LogLine(b"12345678")), (1001, LogLine(None)))[-1] == []


def test_a_pod_that_vanishes_without_an_end_is_lost() -> None:
    assert decided((1001, PodState(RUNNING)), (1002, PodState(None)))[-1] == [Lost("the pod vanished before it had ended", remains=False)]


def test_a_pod_that_vanishes_after_its_end_is_not_lost() -> None:
    assert decided((1001, PodState(RUNNING)), (1002, PodState(ENDED)), (1003, PodState(None)))[-1] == []


def test_the_pod_of_a_lost_node_remains() -> None:
    assert decided((1001, PodState(NODE_LOST))) == [[Lost("the node is gone", remains=True)]]


def test_a_pod_that_does_not_start_in_time_ends_the_stage() -> None:
    pending = copy.deepcopy(PENDING)
    pending["status"]["conditions"] = [{"status": "False", "message": "0/1 nodes are available"}]
    in_time, late = ends((1000 + START_SECONDS, PodState(pending)), (1000.1 + START_SECONDS, PodState(pending)))
    assert in_time is None
    assert late == PodEnd(Reason.NOT_STARTED, message="the pod did not start in time: 0/1 nodes are available")


def test_an_image_that_cannot_be_pulled_ends_the_stage_without_waiting_for_a_log() -> None:
    waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
    state: dict[str, Any] = {"status": {"phase": "Pending", "containerStatuses": [{"name": "base", "state": waiting}]}}
    (end,) = ends((1001, PodState(state)))
    assert end and end.reason is Reason.NOT_STARTED


def test_a_container_that_the_kubelet_does_not_end_is_given_up_a_minute_after_its_deadline() -> None:
    _, in_time, late = ends((1500, PodState(RUNNING)), (1620, PodState(RUNNING)), (1620.1, PodState(RUNNING)))
    assert in_time is None
    assert late == PodEnd(Reason.DEADLINE_EXCEEDED)
