"""What is used of Airflow's internals is where we expect it, and nothing outside the one file uses it."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import c2d

PACKAGE = Path(c2d.__file__).parent
_PARTS = r"_shared|api|api_fastapi|exceptions|jobs|models|sdk\.execution_time|serialization|utils"
INTERNAL = re.compile(rf"^\s*(?:from|import) airflow\.(?:{_PARTS})\b", re.MULTILINE)


def test_only_airflow_runs_imports_the_internals_of_airflow() -> None:
    users = {str(f.relative_to(PACKAGE)) for f in PACKAGE.rglob("*.py") if INTERNAL.search(f.read_text())}
    assert users == {"lifecycle/airflow_runs.py"}


def parameters(function: object) -> set[str]:
    return set(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_dag_bag_gives_the_dag_of_a_run_and_the_latest_version() -> None:
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    bag = create_dag_bag()
    assert {"dag_id", "session"} <= parameters(bag.get_latest_version_of_dag)
    assert "session" in parameters(bag.get_dag_for_run)


def test_a_dag_makes_a_run_sets_a_task_and_clears_one_with_the_arguments_that_we_use() -> None:
    from airflow.serialization.definitions.dag import SerializedDAG

    run = {"run_id", "run_after", "conf", "run_type", "triggered_by", "state", "session"}
    assert run <= parameters(SerializedDAG.create_dagrun)
    assert {"task_id", "run_id", "state", "session"} <= parameters(SerializedDAG.set_task_instance_state)
    assert {"task_ids", "run_id", "session"} <= parameters(SerializedDAG.clear)


def test_a_run_is_failed_by_the_function_that_the_rest_api_uses() -> None:
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed

    assert {"dag", "run_id", "commit", "session"} <= parameters(set_dag_run_state_to_failed)


@pytest.mark.parametrize("column", ["id", "dag_id", "run_id", "state"])
def test_a_dag_run_has_the_columns_that_we_read(column: str) -> None:
    from airflow.models.dagrun import DagRun

    assert hasattr(DagRun, column)


@pytest.mark.parametrize("column", ["dag_id", "run_id", "task_id", "state"])
def test_a_task_instance_has_the_columns_that_we_read(column: str) -> None:
    from airflow.models.taskinstance import TaskInstance

    assert hasattr(TaskInstance, column)


def test_the_states_and_types_of_a_run_have_the_names_that_we_use() -> None:
    from airflow.utils.state import DagRunState, State, TaskInstanceState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType

    assert DagRunState.QUEUED not in State.finished_dr_states and DagRunState.FAILED in State.finished_dr_states
    assert {TaskInstanceState.FAILED, TaskInstanceState.SUCCESS} <= set(State.finished)
    assert DagRunType.MANUAL == "manual" and DagRunTriggeredByType.REST_API.value == "rest_api"


def test_a_refused_conf_and_a_session_are_where_we_expect_them() -> None:
    from airflow._shared.timezones import timezone
    from airflow.exceptions import ParamValidationError
    from airflow.utils.session import create_session

    assert issubclass(ParamValidationError, Exception) and timezone.utcnow().tzinfo is not None
    assert "scoped" in parameters(create_session)


def test_a_task_can_ask_whether_a_run_is_active() -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    assert {"dag_id", "run_ids", "states"} <= parameters(RuntimeTaskInstance.get_dr_count)
