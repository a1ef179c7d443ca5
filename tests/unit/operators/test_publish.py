"""How publish answers upload plans, verifies the results and ends the job. Real stores are in tests/stages and tests/e2e."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from c2d.contract import Manifest, PublishAnswer
from c2d.errors import ManifestRejected, ResultStoreError
from c2d.jobs.status import Outcome, Reason, Stage, StageEnd, Status, termination_details
from c2d.operators import publish as publish_module
from c2d.operators.publish import PublishOperator
from c2d.pods.status import PodEnd
from c2d.results.stores import Published
from tests.unit.operators.stage import FakePods, FakeRepository, context_of

ANSWER = '{"ok": true, "files": 0, "bytes": 0, "manifestSha256": "%s"}' % ("00" * 32)
MANIFEST = Manifest(job="j1", files=(), withheld=())
STORES = {"results": {"type": "directory"}}


class FakeStores:
    """The job's stores. ``failure``: what each of them raises."""

    def __init__(self, failure: str | None = None):
        self.failure = failure
        self.plans_answered = 0
        self.verified = 0

    def _fail(self) -> None:
        if self.failure:
            raise ResultStoreError(self.failure)

    def answer_plans(self, seconds: int) -> None:
        self._fail()
        self.plans_answered += 1

    def verify_published(self, answer: PublishAnswer, opened: Any) -> Published:
        self._fail()
        self.verified += 1
        return Published(MANIFEST, STORES)


class Repository(FakeRepository):
    """A job that ends with ``outcome``."""

    outcome = Outcome(Status.FINISHED, termination_details(Reason.COMPLETED, exit_code=0))

    def finish_job(self, job_id: str, manifest: Any = None, stores: Any = None) -> Outcome:
        self.done.append(("finish_job", manifest and manifest["job"], stores))
        return self.outcome


@pytest.fixture
def stores(monkeypatch: pytest.MonkeyPatch) -> FakeStores:
    fake = FakeStores()
    monkeypatch.setattr(publish_module, "_stores", lambda ctx: fake)
    return fake


def published() -> StageEnd:
    return PodEnd(Reason.COMPLETED, 0, ANSWER).of_stage(Stage.PUBLISH)


def test_a_job_whose_volume_is_gone_is_not_published_again() -> None:
    ctx = context_of(Stage.PUBLISH, FakePods(), FakeRepository(dateFinished="before"))
    with pytest.raises(ManifestRejected, match="nothing left to publish"):
        PublishOperator().prepare(ctx)


def test_only_the_line_that_announces_a_plan_is_answered(stores: FakeStores) -> None:
    operator, ctx = PublishOperator(), context_of(Stage.PUBLISH)
    operator.on_log_line(ctx, "uploading outputs/plan b")
    assert stores.plans_answered == 0
    operator.on_log_line(ctx, "plan 0123456789abcdef: 1 file")
    assert stores.plans_answered == 1


def test_a_plan_for_something_outside_of_the_jobs_results_is_rejected(stores: FakeStores) -> None:
    stores.failure = "../other: is not a result of this job"
    with pytest.raises(ManifestRejected, match=r"upload plan is rejected: \.\./other"):
        PublishOperator().on_log_line(context_of(Stage.PUBLISH), "plan 0123456789abcdef: 1 file")


@pytest.mark.parametrize(("message", "failure"), [(ANSWER, "outputs/a: is missing"), ('{"ok": true}', None)])
def test_publish_has_failed_if_its_results_cannot_be_verified(stores: FakeStores, message: str, failure: str | None) -> None:
    stores.failure = failure
    end = PublishOperator().stage_end(context_of(Stage.PUBLISH), PodEnd(Reason.COMPLETED, 0, message))
    assert end.reason is Reason.ERROR and (failure or "the stage gave no answer") in end.message


def test_the_job_ends_with_the_verified_results_and_its_objects_are_deleted(stores: FakeStores) -> None:
    operator, pods = PublishOperator(), FakePods()
    ctx = context_of(Stage.PUBLISH, pods, Repository(pods.done))
    operator.conclude(ctx, operator.stage_end(ctx, PodEnd(Reason.COMPLETED, 0, ANSWER)))
    assert pods.done == [("finish_job", "j1", STORES), ("delete_owner", "j1")]
    assert stores.verified == 1


def test_results_that_an_earlier_try_recorded_are_verified_before_the_job_ends(stores: FakeStores) -> None:
    stores.failure = "outputs/a: is missing"
    pods = FakePods()
    with pytest.raises(ResultStoreError, match="is missing"):
        PublishOperator().conclude(context_of(Stage.PUBLISH, pods, Repository(pods.done)), published())
    assert pods.done == []


def test_results_of_a_job_that_has_ended_are_not_verified_again(stores: FakeStores) -> None:
    pods = FakePods()
    repository = Repository(pods.done, dateFinished="before", status=Status.FINISHED)
    PublishOperator().conclude(context_of(Stage.PUBLISH, pods, repository), published())
    assert pods.done == [("finish_job", None, None), ("delete_owner", "j1")]
    assert stores.verified == 0


def test_results_that_were_published_after_the_job_ended_without_them_are_verified(stores: FakeStores) -> None:
    pods = FakePods()
    repository = Repository(pods.done, dateFinished="before", status=Status.UPLOAD_FAILED)
    PublishOperator().conclude(context_of(Stage.PUBLISH, pods, repository), published())
    assert pods.done == [("finish_job", "j1", STORES), ("delete_owner", "j1")]


def test_the_volume_of_a_job_that_was_not_published_remains(stores: FakeStores) -> None:
    pods = FakePods()
    end = StageEnd(Stage.PUBLISH, Reason.ERROR, 1, "the store refuses")
    with pytest.raises(AirflowFailException, match="publish: the store refuses"):
        PublishOperator().conclude(context_of(Stage.PUBLISH, pods, Repository(pods.done)), end)
    assert pods.done == [("finish_job", None, None)]


def test_the_task_of_a_failed_job_fails_although_its_logs_are_published(stores: FakeStores) -> None:
    pods = FakePods()
    repository = Repository(pods.done)
    repository.outcome = Outcome(Status.FINISHED, termination_details(Reason.ERROR, "ended with exit code 3", 3))
    with pytest.raises(AirflowFailException, match="its logs are published: Error: ended with exit code 3"):
        PublishOperator().conclude(context_of(Stage.PUBLISH, pods, repository), published())
    assert pods.done == [("finish_job", "j1", STORES), ("delete_owner", "j1")]
