"""Cleans up every five minutes: finishes jobs whose run has died, deletes their Kubernetes objects, and deletes expired results."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, task

with DAG(
    dag_id="c2d_janitor",
    description="Cleans up after crashes, and deletes expired results",
    schedule=timedelta(minutes=5),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    tags=["c2d"],
    doc_md=__doc__,
):

    @task(retries=0)
    def sweep() -> None:
        """Finish jobs whose run has died, and delete Kubernetes objects and partial uploads that no run needs."""
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook

        from c2d.database.jobs import JobRepository
        from c2d.hooks.kubernetes import Pods
        from c2d.lifecycle import sweep
        from c2d.lifecycle.airflow_runs import is_active
        from c2d.settings import installation

        loaded = installation.load()
        api = KubernetesHook(conn_id="kubernetes_default").core_v1_client
        clear = sweep.partial_upload_remover(loaded)
        sweep.sweep(JobRepository(loaded.C2D_DATABASE_URL), Pods(api, loaded.C2D_NAMESPACE), is_active, clear)

    @task(retries=0)
    def expire() -> None:
        """Delete the results of jobs whose time in the store is over, and their keys."""
        from c2d.database.jobs import JobRepository
        from c2d.lifecycle import sweep
        from c2d.settings import installation

        loaded = installation.load()
        sweep.expire(JobRepository(loaded.C2D_DATABASE_URL), loaded, datetime.now(UTC))

    sweep()
    expire()
