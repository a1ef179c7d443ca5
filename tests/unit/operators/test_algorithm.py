from __future__ import annotations

import pytest

from c2d.errors import ManifestRejected
from c2d.jobs.status import Stage
from c2d.operators.algorithm import AlgorithmOperator
from tests.unit.operators.stage import ENDED, RUNNING, FakePods, context_of


def test_no_algorithm_runs_in_a_namespace_that_does_not_deny_the_network_by_default() -> None:
    with pytest.raises(ManifestRejected, match="lacks the NetworkPolicy c2d-default-deny"):
        AlgorithmOperator().prepare(context_of(Stage.ALGORITHM, FakePods(denies=False)))


def test_the_algorithms_time_starts_with_its_container() -> None:
    pods = FakePods()
    AlgorithmOperator().on_container_start(context_of(Stage.ALGORITHM, pods), RUNNING)
    assert pods.done == [("set_status", 40), ("set_deadline", "j1-algorithm", 45 + 60)]


def test_a_container_that_has_already_ended_gets_no_deadline() -> None:
    pods = FakePods()
    AlgorithmOperator().on_container_start(context_of(Stage.ALGORITHM, pods), ENDED)
    assert pods.done == [("set_status", 40)]


def test_an_operator_that_may_not_patch_pods_enforces_the_time_limit_itself(capsys: pytest.CaptureFixture[str]) -> None:
    AlgorithmOperator().on_container_start(context_of(Stage.ALGORITHM, FakePods(patchable=False)), RUNNING)
    assert "operators may not patch pods" in capsys.readouterr().out


@pytest.mark.parametrize(("enabled", "network"), [("1", True), ("0", False)])
def test_the_environment_can_forbid_the_network(enabled: str, network: bool) -> None:
    assert AlgorithmOperator().allows_network(context_of(Stage.ALGORITHM, enableNetwork=enabled)) is network
