"""Copied into Airflow's config folder by the stack; every Airflow process imports it at its start.

LocalExecutor forks its workers from the scheduler, and each task is a fork of a worker: what the scheduler has imported, no task
has to import again. That is 2.4 of 4 seconds of a task that starts a pod. The other processes do without, for their memory's sake.
"""

import importlib
import sys

if len(sys.argv) > 1 and sys.argv[1] == "scheduler":
    for module in (
        "kubernetes.client",
        "airflow.providers.cncf.kubernetes.operators.pod",
        "airflow.sdk.execution_time.supervisor",
        "airflow.sdk.execution_time.task_runner",
        "airflow.dag_processing.bundles.local",
        "ecies",
        "c2d.operators.configure",
        "c2d.operators.algorithm",
        "c2d.operators.filter",
        "c2d.operators.publish",
    ):
        try:
            importlib.import_module(module)
        except Exception as error:  # tasks will import it themselves, and be slow, or say what is wrong with it
            print(f"not imported ahead of the tasks: {module}: {error!r}", file=sys.stderr)
