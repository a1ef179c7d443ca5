"""How an operator reads what happens to its pod, in orders that a real cluster shows only now and then. The usual ways are in tests/e2e."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from c2d.crypto import ecies
from c2d.crypto.signatures import signer_of_hash
from c2d.errors import ManifestRejected, UpstreamUnavailable
from c2d.hooks.kubernetes import LogLine, PodState
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage
from c2d.operators import pod as pod_module
from c2d.operators.algorithm import AlgorithmOperator
from c2d.operators.configure import ConfigureOperator
from c2d.operators.pod import C2DPodOperator, PodLost, readable
from c2d.operators.publish import PublishOperator
from c2d.pods.status import PodEnd
from c2d.settings import installation
from tests.unit.examples import job, remote_job

RUNNING = {
    "spec": {"activeDeadlineSeconds": 4500},
    "status": {
        "phase": "Running",
        "startTime": "2026-11-22T05:59:15Z",
        "containerStatuses": [{"name": "base", "state": {"running": {"startedAt": "2026-11-22T06:00:00Z"}}}],
    },
}
PENDING: dict[str, Any] = {"status": {"phase": "Pending"}}
END = {"exitCode": 0, "reason": "Completed", "startedAt": "2026-11-22T06:00:00Z", "finishedAt": "2026-11-22T06:00:01Z"}
ENDED = {"status": {"phase": "Running", "containerStatuses": [{"name": "base", "state": {"terminated": END}}]}}


class Scripted:
    """Pods whose events come in a given order; asking for more than these is the failure."""

    def __init__(self, *events: PodState | LogLine):
        self.events = events
        self.deleted: list[str] = []
        self.deadlines: list[int] = []

    def set_deadline(self, name: str, seconds: int) -> bool:
        self.deadlines.append(seconds)
        return True

    def follow(self, pod: Any, log_bytes: int, tick: float) -> Iterator[PodState | LogLine]:
        yield from self.events
        raise AssertionError("the operator still waits after the last event")

    def delete(self, name: str) -> None:
        self.deleted.append(name)


def followed(*events: PodState | LogLine) -> tuple[Scripted, list[int], PodEnd]:
    operator, pods = AlgorithmOperator(), Scripted(*events)
    read = installation.read({"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x"})
    operator.settings, operator.environment = read, read.environments[0]
    operator.job, operator.job_id, operator.pod_name = Job.parse(job(), "ocean-compute"), "j1", "j1-algorithm"
    operator.pods = pods  # type: ignore[assignment]
    shown: list[int] = []
    operator.store = type("Row", (), {"set_status": lambda self, job_id, status: shown.append(int(status))})()  # type: ignore[assignment]
    end = operator._follow(PENDING)
    return pods, shown, end


def follow(*events: PodState | LogLine) -> tuple[PodEnd, list[int]]:
    _, shown, end = followed(*events)
    return end, shown


def test_the_algorithms_time_begins_with_its_container() -> None:
    pods, _, _ = followed(PodState(RUNNING), PodState(RUNNING), LogLine(None), PodState(ENDED))
    assert pods.deadlines == [45 + 60]
    pods, _, _ = followed(PodState(ENDED), LogLine(None))
    assert pods.deadlines == []


@pytest.mark.parametrize(
    "events",
    [
        [PodState(RUNNING), LogLine(b"x"), LogLine(None), PodState(ENDED)],
        [PodState(RUNNING), PodState(ENDED), LogLine(b"x"), LogLine(None)],
        [PodState(PENDING), PodState(ENDED), LogLine(None)],
    ],
    ids=["log ends first", "container ends first", "never seen running"],
)
def test_the_stage_ends_as_soon_as_both_the_container_and_its_log_have(events: list[PodState | LogLine]) -> None:
    end, shown = follow(*events)
    assert (end.reason, shown) == (Reason.COMPLETED, [40])


def test_a_pod_that_vanishes_without_an_end_is_lost() -> None:
    with pytest.raises(PodLost, match="vanished"):
        follow(PodState(RUNNING), PodState(None))


@pytest.mark.parametrize(("operator", "gone"), [(AlgorithmOperator, ["j1-algorithm"]), (PublishOperator, ["j1", "j1-publish"])])
def test_a_stop_takes_the_stages_pod_and_in_the_last_stage_all_else(
    operator: type[C2DPodOperator], gone: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[str] = []

    class Remembers:
        def __init__(self, *_: Any) -> None: ...
        def delete(self, name: str) -> None:
            deleted.append(name)

        delete_owner = delete

    class Row:
        stopreq, dateFinished = 1, None

        def job(self, job_id: str) -> Row:
            return self

        def end_stage(self, *_: Any) -> None: ...

    class Retention:
        def __init__(self, store: Row) -> None: ...

        def abandon(self, job_id: str, stores: dict[str, Any]) -> None:
            abandoned.append(stores)

    abandoned: list[dict[str, Any]] = []
    monkeypatch.setattr("c2d.operators.publish.Retention", Retention)
    monkeypatch.setattr(pod_module, "Pods", Remembers)
    monkeypatch.setattr(pod_module, "JobRepository", lambda url: Row())
    monkeypatch.setattr("kubernetes.client.ApiClient", lambda configuration: None)
    it = operator()
    it.job_id, it.pod_name, it._following = "j1", f"j1-{it.stage}", True
    it.settings = installation.read({"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x"})
    it.environment = it.settings.environments[0]
    it.__dict__["client"] = type("C", (), {"api_client": type("A", (), {"configuration": None})})
    with pytest.raises(AirflowFailException, match="stopped"):
        it.on_kill()
    assert deleted == gone
    assert abandoned == ([{"results": {"type": "directory"}}] if it.stage is Stage.PUBLISH else [])


def configure_of_orders(provider: str | None, **more: str) -> ConfigureOperator:
    operator = ConfigureOperator()
    variables = {"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x", "access_control": "open"}
    operator.settings = installation.read({**variables, **more})
    operator.environment, operator.job_id = operator.settings.environments[0], "j1"
    operator.job = Job.parse(remote_job(), "ocean-compute")
    operator.store = SimpleNamespace(job=lambda job_id: SimpleNamespace(provider=provider, dateCreated=datetime.now(UTC)))  # type: ignore[assignment]
    return operator


def test_a_job_that_no_provider_sent_gets_no_grants() -> None:
    with pytest.raises(ManifestRejected, match="remote: is accepted from Ocean Providers only"):
        configure_of_orders(provider=None).content({})


def test_configure_asks_public_servers_alone_unless_the_operator_says_otherwise() -> None:
    for more, public_only in (({}, True), ({"ALLOW_NON_PUBLIC_IP": "1"}, False)):
        operator = configure_of_orders("0x" + "11" * 20, **more)  # type: ignore[arg-type]
        assert json.loads(operator.content({})["stage.json"])["limits"]["publicOnly"] is public_only


def test_configure_gets_grants_of_now_for_each_asset_by_transaction() -> None:
    operator = configure_of_orders(provider="0x" + "11" * 20)
    read = operator.settings
    text = operator.content({})["stage.json"]
    content = json.loads(text)
    for asset in (content["inputs"][0], content["algorithm"]):
        granted = asset["remote"]["grants"]
        assert len(granted) == 1024
        for nonce, signature in (granted[0], granted[-1]):
            assert signer_of_hash(f"{asset['id']}{nonce}", signature) == read.address == content["consumerAddress"]
        assert -10_000 < granted[0][0] - time.time() * 1000 < 10_000
        assert granted[-1][0] - granted[0][0] > 7000 * 1000
    assert read.OPERATOR_PRIVATE_KEY[2:] not in text and len(text) < 2**20


def test_untrusted_lines_are_harmless_in_the_task_log() -> None:
    assert readable(b"\x1b[31mred\x1b[0m") == r"\x1b[31mred\x1b[0m"
    assert readable(b"::group::hide\r") == r": :group::hide\r"
    assert readable(b"\xff ok \xe2\x80\xae") == r"\xff ok \u202e"
    assert len(readable(b"x" * 10**6)) == 4096


def test_what_cannot_be_asked_is_asked_again_and_in_the_end_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **__: Any) -> Any:
        raise UpstreamUnavailable("chain 8996: no RPC server answers; try again later")

    operator = ConfigureOperator()
    operator.settings = installation.read({"OPERATOR_PRIVATE_KEY": ecies.new_private_key(), "C2D_DATABASE_URL": "postgresql://x"})
    operator.job_id, operator.pod_name = "j1", "j1-configure"
    operator.pods = Scripted()  # type: ignore[assignment]
    ended: list[Any] = []
    operator.store = SimpleNamespace(end_stage=lambda job_id, end, *_: ended.append(end) or end)  # type: ignore[assignment]
    monkeypatch.setattr(operator, "make_pod", silent)
    with pytest.raises(AirflowException, match="chain 8996: no RPC server answers"):
        operator._run({}, 6, 6)
    assert ended == []
    end = operator._run({}, 7, 6)
    assert (end.reason, end.message) == (Reason.NOT_STARTED, "chain 8996: no RPC server answers; try again later") and not end.ok
