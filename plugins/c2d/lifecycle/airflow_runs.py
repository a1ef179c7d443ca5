"""A job's DAG run, reached through Airflow's internals. Nothing else in this package imports Airflow's models, sessions or DAG bag.

Each function names the public way that would replace it. They are internal calls because the public ones are HTTP requests of the API
server to itself, for which it has no credentials. ``tests/unit/lifecycle/test_airflow_runs.py`` fails when an upgrade moves one of them.
"""

from __future__ import annotations

import functools
import sys
from typing import Any, Protocol

from c2d.errors import DagNotFound, RunRejected
from c2d.jobs.status import Stage

STOPPABLE = (Stage.CONFIGURE, Stage.ALGORITHM)
"""The stages that a stop ends. The later ones finish the job: they filter and publish its outputs and logs."""


def airflow_component() -> str:
    """Which Airflow process this is: ``api-server``, ``scheduler``, ``dag-processor``, ``triggerer``, ...; "" for any other program.

    Public way: none. The component is the first argument of the ``airflow`` command.
    """
    return sys.argv[1] if len(sys.argv) > 1 else ""


class Runs(Protocol):
    """How jobs' DAG runs are reached: :class:`AirflowRuns`, or a stand-in in tests."""

    def start(self, environment: str, job_id: str, conf: dict[str, Any]) -> None:
        """Make the job's run."""

    def stop(self, environment: str, job_id: str) -> bool:
        """Stop the job's run. Returns whether it is over."""
        ...

    def republish(self, environment: str, job_id: str) -> None:
        """Run the publish task once more."""


class AirflowRuns:
    """DAG runs, from inside the API server."""

    def start(self, environment: str, job_id: str, conf: dict[str, Any]) -> None:
        """Make the job's run, queued. Does nothing if it exists.

        Public way: ``POST /api/v2/dags/{dag_id}/dagRuns``.

        :param conf: the sealed job.
        :raises DagNotFound: Airflow has not parsed the environment's DAG.
        :raises RunRejected: Airflow does not accept this conf.
        """
        from airflow._shared.timezones import timezone
        from airflow.exceptions import ParamValidationError
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from airflow.utils.types import DagRunTriggeredByType, DagRunType
        from sqlalchemy.exc import IntegrityError

        try:
            with create_session(scoped=False) as session:
                if _run(session, environment, job_id) is not None:
                    return
                dag = _dag_bag().get_latest_version_of_dag(environment, session=session)
                if dag is None:
                    raise DagNotFound(f"Airflow has not parsed the DAG of environment {environment}")
                dag.create_dagrun(
                    run_id=job_id,
                    run_after=timezone.utcnow(),
                    conf=conf,
                    run_type=DagRunType.MANUAL,
                    triggered_by=DagRunTriggeredByType.REST_API,
                    state=DagRunState.QUEUED,
                    session=session,
                )
        except ParamValidationError as e:
            raise RunRejected(f"Airflow refused the job: {e}") from None
        except IntegrityError:
            with create_session(scoped=False) as session:
                if _run(session, environment, job_id) is None:
                    raise

    def stop(self, environment: str, job_id: str) -> bool:
        """Set the stage that fetches or computes to failed, so that the later ones follow. A queued run is failed as a whole.

        Repeating it changes nothing.

        Public way: ``PATCH /api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}`` and ``PATCH .../dagRuns/{run_id}``.

        :returns: whether the run is over (or there is none), so that no task will end the job any more.
        :raises DagNotFound: Airflow has not parsed the environment's DAG.
        """
        from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState, State, TaskInstanceState
        from sqlalchemy import select

        with create_session(scoped=False) as session:
            run = _run(session, environment, job_id, lock=True)  # locked, so that the scheduler does not promote it meanwhile
            if run is None or run.state in State.finished_dr_states:
                return True
            dag = _dag_of(session, run)
            if run.state == DagRunState.QUEUED:
                set_dag_run_state_to_failed(dag=dag, run_id=job_id, commit=True, session=session)
                return True
            tasks = select(TaskInstance.task_id, TaskInstance.state)
            states = dict(session.execute(tasks.where(TaskInstance.dag_id == environment, TaskInstance.run_id == job_id)).all())
            for stage in STOPPABLE:
                state = states.get(str(stage))
                if state not in State.finished:
                    dag.set_task_instance_state(task_id=str(stage), run_id=job_id, state=TaskInstanceState.FAILED, session=session)
                if state != TaskInstanceState.SUCCESS:
                    break  # the stage after one that failed does not begin, and Airflow says so
        return False

    def republish(self, environment: str, job_id: str) -> None:
        """Run the publish task once more, in the run in which it failed. Does nothing if it has begun, or if there is no such run.

        Public way: ``POST /api/v2/dags/{dag_id}/clearTaskInstances``.

        :raises DagNotFound: Airflow has not parsed the environment's DAG.
        """
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import State
        from sqlalchemy import select

        with create_session(scoped=False) as session:
            run = _run(session, environment, job_id, lock=True)
            if run is None:
                return
            dag = _dag_of(session, run)
            where = (TaskInstance.dag_id == environment, TaskInstance.run_id == job_id, TaskInstance.task_id == str(Stage.PUBLISH))
            if session.scalar(select(TaskInstance.state).where(*where)) in State.finished:
                dag.clear(task_ids=[str(Stage.PUBLISH)], run_id=job_id, session=session)


def is_active(environment: str, job_id: str) -> bool:
    """Whether the job's run is queued or running. From inside a task.

    Public way: ``GET /api/v2/dags/{dag_id}/dagRuns/{run_id}``, for which a task has no credentials.

    :raises Exception: the API server cannot tell.
    """
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    return RuntimeTaskInstance.get_dr_count(environment, run_ids=[job_id], states=["queued", "running"]) > 0


@functools.cache
def _dag_bag() -> Any:
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    return create_dag_bag()


def _run(session: Any, environment: str, job_id: str, lock: bool = False) -> Any:
    """Airflow's DagRun, or None."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    statement = select(DagRun).where(DagRun.dag_id == environment, DagRun.run_id == job_id)
    return session.scalar(statement.with_for_update(of=DagRun) if lock else statement)


def _dag_of(session: Any, run: Any) -> Any:
    """The version of the DAG that the run was made from.

    :raises DagNotFound: Airflow has none.
    """
    dag = _dag_bag().get_dag_for_run(run, session=session)
    if dag is None:
        raise DagNotFound(f"Airflow has no DAG of environment {run.dag_id}")
    return dag
