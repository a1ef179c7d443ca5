from __future__ import annotations

import itertools

import pytest

from c2d.contract import Failure
from c2d.jobs.status import Reason, Stage, StageEnd, Status, after_stage, can_follow, outcome


def ends(**reasons: Reason) -> dict[Stage, StageEnd]:
    codes = {Reason.COMPLETED: 0, Reason.ERROR: 3, Reason.OOM_KILLED: 137}
    return {Stage(s): StageEnd(Stage(s), r, codes.get(r), f"message of {s}") for s, r in reasons.items()}


OK = {s: Reason.COMPLETED for s in ("configure", "algorithm", "filter", "publish")}


def test_numbers_and_texts_are_oceans() -> None:
    assert {int(status): status.text for status in Status} == {
        1: "Warming up",
        20: "Configuring volumes",
        30: "Provisioning success",
        31: "Data provisioning failed",
        32: "Algorithm provisioning failed",
        40: "Running algorithm ",
        50: "Filtering results",
        60: "Publishing results",
        62: "Failed to upload results to storage",
        70: "Job finished",
    }


def test_numbers_only_rise_and_a_final_one_stays() -> None:
    for old, new in itertools.product(Status, Status):
        assert can_follow(old, new) == (new > old and old not in (31, 32, 62, 70))


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
def test_the_outcome_depends_only_on_the_ends_of_the_stages(
    reasons: dict[str, Reason], stopped: bool, status: int, reason: str, code: int | None
) -> None:
    end = outcome(ends(**reasons), stopped)
    assert (end.status, end.terminationDetails["reason"], end.terminationDetails["exitCode"]) == (status, reason, code)
    assert end.terminationDetails["OOMKilled"] == (reason == "OOMKilled")
    assert end.ok == (reason == "Completed")


def test_a_job_whose_algorithm_could_not_be_fetched_ends_at_32() -> None:
    failed = StageEnd(Stage.CONFIGURE, Reason.ERROR, 1, "algorithm.files[0]: 404", Failure(status=32, message="algorithm.files[0]: 404"))
    assert outcome({Stage.CONFIGURE: failed}, stopped=False).status == 32


def test_the_failure_of_configure_is_reported_even_if_publishing_failed_too() -> None:
    end = outcome(ends(configure=Reason.ERROR, publish=Reason.ERROR), stopped=False)
    assert (end.status, end.terminationDetails["message"]) == (31, "message of configure")


def test_only_configure_sets_a_status_when_it_ends() -> None:
    assert after_stage(StageEnd(Stage.CONFIGURE, Reason.COMPLETED)) is Status.CONFIGURED
    assert after_stage(StageEnd(Stage.CONFIGURE, Reason.NOT_STARTED)) is Status.INPUT_FAILED
    assert [after_stage(StageEnd(stage, Reason.COMPLETED)) for stage in (Stage.ALGORITHM, Stage.FILTER, Stage.PUBLISH)] == [None] * 3
