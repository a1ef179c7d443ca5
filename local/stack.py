"""`python -m local.stack up|down|status|clean`: the whole system on this machine, for one user.

`up` writes the plan (which processes to run, with which settings), starts the supervisor, and waits until the system answers.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from local import airflow, postgres, terminal
from local.airflow_api import Client, now
from local.env_files import env_file, read_env, write_env
from local.home import PROJECT, Home, StackError, home
from local.plan import make_plan
from local.processes import descendants, is_alive, kill_session, proportional_memory, running_time
from local.readiness import wait_until_ready
from local.units import read_state, write_plan

STOP_TIMEOUT = 25  # seconds for the supervisor to stop everything


# -- commands ------------------------------------------------------------------------------------------------------
def up(stack: Home, settings_file: Path | None = None) -> dict[str, str]:
    """Start the stack unless it is running. Returns the variables in the stack's `env`.

    :param settings_file: the operator's settings, usually ENV_FILE.
    :raises StackError: the stack does not start; then nothing is left running.
    """
    stack.create()
    with _one_command_at_a_time(stack):
        if is_running(stack):
            if settings_file:
                print("The stack is running already, so ENV_FILE has no effect. To apply it, run `make down` first.", file=sys.stderr)
            return read_env(stack.env_file)
        remove_leftovers(stack)
        progress = terminal.Progress()
        try:
            return _start(stack, settings_file, progress)
        except BaseException:
            progress.clear()
            stop(stack)
            raise


def _start(stack: Home, settings_file: Path | None, progress: terminal.Progress) -> dict[str, str]:
    begin, since = time.monotonic(), now()
    plan = make_plan(stack, settings_file)
    if settings_file or os.environ.get("C2D_ENVIRONMENTS"):
        check_settings(plan.airflow_env)
    progress.show("Starting: PostgreSQL")
    airflow.write_home(stack)
    postgres.create_cluster(stack, stack.secrets()["database_password"])
    for log in stack.logs.glob("*.log"):
        log.replace(log.with_suffix(".log.1"))
    write_plan(stack.run, plan.units)
    with (stack.logs / "supervisor.log").open("ab") as supervisor_log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "local.supervisor", str(stack.run)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=supervisor_log,
            stderr=supervisor_log,
            start_new_session=True,
        )

    def show(text: str) -> None:
        progress.show(f"{text} ({time.monotonic() - begin:.0f} s)" if progress.terminal else text)

    client = Client(plan.user_env["AIRFLOW_URL"], plan.user_env["AIRFLOW_PASSWORD"])
    wait_until_ready(stack, supervisor, client, since, show)
    write_env(stack.env_file, plan.user_env)
    progress.clear()
    return plan.user_env


def check_settings(env: dict[str, str]) -> None:
    """Have the product check the operator's settings before anything starts. Its warnings are printed.

    :raises StackError: a setting is wrong.
    """
    program = Path(sys.executable).with_name("c2d")
    check = subprocess.run([str(program), "check"], env=env, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if check.returncode:
        raise StackError((check.stderr or check.stdout).strip() or "`c2d check` rejects the settings and gives no reason.")
    print(check.stdout.strip(), file=sys.stderr)


def down(stack: Home) -> bool:
    """Stop the stack. Returns whether it was running."""
    if not stack.path.exists():
        return False
    with _one_command_at_a_time(stack):
        was_running = is_running(stack)
        stop(stack)
        return was_running


def status(stack: Home) -> bool:
    """Print each process with its state, its age and its memory, and how to log in. Returns whether the stack is running."""
    state = read_state(stack.run) if is_running(stack) else None
    if state is None:
        print("The stack is not running. `make up` starts it.")
        return False
    total = proportional_memory([state.pid])
    print(f"{'process':15} {'state':10} {'pid':>8} {'running':>10} {'memory':>9}")
    for name, unit in state.units.items():
        if unit.pid:
            memory = proportional_memory(descendants(unit.pid))
            total += memory
            restarts = f"   restarted {unit.restarts} times" if unit.restarts else ""
            print(f"{name:15} {unit.state:10} {unit.pid:8} {running_time(unit.pid)!s:>10} {memory / 1e6:6.0f} MB{restarts}")
    print(f"{'total':15} {'':10} {'':8} {'':10} {total / 1e6:6.0f} MB")
    if stack.env_file.exists():
        print(f"\nAirflow: {login(read_env(stack.env_file))}")
    return True


def clean(stack: Home) -> None:
    """Stop the stack and delete its folder.

    :raises StackError: the folder has files, but not those of a stack.
    """
    if not (stack.path / "secrets.json").exists() and stack.path.exists() and any(stack.path.iterdir()):
        raise StackError(f"Nothing was deleted: C2D_HOME={stack.path} is not the folder of a stack.")
    down(stack)
    postgres.remove(stack)
    shutil.rmtree(stack.path, ignore_errors=True)


# -- what runs -----------------------------------------------------------------------------------------------------
def is_running(stack: Home) -> bool:
    """Whether a supervisor holds this stack's lock."""
    try:
        with (stack.run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def running(stack: Home, settings_file: Path | None = None) -> Iterator[dict[str, str]]:
    """The variables of the stack's `env`. A stack that is not running is started, and stopped at the end of the block."""
    was_running = is_running(stack)
    env = up(stack, settings_file)
    try:
        yield env
    finally:
        if not was_running:
            with terminal.uninterrupted():
                down(stack)


def stop(stack: Home) -> None:
    """Stop every process of the stack, whatever state it is in."""
    deadline = time.monotonic() + STOP_TIMEOUT
    if is_running(stack):
        while not (state := read_state(stack.run)) and time.monotonic() < deadline:
            time.sleep(0.05)
        if state and is_alive(state.pid, state.started):
            os.kill(state.pid, signal.SIGTERM)
        while is_running(stack) and time.monotonic() < deadline:
            time.sleep(0.05)
        if state and is_running(stack) and is_alive(state.pid, state.started):
            os.kill(state.pid, signal.SIGKILL)
            time.sleep(0.2)
    remove_leftovers(stack)
    for file in (stack.env_file, stack.run / "plan.json", stack.kubeconfig):
        file.unlink(missing_ok=True)


def remove_leftovers(stack: Home) -> None:
    """Kill what a supervisor that was itself killed has left running."""
    if state := read_state(stack.run):
        for unit in state.units.values():
            kill_session(unit.pid, unit.started)
    (stack.run / "state.json").unlink(missing_ok=True)


@contextlib.contextmanager
def _one_command_at_a_time(stack: Home) -> Iterator[None]:
    """Make `up` and `down` of the same stack wait for each other."""
    with (stack.path / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# -- the command line ----------------------------------------------------------------------------------------------
def login(env: dict[str, str]) -> str:
    """Airflow's address and how to log in."""
    return f"{env['AIRFLOW_URL']}  (user {env['AIRFLOW_USER']}, password {env['AIRFLOW_PASSWORD']})"


def main() -> int:
    """Run the command on the command line. Returns the exit code: for `status`, 3 if the stack is not running."""
    stack = home()
    match sys.argv[1:]:
        case ["up"]:
            was_running = is_running(stack)
            env = up(stack, env_file())
            print("The stack is running already." if was_running else "The stack is running. `make down` stops it.")
            print(f"  Airflow    {login(env)}")
            print(f"  variables  . {terminal.display_path(stack.env_file)}   (sets AIRFLOW_URL, AIRFLOW_PASSWORD and others in your shell)")
            print(f"  logs       {terminal.display_path(stack.logs)}/")
        case ["down"]:
            if down(stack):
                print(f"The stack has stopped. Its data remain in {terminal.display_path(stack.path)}.")
            else:
                print("The stack is not running.")
        case ["status"]:
            return 0 if status(stack) else 3
        case ["clean"]:
            clean(stack)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    terminal.run(main)
