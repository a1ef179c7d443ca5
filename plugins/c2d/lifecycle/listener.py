"""Airflow's listeners: they keep a job's row true if no task of ours runs, namely at a stop in Airflow and at the end of a run.

Airflow calls them in the API server if somebody set a state by hand, and in the scheduler if a run ended by itself. Each writes a few
short statements and may be repeated: publish has usually written the same already.
"""

from __future__ import annotations

import functools
from typing import Any

from airflow.listeners import hookimpl

from c2d.database.jobs import JobRepository
from c2d.lifecycle.airflow_runs import airflow_component
from c2d.lifecycle.stop import stop_job
from c2d.settings import installation


@functools.cache
def _environments() -> frozenset[str]:
    return frozenset(e.id for e in installation.load().environments)


def _repository() -> JobRepository:
    return JobRepository(installation.load().C2D_DATABASE_URL)


def _by_hand() -> bool:
    """Whether a person or a client set the state. A task that ends by itself calls the listeners in its own process."""
    return airflow_component() == "api-server"


def _stage_was_set(task_instance: Any) -> None:
    # Whatever state it was set to while its pod works: that is no result, but a stop. The later stages go on.
    if _by_hand() and task_instance.dag_id in _environments():
        stop_job(_repository(), task_instance.run_id, end_run=lambda: False)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    """Somebody set a stage's task to failed."""
    _stage_was_set(task_instance)


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """Somebody set a stage's task to success."""
    _stage_was_set(task_instance)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """Somebody set a stage's task to skipped."""
    _stage_was_set(task_instance)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """A run has failed, or somebody set it to failed; then before its tasks learn of it."""
    if dag_run.dag_id not in _environments() or _job_is_over(dag_run):
        return
    if _by_hand():
        stop_job(_repository(), dag_run.run_id, end_run=lambda: True)
    else:
        _repository().finish_job(dag_run.run_id)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """A run has succeeded, or somebody set it to success."""
    if dag_run.dag_id in _environments() and not _job_is_over(dag_run):
        _repository().finish_job(dag_run.run_id)


def _job_is_over(dag_run: Any) -> bool:
    row = _repository().job(dag_run.run_id)
    # No row: the run was stopped in the queue, or its conf was refused. Then there never was a job.
    return row is None or row.environment != dag_run.dag_id or row.dateFinished is not None
