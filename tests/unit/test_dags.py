"""The DAG files, loaded as Airflow's DAG processor does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from c2d.crypto import ecies

ROOT = Path(__file__).parents[2]

PROBE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(sys.argv[1])
dags = {
    d.dag_id: {
        "tasks": {t.task_id: [sorted(t.downstream_task_ids), t.trigger_rule.value, list(t.template_fields)] for t in d.tasks},
        "max_active_runs": d.max_active_runs,
        "params": DagSerialization.to_dict(d)["dag"].get("params", []),
        "kpo": [type(t).__mro__[2].__name__ for t in d.tasks],
        "doc": d.doc_md or "",
        "tags": sorted(d.tags),
    }
    for d in bag.dags.values()
}
print("\\n" + json.dumps({"errors": {k: str(v) for k, v in bag.import_errors.items()}, "dags": dags}))
"""


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What Airflow makes of dags/ with two environments. In a process of its own, for Airflow reads its settings at import."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "environments.yaml").write_text(
        "environments: [{id: small, maxJobs: 2}, "
        "{id: large, maxJobs: 7, description: big, access_control: datatoken, encrypt_results: consumer}]"
    )
    env = {
        "PATH": os.environ["PATH"],
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": str(ROOT / "plugins"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
        "C2D_DATABASE_URL": "postgresql://u:DBSECRET@h/d",
        "C2D_ENVIRONMENTS": str(home / "environments.yaml"),
        "PROVIDER_PRIVATE_KEY": ecies.new_private_key(),
    }
    done = subprocess.run([sys.executable, "-c", PROBE, str(ROOT / "dags")], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "DBSECRET" not in done.stdout and env["OPERATOR_PRIVATE_KEY"][2:] not in done.stdout
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_the_dag_files_load(bag: dict[str, Any]) -> None:
    assert bag["errors"] == {}
    assert set(bag["dags"]) == {"small", "large", "c2d_janitor"}


def test_a_job_is_four_pod_operators_in_a_row_and_the_last_two_run_whatever_happened(bag: dict[str, Any]) -> None:
    assert bag["dags"]["small"]["tasks"] == {
        "configure": [["algorithm"], "all_success", []],
        "algorithm": [["filter"], "all_success", []],
        "filter": [["publish"], "all_done", []],
        "publish": [[], "all_done", []],
    }
    assert set(bag["dags"]["small"]["kpo"]) == {"KubernetesPodOperator"}


def test_the_run_queue_is_the_job_queue(bag: dict[str, Any]) -> None:
    assert (bag["dags"]["small"]["max_active_runs"], bag["dags"]["large"]["max_active_runs"]) == (2, 7)


def test_the_dags_page_tells_the_limits_and_the_key_to_seal_to(bag: dict[str, Any]) -> None:
    assert "**big**" in bag["dags"]["large"]["doc"] and "0x04" in bag["dags"]["large"]["doc"]


def test_whose_jobs_an_environment_takes_is_shown(bag: dict[str, Any]) -> None:
    small, large = bag["dags"]["small"], bag["dags"]["large"]
    assert "access: provider" in small["tags"] and "**Access: `provider`.** Only Ocean Providers can start jobs" in small["doc"]
    assert "access: datatoken" in large["tags"] and "**Access: `datatoken`.** Every data set must have been ordered" in large["doc"]


def test_the_dags_page_says_who_can_read_the_results(bag: dict[str, Any]) -> None:
    assert "encryption `none`" in bag["dags"]["small"]["doc"]
    assert "encryption `consumer`" in bag["dags"]["large"]["doc"] and "publicKey" in bag["dags"]["large"]["doc"]
