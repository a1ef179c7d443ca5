"""The edge to Airflow's runs, from inside the API server: makes a job's run, and stops it as Ocean means it.

Both are what Airflow's own REST API does for "trigger a DAG run" and "set a task's state", without a request to ourselves.
"""

from __future__ import annotations

import functools
from typing import Any

from c2d.errors import DagNotFound, RunRejected
from c2d.jobs.status import Stage

# A stop ends these. What comes after them finishes the job: its outputs and logs are filtered and published.
STOPPABLE = (Stage.CONFIGURE, Stage.ALGORITHM)


@functools.cache
def _dags() -> Any:
    from airflow.api_fastapi.common.dagbag import create_dag_bag

    return create_dag_bag()


def start(environment: str, job_id: str, conf: dict[str, Any]) -> None:
    """Makes the job's run, queued. Does nothing where it exists.

    :raises DagNotFound: the environment has no DAG in Airflow at the moment.
    :raises RunRejected: Airflow does not take this conf.
    """
    from airflow._shared.timezones import timezone
    from airflow.exceptions import ParamValidationError
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from airflow.utils.types import DagRunTriggeredByType, DagRunType
    from sqlalchemy import select
    from sqlalchemy.exc import IntegrityError

    def exists(session: Any) -> bool:
        return session.scalar(select(DagRun.id).where(DagRun.dag_id == environment, DagRun.run_id == job_id)) is not None

    try:
        with create_session(scoped=False) as session:
            if exists(session):
                return
            dag = _dags().get_latest_version_of_dag(environment, session=session)
            if dag is None:
                raise DagNotFound(f"Airflow has not read the DAG of environment {environment}")
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
            if not exists(session):
                raise


def stop(environment: str, job_id: str) -> bool:
    """Stops the job's run: the stage that fetches or computes is set to failed, the later ones follow; a run that is queued is failed.

    Harmless when repeated. Returns whether the run has ended (or there is none), so that nothing will end the job any more.
    """
    from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState, State, TaskInstanceState
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        # Locked, so that the scheduler does not promote it while we look at it.
        run = session.scalar(select(DagRun).where(DagRun.dag_id == environment, DagRun.run_id == job_id).with_for_update(of=DagRun))
        if run is None or run.state in State.finished_dr_states:
            return True
        dag = _dags().get_dag_for_run(run, session=session)
        if dag is None:
            raise DagNotFound(f"Airflow has no DAG of environment {environment}")
        if run.state == DagRunState.QUEUED:
            set_dag_run_state_to_failed(dag=dag, run_id=job_id, commit=True, session=session)
            return True
        states = dict(
            session.execute(
                select(TaskInstance.task_id, TaskInstance.state).where(TaskInstance.dag_id == environment, TaskInstance.run_id == job_id)
            ).all()
        )
        for stage in STOPPABLE:
            state = states.get(str(stage))
            if state not in State.finished:
                dag.set_task_instance_state(task_id=str(stage), run_id=job_id, state=TaskInstanceState.FAILED, session=session)
            if state != TaskInstanceState.SUCCESS:
                break  # what comes after a stage that failed does not begin, and Airflow says so
    return False


def republish(environment: str, job_id: str) -> None:
    """Lets publish's task run once more, in the run that it failed in. Does nothing where it has begun, or there is no such run.

    :raises DagNotFound: the environment has no DAG in Airflow at the moment.
    """
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import State
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == environment, DagRun.run_id == job_id).with_for_update(of=DagRun))
        if run is None:
            return
        dag = _dags().get_dag_for_run(run, session=session)
        if dag is None:
            raise DagNotFound(f"Airflow has no DAG of environment {environment}")
        where = (TaskInstance.dag_id == environment, TaskInstance.run_id == job_id, TaskInstance.task_id == str(Stage.PUBLISH))
        if session.scalar(select(TaskInstance.state).where(*where)) in State.finished:
            dag.clear(task_ids=[str(Stage.PUBLISH)], run_id=job_id, session=session)
