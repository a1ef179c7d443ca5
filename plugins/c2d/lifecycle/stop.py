"""Stopping a job, whoever asks: an API, a person in Airflow's UI or by its REST API, or the dispatcher that repeats a stop."""

from __future__ import annotations

from collections.abc import Callable

from c2d.database.jobs import JobRepository


def stop_job(repository: JobRepository, job_id: str, end_run: Callable[[], bool]) -> None:
    """Record that the job is to stop, end its run, and end the job if no task of the run will.

    Repeating it changes nothing. A stop that dies half-way leaves the record, and the dispatcher goes on from there.

    :param end_run: ends the job's DAG run (:meth:`c2d.lifecycle.airflow_runs.AirflowRuns.stop`) and returns whether it is over. A person
        who stops a job in Airflow has ended the run already: then it only returns whether it is over.
    :raises LookupError: there is no such job.
    """
    repository.request_stop(job_id)
    if end_run():
        repository.finish_job(job_id)
