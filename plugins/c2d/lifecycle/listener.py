"""Keeps the jobs' rows true where no task of ours runs: a stop on somebody's request, and every end of a run.

Airflow calls these in the API server (a state set by hand) and in the scheduler (a run that ended). Each is one short statement in the
database and idempotent: publish has usually written the same already.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from airflow.listeners import hookimpl

from c2d.database.jobs import JobRepository
from c2d.settings import installation


@functools.cache
def _environments() -> frozenset[str]:
    return frozenset(e.id for e in installation.load().environments)


def _store() -> JobRepository:
    return JobRepository(installation.load().C2D_DATABASE_URL)


def _stop_if_by_hand(task_instance: Any) -> None:
    # In the API server only a person (or a client) sets a task's state; a task that ends by itself calls these in its own process.
    if sys.argv[1:2] == ["api-server"] and task_instance.dag_id in _environments():
        _store().request_stop(task_instance.run_id)


@hookimpl
def on_task_instance_failed(previous_state: Any, task_instance: Any, error: Any) -> None:
    """Somebody set a stage's task to failed: the job is to stop."""
    _stop_if_by_hand(task_instance)


@hookimpl
def on_task_instance_success(previous_state: Any, task_instance: Any) -> None:
    """Somebody set a stage's task to success while its pod works: that is no result, it is a stop."""
    _stop_if_by_hand(task_instance)


@hookimpl
def on_task_instance_skipped(previous_state: Any, task_instance: Any) -> None:
    """Somebody set a stage's task to skipped: the same."""
    _stop_if_by_hand(task_instance)


@hookimpl
def on_dag_run_failed(dag_run: Any, msg: str) -> None:
    """A run has ended, or somebody ended it (then in the API server, before its tasks learn of it)."""
    if dag_run.dag_id in _environments():
        if sys.argv[1:2] == ["api-server"]:
            _store().request_stop(dag_run.run_id)
        _finish(dag_run)


@hookimpl
def on_dag_run_success(dag_run: Any, msg: str) -> None:
    """A run has ended well, or somebody said so by hand."""
    if dag_run.dag_id in _environments():
        _finish(dag_run)


def _finish(dag_run: Any) -> None:
    store = _store()
    row = store.job(dag_run.run_id)
    # No row: the run was stopped in the queue, or its conf was refused; then there never was a job.
    if row is not None and row.environment == dag_run.dag_id and row.dateFinished is None:
        store.finish_job(dag_run.run_id)
