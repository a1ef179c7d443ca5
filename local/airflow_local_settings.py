"""Imports in the scheduler what tasks need. The stack copies this file to Airflow's config folder; every Airflow process imports it.

LocalExecutor forks its workers from the scheduler, and each task is a fork of a worker, so tasks need not import these modules again.
That saves 2.4 of the 4 seconds of a task that starts a pod. The other processes skip it to save memory.
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
        except Exception as error:  # the tasks import it themselves, which is slower, or report the error
            print(f"Cannot import {module} in the scheduler: {error!r}", file=sys.stderr)
