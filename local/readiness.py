"""Waits until a stack that is starting answers requests, or says why it does not."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from local.airflow_api import Client
from local.home import Home, StackError
from local.units import read_state

TIMEOUT = 240  # seconds; a slow machine compiles all of Airflow to bytecode at its first start


def wait_until_ready(stack: Home, supervisor: subprocess.Popen[bytes], client: Client, since: str, show: Callable[[str], None]) -> None:
    """Return when every process runs, Airflow is healthy, and its DAG processor has read the DAGs. The client is then logged in.

    :param since: when the start began, in the format of `airflow_api.now`.
    :param show: is called with what is still missing.
    :raises StackError: a process has failed, a DAG cannot be imported, or the stack is not ready after TIMEOUT seconds.
    """
    deadline = time.monotonic() + TIMEOUT
    warm_up: threading.Thread | None = None
    logged_in = False
    while time.monotonic() < deadline:
        if missing := missing_units(stack, supervisor):
            show(f"Starting: {', '.join(missing)}")
            time.sleep(0.1)
            continue
        if not warm_up:
            warm_up = threading.Thread(target=client.warm_up, daemon=True)
            warm_up.start()
        health = client.health()
        unhealthy = [name.replace("_", "-") for name, status in health.items() if status != "healthy"]
        if not health or unhealthy:
            show(f"Starting: Airflow ({', '.join(unhealthy) or 'api-server'})")
            time.sleep(0.2)
            continue
        if not logged_in:
            client.log_in()
            logged_in = True
        for error in client.import_errors_since(since):
            raise StackError(f"Airflow cannot import the DAG file {error['filename']}:\n{last_lines(error['stack_trace'])}")
        if client.dags_parsed_since(since) and not warm_up.is_alive():
            return
        show("Starting: reading the DAGs")
        time.sleep(0.2)
    name = [*missing_units(stack, supervisor), "dag-processor"][0]
    raise StackError(f"The stack is not ready after {TIMEOUT} s: {name} is missing. {log_end(stack, name)}")


def missing_units(stack: Home, supervisor: subprocess.Popen[bytes]) -> list[str]:
    """The names of the processes that are not ready yet.

    :raises StackError: one of them has failed, or the supervisor has ended.
    """
    if supervisor.poll() is not None:
        raise StackError(f"The supervisor has ended unexpectedly. {log_end(stack, 'supervisor')}")
    state = read_state(stack.run)
    if state is None:
        return ["supervisor"]
    for name, unit in state.units.items():
        if unit.state == "failed":
            raise StackError(f"{name} failed to start (exit code {unit.exit_code}). {log_end(stack, name)}")
    return state.not_up


def log_end(stack: Home, name: str) -> str:
    """The end of a process's log, as the last sentence of an error message."""
    file: Path = stack.logs / f"{name}.log"
    try:
        return f"The end of its log, {file}:\n{last_lines(file.read_text(errors='replace'))}"
    except OSError:
        return f"Its log, {file}, cannot be read."


def last_lines(text: str, lines: int = 15) -> str:
    return "\n".join(f"  | {line[:300]}" for line in text.rstrip().splitlines()[-lines:])
