"""`python -m local.stack up|down|status|clean`: the whole system on this machine, for one person.

`up` writes the plan (which processes, with which settings), hands it to the supervisor and waits until the system answers; `down` ends it.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from c2d.crypto.signatures import address_of
from local import airflow, cluster, postgres
from local.home import PROJECT, Home, StackError, home, read_dotenv, read_env, write_env, write_private
from local.processes import descendants, is_alive, kill_session, proportional_memory

READY_WITHIN = 240  # seconds; a slow machine compiles all of Airflow on its first start
PASSED_ON = (
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "XDG_RUNTIME_DIR",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
)
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
# the operator's settings that may come from the shell as well as from ENV_FILE
OPERATOR_SETTINGS = ("OPERATOR_PRIVATE_KEY", "C2D_DATABASE_URL")


class Progress:
    """One line that changes on a terminal; one line a change elsewhere."""

    def __init__(self) -> None:
        self.shown = ""
        self.terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if text != self.shown:
            self.shown = text
            print(f"\r\033[K{text}" if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.terminal and self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.shown = ""


# -- what runs -----------------------------------------------------------------------------------------------------
def state(stack: Home) -> dict[str, Any]:
    """The supervisor's account of what runs; empty when there is none."""
    with contextlib.suppress(OSError, ValueError):
        return json.loads((stack.run / "state.json").read_text())
    return {}


