"""After all tests: no secret in clear text, nothing left in the cluster or on the machine. The last file, because it stops the stack."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.e2e.client import Stack, until
from tests.e2e.confs import GUARDED, conf, data_set


def test_secrets_are_stored_nowhere_in_clear_text(stack: Stack) -> None:
    # a job that fails and prints all it can, in addition to all the other jobs of this session
    code = "import os, sys; sys.exit('failed with ' + str(sorted(n for n in os.environ)))"
    job = stack.submit(conf(code, inputs=[data_set("aa", GUARDED)], secret="{KEY}"), name="secrets")
    job.await_end().has_ended("failed", 70, "Job finished", exitCode=1)

    assert "sealed" in json.dumps(job.run["conf"])
    assert "airflow.public.dag_run" in rows_with(stack, job.id)  # a control: the search works
    assert rows_with(stack, stack.key) == []
    assert [str(f) for f in (stack.path / "logs").rglob("*") if f.is_file() and stack.key.encode() in f.read_bytes()] == []
    pods = list(stack.pods.seen.items())
    assert pods and [name for name, states in pods if stack.key in json.dumps(states)] == []
    events = stack.core.list_namespaced_event(stack.namespace, _preload_content=False).data
    assert stack.key.encode() not in events
    for stage in ("configure", "algorithm", "filter", "publish"):
        task = stack.api.get(f"{job.path}/taskInstances/{stage}")
        assert stack.key not in json.dumps(task) and not task["rendered_fields"]
        assert stack.api.get(f"{job.path}/taskInstances/{stage}/xcomEntries")["xcom_entries"] == []


def rows_with(stack: Stack, text: str) -> list[str]:
    """The tables of both databases that have a row with ``text``, in clear or as bytes."""
    tables = []
    for database in ("airflow", stack.database_url.database):
        engine = sa.create_engine(stack.database_url.set(database=database), poolclass=sa.NullPool)
        for schema in ("public", "c2d"):
            for table in sa.inspect(engine).get_table_names(schema=schema):
                query = f'SELECT count(*) FROM {schema}."{table}" t WHERE t::text LIKE :clear OR t::text LIKE :bytes'
                with engine.connect() as c:
                    if c.execute(sa.text(query), {"clear": f"%{text}%", "bytes": f"%{text.encode().hex()}%"}).scalar():
                        tables.append(f"{database}.{schema}.{table}")
    return tables


def test_no_job_leaves_anything_behind_in_kubernetes(stack: Stack) -> None:
    for job in stack.jobs.values():
        if job.goes_on():
            job.stop_run()
            job.await_end()
    until(lambda: not stack.job_objects(), lambda: f"nothing of a job in {stack.namespace}: {stack.job_objects()}")
    core, namespace = stack.core, stack.namespace
    until(lambda: not core.list_namespaced_pod(namespace).items, "no pods")
    assert names(core.list_namespaced_persistent_volume_claim(namespace)) == ["c2d-results"]
    assert names(core.list_namespaced_secret(namespace)) == []
    assert set(names(core.list_namespaced_config_map(namespace))) <= {"kube-root-ca.crt"}
    assert stack.store.unfinished_with_run() == []


def names(objects: Any) -> list[str]:
    return [o.metadata.name for o in objects.items]


def test_down_leaves_no_process_and_no_open_port(stack: Stack) -> None:
    ports = json.loads((stack.path / "ports.json").read_text())
    assert stack.own_processes()
    stack.down()
    assert stack.own_processes() == {}
    for name, port in ports.items():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, name
    assert not Path(stack.path / "env").exists()
