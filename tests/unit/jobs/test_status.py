from __future__ import annotations

import itertools

import pytest

from c2d.contract import Failure
from c2d.jobs.status import FINAL, TEXTS, Reason, Stage, StageEnd, Status, can_follow, outcome


def ends(**reasons: Reason) -> dict[Stage, StageEnd]:
    codes = {Reason.COMPLETED: 0, Reason.ERROR: 3, Reason.OOM_KILLED: 137}
    return {Stage(s): StageEnd(Stage(s), r, codes.get(r), f"{s} said so") for s, r in reasons.items()}


OK = {s: Reason.COMPLETED for s in ("configure", "algorithm", "filter", "publish")}


def test_the_texts_are_oceans() -> None:
    assert TEXTS[Status.RUNNING] == "Running algorithm "
    assert [int(s) for s in Status] == [1, 20, 30, 31, 32, 40, 50, 60, 62, 70]
    assert set(TEXTS) == set(Status)


def test_numbers_only_rise_and_a_final_number_stays() -> None:
    for old, new in itertools.product(Status, Status):
        assert can_follow(old, new) == (new > old and old not in FINAL)


@pytest.mark.parametrize(
    ("reasons", "stopped", "status", "reason", "code"),
    [
        (OK, False, 70, "Completed", 0),
        (OK, True, 70, "Completed", 0),  # the stop came too late to change anything
        ({**OK, "algorithm": Reason.ERROR}, False, 70, "Error", 3),
        ({**OK, "algorithm": Reason.OOM_KILLED}, False, 70, "OOMKilled", 137),
        ({**OK, "algorithm": Reason.DEADLINE_EXCEEDED}, False, 70, "DeadlineExceeded", None),
        ({**OK, "algorithm": Reason.EVICTED}, False, 70, "Evicted", None),
        ({**OK, "algorithm": Reason.STOPPED}, True, 70, "Stopped", None),
        ({**OK, "filter": Reason.ERROR}, False, 70, "FilterFailed", 0),
        ({**OK, "publish": Reason.ERROR}, False, 62, "PublishFailed", 0),
        ({s: OK[s] for s in ("configure", "algorithm", "filter")}, False, 62, "PublishFailed", 0),
        ({s: OK[s] for s in ("configure", "algorithm", "filter")}, True, 70, "Stopped", 0),
        ({"configure": Reason.STOPPED, "filter": Reason.COMPLETED, "publish": Reason.COMPLETED}, True, 70, "Stopped", None),
        ({"configure": Reason.ERROR, "filter": Reason.COMPLETED, "publish": Reason.COMPLETED}, False, 31, "ProvisioningFailed", None),
        ({"configure": Reason.COMPLETED, "filter": Reason.COMPLETED, "publish": Reason.COMPLETED}, False, 70, "PodLost", None),
        ({}, True, 70, "Stopped", None),
        ({}, False, 62, "PublishFailed", None),
    ],
)
def test_the_outcome_follows_from_the_stages_alone(reasons: dict, stopped: bool, status: int, reason: str, code: int | None) -> None:
    end = outcome(ends(**reasons), stopped)
    assert (end.status, end.terminationDetails["reason"], end.terminationDetails["exitCode"]) == (status, reason, code)
    assert end.terminationDetails["OOMKilled"] == (reason == "OOMKilled")
    assert end.ok == (reason == "Completed")


def test_an_algorithm_that_could_not_be_fetched_is_32() -> None:
    failed = StageEnd(Stage.CONFIGURE, Reason.ERROR, 1, "algorithm.files[0]: 404", Failure(status=32, message="algorithm.files[0]: 404"))
    assert outcome({Stage.CONFIGURE: failed}, stopped=False).status == 32


def test_configures_failure_is_told_even_when_publishing_failed_too() -> None:
    end = outcome(ends(configure=Reason.ERROR, publish=Reason.ERROR), stopped=False)
    assert (end.status, end.terminationDetails["message"]) == (31, "configure said so")