def is_running(stack: Home) -> bool:
    """Whether a supervisor holds the lock of this stack."""
    try:
        with (stack.run / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def one_at_a_time(stack: Home) -> Iterator[None]:
    """Two `up` or `down` of one stack wait for each other."""
    with (stack.path / "command.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def remove_leftovers(stack: Home) -> None:
    """End what a supervisor that was killed has left behind."""
    last = state(stack)
    for unit in last.get("units", {}).values():
        kill_session(unit["pid"], unit["started"])
    (stack.run / "state.json").unlink(missing_ok=True)


# -- the plan ------------------------------------------------------------------------------------------------------
def base_environment() -> dict[str, str]:
    """What of this shell's environment the processes get. Not AIRFLOW_*: another Airflow of this user must not mix in."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name in PROXIES or name.startswith(("C2D_", "LC_", "PIP_", "UV_"))
    }
    kept |= {name: os.environ[name] for name in OPERATOR_SETTINGS if name in os.environ}
    local = "127.0.0.1,localhost"
    kept["NO_PROXY"] = kept["no_proxy"] = ",".join(filter(None, [os.environ.get("NO_PROXY") or os.environ.get("no_proxy"), local]))
    kept["PATH"] = f"{Path(sys.executable).parent}:{kept.get('PATH', os.defpath)}"
    kept["PYTHONUNBUFFERED"] = "1"
    kept["MALLOC_ARENA_MAX"] = "2"  # glibc keeps up to 8 heaps a core otherwise, of which these processes need two
    return kept


def operator_settings(file: Path) -> dict[str, str]:
    """The settings of ENV_FILE, but for empty ones, which are not set; a file that they name is looked for beside it."""
    settings = {name: value for name, value in read_dotenv(file).items() if value.strip()}
    if named := settings.get("C2D_ENVIRONMENTS"):
        settings["C2D_ENVIRONMENTS"] = str(file.parent / named)
    return settings


def addresses_of(provider_key: str) -> list[str]:
    """The addresses of a PROVIDER_PRIVATE_KEY: a key, or a JSON object of one for each chain. None of a wrong one: `c2d check` names it."""
    with contextlib.suppress(ValueError, AttributeError):
        keys = json.loads(provider_key).values() if provider_key.lstrip().startswith("{") else [provider_key]
        return [address_of(key) for key in keys]
    return []


def plan(stack: Home, env_file: Path | None) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The units for the supervisor, and what C2D_HOME/env will say."""
    secrets, ports, kubernetes = stack.secrets(), stack.ports(), cluster.is_kubernetes()
    operator = operator_settings(env_file) if env_file else {}
    base = {**base_environment(), "C2D_HOME": str(stack.path)}
    kubeconfig = cluster.kubeconfig() if kubernetes else stack.kubeconfig
    address = cluster.own_address(cluster.server_of(kubeconfig)) if kubernetes else "127.0.0.1"
    password = secrets["database_password"]
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig), "namespace": cluster.namespace()}}
    provider_key = operator.get("PROVIDER_PRIVATE_KEY") or secrets["provider_private_key"]
    product = {
        "OPERATOR_PRIVATE_KEY": secrets["operator_private_key"],
        "ALLOWED_PROVIDERS": ",".join(addresses_of(provider_key)),
        "ALLOW_NON_PUBLIC_IP": "1",  # the data server is on this machine
        "PROVIDER_PRIVATE_KEY": provider_key,  # NETWORK_URL, in ENV_FILE, turns the Provider API on
        "ALLOWED_ADMINS": secrets["operator_admin"],
        "C2D_DATABASE_URL": postgres.url("c2d", password, ports["postgres"]),
        "C2D_NAMESPACE": cluster.namespace(),
        "C2D_RESULTS_CLAIM": "c2d-results",
        "C2D_RESULTS_PATH": str(stack.path / "results"),
        "C2D_STAGE_IMAGE": "c2d.test/stages:1",
        "access_control": "open",  # whoever has this stack's password may run what they like
        "enableNetwork": "1" if kubernetes else "0",  # the pod runner would give a pod the machine's whole network
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        "KUBECONFIG": str(kubeconfig),
    }
    settings = airflow.environment(stack, secrets, ports["airflow"], postgres.url("airflow", password, ports["postgres"]))
    shell = {name: value for name, value in base.items() if name in product}
    airflow_env = {**base, **settings, **product, **shell, **operator}
    airflow.write_home(stack, secrets["airflow_password"])

    units: list[dict[str, Any]] = []

    def unit(name: str, argv: list[str], env: dict[str, str], **more: Any) -> None:
        units.append({"name": name, "argv": argv, "env": env, "cwd": str(PROJECT), "log": str(stack.logs / f"{name}.log"), **more})

    def module(name: str, *arguments: str) -> list[str]:
        return [sys.executable, "-m", name, *arguments]

    unit("postgres", postgres.command(stack, ports["postgres"]), base, ready_port=ports["postgres"], stop_signal=signal.SIGINT, last=True)
    unit(
        "databases",
        module("local.postgres", str(ports["postgres"])),
        {**base, "C2D_POSTGRES_PASSWORD": password},
        once=True,
        after=["postgres"],
    )
    for what in ("airflow", "c2d"):
        stamp = str(stack.path / f"{what}-tables")
        unit(f"{what}-tables", module("local.airflow", what, stamp), airflow_env, once=True, after=["databases"])
    if not kubernetes:
        unit("images", module("local.images", str(stack.images)), base, once=True)
        arguments = [
            "--state",
            str(stack.path / "runner"),
            "--port",
            str(ports["runner"]),
            "--kubeconfig",
            str(kubeconfig),
            "--images",
            str(stack.images),
        ]
        unit("runner", module("local.runner", *arguments), base, after=["images"], ready_file=str(kubeconfig))
    unit("cluster", module("local.cluster", str(kubeconfig)), airflow_env, once=True, after=[] if kubernetes else ["runner"])
    unit("data-server", module("local.data_server", address, str(ports["data"])), base)
    for name, arguments in airflow.PROCESSES.items():
        # the scheduler last: nothing of a job may happen before the cluster's policies stand
        after = ["airflow-tables", "c2d-tables", *(["cluster"] if name == "scheduler" else [])]
        ready = {"ready_port": ports["airflow"]} if name == "api-server" else {}
        unit(name, module("airflow", *arguments), airflow_env, after=after, **ready)
        units[-1]["cwd"] = str(stack.airflow)

    told = {
        "AIRFLOW_URL": f"http://127.0.0.1:{ports['airflow']}",
        "AIRFLOW_USER": airflow.USER,
        "AIRFLOW_PASSWORD": secrets["airflow_password"],
        "OPERATOR_SERVICE_URL": f"http://127.0.0.1:{ports['airflow']}/operator-service/",
        "PROVIDER_PRIVATE_KEY": airflow_env["PROVIDER_PRIVATE_KEY"],
        **({"PROVIDER_URL": f"http://127.0.0.1:{ports['airflow']}/provider"} if airflow_env.get("NETWORK_URL") else {}),
        "OPERATOR_ADMIN": secrets["operator_admin"],
        "DATABASE_URL": airflow_env["C2D_DATABASE_URL"],
        "KUBECONFIG": str(kubeconfig),
        "DATA_URL": f"http://{address}:{ports['data']}",
        "C2D_HOME": str(stack.path),
        **{
            name: airflow_env[name]
            for name in ("C2D_DATABASE_URL", "C2D_NAMESPACE", "C2D_RESULTS_CLAIM", "C2D_RESULTS_PATH", "C2D_STAGE_IMAGE")
        },
    }
    return units, told


