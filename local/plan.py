"""The plan of a stack: which processes run, in which order, with which environment."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local import airflow, cluster, postgres, settings
from local.env_files import operator_settings
from local.home import PROJECT, Home
from local.units import Unit


@dataclass(frozen=True)
class Plan:
    units: list[Unit]
    airflow_env: dict[str, str]  # the environment of Airflow's processes
    user_env: dict[str, str]  # the variables for the user's shell


def make_plan(stack: Home, env_file: Path | None) -> Plan:
    """The plan of a stack with the operator's settings in `env_file`.

    :raises StackError: a setting of the stack is wrong, or ENV_FILE cannot be read.
    """
    ports, on_cluster = stack.ports(), cluster.is_kubernetes()
    operator = operator_settings(env_file) if env_file else {}
    kubeconfig = cluster.kubeconfig() if on_cluster else stack.kubeconfig
    data_address = cluster.own_address(cluster.server_of(kubeconfig)) if on_cluster else "127.0.0.1"
    env = {**settings.shell_environment(), "C2D_HOME": str(stack.path)}
    airflow_env = settings.airflow_environment(stack, env, operator, ports, kubeconfig)
    database_env = {**env, "C2D_POSTGRES_PASSWORD": stack.secrets()["database_password"]}

    def unit(name: str, argv: list[str], env: dict[str, str], **options: Any) -> Unit:
        return Unit(name, argv, env, log=str(stack.logs / f"{name}.log"), **{"cwd": str(PROJECT), **options})

    def step(name: str, argv: list[str], env: dict[str, str], after: list[str]) -> Unit:
        return unit(name, argv, env, once=True, after=after)

    def tables(database: str) -> Unit:
        stamp = str(stack.path / f"{database}-tables")
        return step(f"{database}-tables", _module("local.migrations", database, stamp), airflow_env, after=["databases"])

    def airflow_process(name: str) -> Unit:
        # the scheduler after `cluster`: no pod of a job may start before the network policies are in place
        after = ["airflow-tables", "c2d-tables", *(["cluster"] if name == "scheduler" else [])]
        port = ports["airflow"] if name == "api-server" else None
        argv = _module("airflow", *airflow.PROCESSES[name])
        return unit(name, argv, airflow_env, cwd=str(stack.airflow), after=after, ready_port=port)

    server = postgres.command(stack, ports["postgres"])
    runner = _runner(stack, ports["runner"])
    pod_runner = [
        step("images", _module("local.images", str(stack.images)), env, after=[]),
        unit("runner", runner, env, after=["images"], ready_file=str(kubeconfig)),
    ]
    units = [
        unit("postgres", server, env, ready_port=ports["postgres"], stop_signal=signal.SIGINT, stop_last=True),
        step("databases", _module("local.postgres", str(ports["postgres"])), database_env, after=["postgres"]),
        tables("airflow"),
        tables("c2d"),
        *([] if on_cluster else pod_runner),
        step("cluster", _module("local.cluster", str(kubeconfig)), airflow_env, after=[] if on_cluster else ["runner"]),
        unit("data-server", _module("local.data_server", data_address, str(ports["data"])), env),
        *map(airflow_process, airflow.PROCESSES),
    ]
    data_url = f"http://{data_address}:{ports['data']}"
    return Plan(units, airflow_env, settings.user_environment(stack, airflow_env, ports, kubeconfig, data_url))


def _module(name: str, *arguments: str) -> list[str]:
    """The command that runs a module in this Python."""
    return [sys.executable, "-m", name, *arguments]


def _runner(stack: Home, port: int) -> list[str]:
    """The command of the pod runner."""
    options = {
        "--state": stack.path / "runner",
        "--port": port,
        "--kubeconfig": stack.kubeconfig,
        "--images": stack.images,
    }
    return _module("local.runner", *(str(word) for option in options.items() for word in option))