# -- commands ------------------------------------------------------------------------------------------------------
def up(stack: Home, env_file: Path | None = None) -> dict[str, str]:
    """Start the stack unless it runs; give back what C2D_HOME/env says.

    Raises StackError, with nothing left running, when it does not come up.
    """
    stack.create()
    with one_at_a_time(stack):
        if is_running(stack):
            if env_file:
                print("The settings of ENV_FILE are not read now, for the stack runs already; `make down` first.", file=sys.stderr)
            return read_env(stack.env_file)
        remove_leftovers(stack)
        progress, begun, since = Progress(), time.monotonic(), airflow.now()
        try:
            units, told = plan(stack, env_file)
            if env_file or os.environ.get("C2D_ENVIRONMENTS"):
                check_settings(next(unit["env"] for unit in units if unit["name"] == "scheduler"))
            progress.show("Starting: PostgreSQL")
            postgres.create_cluster(stack, stack.secrets()["database_password"])
            for old in stack.logs.glob("*.log"):
                old.replace(old.with_suffix(".log.1"))
            write_private(stack.run / "plan.json", json.dumps(units, indent=1))
            with (stack.logs / "supervisor.log").open("ab") as log:
                supervisor = subprocess.Popen(
                    [sys.executable, "-m", "local.supervisor", str(stack.run)],
                    cwd=PROJECT,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            client = airflow.Client(told["AIRFLOW_URL"], told["AIRFLOW_PASSWORD"])
            wait_until_ready(
                stack,
                supervisor,
                client,
                since,
                lambda text: progress.show(f"{text} ({time.monotonic() - begun:.0f} s)" if progress.terminal else text),
            )
            write_env(stack.env_file, told)
        except BaseException:
            progress.clear()
            stop(stack)
            raise
        progress.clear()
        return told


def check_settings(env: dict[str, str]) -> None:
    """Have the product read the operator's settings before anything starts; it says what is wrong, or not in force yet."""
    program = Path(sys.executable).with_name("c2d")
    if not program.exists():
        return
    done = subprocess.run([str(program), "check"], env=env, cwd=PROJECT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise StackError((done.stderr or done.stdout).strip() or "The settings cannot be read.")
    print(done.stdout.strip(), file=sys.stderr)


def wait_until_ready(
    stack: Home, supervisor: subprocess.Popen[bytes], client: airflow.Client, since: str, show: Callable[[str], None]
) -> None:
    """Until every process runs, Airflow says that it is healthy and the environments' DAGs have been read."""
    until = time.monotonic() + READY_WITHIN
    logged_in, warm = False, None
    while time.monotonic() < until:
        if supervisor.poll() is not None:
            raise StackError(f"The supervisor ended.\n{tail(stack.logs / 'supervisor.log')}")
        units = state(stack).get("units", {})
        for name, unit in units.items():
            if unit["state"] == "failed":
                raise StackError(
                    f"{name} does not start (exit code {unit['exit_code']}). The end of its log:\n{tail(stack.logs / f'{name}.log')}"
                )
        missing = [name for name, unit in units.items() if unit["state"] not in ("ready", "done")]
        if not units or missing:
            show(f"Starting: {', '.join(missing) or 'supervisor'}")
            time.sleep(0.1)
            continue
        if not warm:
            warm = threading.Thread(target=client.warm_up, daemon=True)
            warm.start()
        health = client.health()
        unhealthy = [name for name, status in health.items() if status != "healthy"]
        if not health or unhealthy:
            show(f"Starting: Airflow ({', '.join(unhealthy).replace('_', '-') or 'api-server'})")
            time.sleep(0.2)
            continue
        if not logged_in:
            client.log_in()
            logged_in = True
        for error in client.import_errors_since(since):
            raise StackError(f"The DAG file {error['filename']} cannot be loaded:\n{last_lines(error['stack_trace'])}")
        if client.dags_parsed_since(since) and not warm.is_alive():
            return
        show("Starting: reading the DAGs")
        time.sleep(0.2)
    missing = [name for name, unit in state(stack).get("units", {}).items() if unit["state"] not in ("ready", "done")] or ["dag-processor"]
    end = tail(stack.logs / f"{missing[0]}.log")
    raise StackError(f"The stack is not ready after {READY_WITHIN} s; {missing[0]} is missing. The end of its log:\n{end}")


def tail(file: Path, lines: int = 15) -> str:
    try:
        return last_lines(file.read_text(errors="replace"), lines)
    except OSError:
        return f"  ({file} cannot be read)"


def last_lines(text: str, lines: int = 15) -> str:
    return "\n".join(f"  | {line[:300]}" for line in text.rstrip().splitlines()[-lines:])


def stop(stack: Home) -> None:
    """End every process of the stack, whatever state it is in."""
    supervisor = state(stack).get("pid"), state(stack).get("started")
    until = time.monotonic() + 25
    if is_running(stack):
        while not state(stack) and time.monotonic() < until:
            time.sleep(0.05)
        supervisor = state(stack).get("pid"), state(stack).get("started")
        if is_alive(*supervisor):
            os.kill(supervisor[0], signal.SIGTERM)
        while is_running(stack) and time.monotonic() < until:
            time.sleep(0.05)
        if is_running(stack) and is_alive(*supervisor):
            os.kill(supervisor[0], signal.SIGKILL)
            time.sleep(0.2)
    remove_leftovers(stack)
    for file in (stack.env_file, stack.run / "plan.json", *([stack.kubeconfig] if stack.kubeconfig.exists() else [])):
        file.unlink(missing_ok=True)


def down(stack: Home) -> bool:
    """Stop the stack; whether there was one."""
    if not stack.path.exists():
        return False
    with one_at_a_time(stack):
        there = is_running(stack)
        stop(stack)
        return there


def status(stack: Home) -> int:
    if not stack.path.exists() or not is_running(stack):
        print("The stack is not running; `make up` starts it.")
        return 3
    account = state(stack)
    total = 0
    for name, unit in account["units"].items():
        if unit["pid"]:
            memory = proportional_memory(descendants(unit["pid"]))
            total += memory
            print(
                f"{name:15} {unit['state']:10} pid {unit['pid']:<8} {memory / 1e6:6.0f} MB"
                + (f"  started again {unit['restarts']} times" if unit["restarts"] else "")
            )
    total += proportional_memory([account["pid"]])
    print(f"{'all':15} {'':10} {'':12} {total / 1e6:6.0f} MB")
    if stack.env_file.exists():
        told = read_env(stack.env_file)
        print(f"Airflow: {told['AIRFLOW_URL']}   user {told['AIRFLOW_USER']}, password {told['AIRFLOW_PASSWORD']}")
    return 0


def clean(stack: Home) -> None:
    if not (stack.path / "secrets.json").exists() and stack.path.exists() and any(stack.path.iterdir()):
        raise StackError(f"{stack.path} does not look like a stack's folder; nothing is deleted.")
    down(stack)
    postgres.remove(stack)
    shutil.rmtree(stack.path, ignore_errors=True)


def env_file() -> Path | None:
    named = os.environ.get("ENV_FILE")
    return Path(named).expanduser().resolve() if named else None


def main() -> int:
    stack = home()
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command == "up":
        running = stack.path.exists() and is_running(stack)
        told = up(stack, env_file())
        print("The stack is running already." if running else "The stack is running.")
        print(f"  Airflow      {told['AIRFLOW_URL']}   user {told['AIRFLOW_USER']}, password {told['AIRFLOW_PASSWORD']}")
        print(f"  settings     . {os.path.relpath(stack.env_file, Path.cwd())}")
        print(f"  logs         {os.path.relpath(stack.logs, Path.cwd())}/")
        return 0
    if command == "down":
        print("The stack is stopped; its data stay." if down(stack) else "The stack is not running.")
        return 0
    if command == "status":
        return status(stack)
    if command == "clean":
        clean(stack)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


def guarded(run: Callable[[], int]) -> int:
    """A person gets a sentence, not a stack trace."""
    try:
        return run()
    except StackError as problem:
        print(problem, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    except OSError as problem:
        print(f"{problem.strerror or problem}: {problem.filename or home().path}", file=sys.stderr)
    return 1


def interrupt(*_: object) -> None:
    """SIGTERM ends a command as Ctrl-C does, so that what it has begun is ended too."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    raise SystemExit(guarded(main))
