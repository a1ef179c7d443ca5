"""Airflow of the stack: its settings, its four processes, and a small client of its REST API."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from local.home import PROJECT, Home, write_private

USER = "admin"

# Each setting differs from Airflow's default for a reason.
SETTINGS = {
    "CORE__EXECUTOR": "LocalExecutor",
    # one prefork worker each, ~35 MB while it waits for a pod: the number of pods that this machine can run at once, not Airflow's 32
    "CORE__PARALLELISM": "8",
    # workers forked from the scheduler inherit what it has imported (airflow_local_settings.py): 2.4 s less per task
    "CORE__MP_START_METHOD": "fork",
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
    # the default asks a name server, which a laptop may not have
    "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    "API__HOST": "127.0.0.1",
    "API__WORKERS": "1",
    # the loop between two tasks: 1 s by default
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    # a stop is noticed at the next heartbeat; default 5. Together with the next one it bounds how long the API server may be away
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "WORKERS__MAX_FAILED_HEARTBEATS": "20",
    # recovery after a killed scheduler or worker within 40 s; defaults 300, 300, 10, 30 and 5
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "3",
    "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
    # a changed DAG file shows within seconds; 300 and 5 by default
    "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
    "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
    "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
    "LOGGING__COLORED_CONSOLE_LOG": "False",
    "METRICS__STATSD_ON": "False",
    "METRICS__OTEL_ON": "False",
    "TRACES__OTEL_ON": "False",
}

# Four processes, started by hand: `airflow standalone` has log servers that listen on every address of the machine.
PROCESSES = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "api-server": ["api-server"],
}


def environment(home: Home, secrets: dict[str, str], port: int, database_url: str) -> dict[str, str]:
    settings = {
        **SETTINGS,
        "CORE__DAGS_FOLDER": os.environ.get("C2D_DAGS") or str(PROJECT / "dags"),
        "CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        "CORE__FERNET_KEY": secrets["fernet_key"],
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home.airflow / "passwords.json"),
        "DATABASE__SQL_ALCHEMY_CONN": database_url,
        "API__PORT": str(port),
        "API__BASE_URL": f"http://127.0.0.1:{port}",
        "API__SECRET_KEY": secrets["api_secret"],
        "API_AUTH__JWT_SECRET": secrets["jwt_secret"],
        "LOGGING__BASE_LOG_FOLDER": str(home.logs / "tasks"),
    }
    return {"AIRFLOW_HOME": str(home.airflow), **{f"AIRFLOW__{name}": value for name, value in settings.items()}}


def write_home(home: Home, password: str) -> None:
    """The files that Airflow reads from its own folder."""
    write_private(home.airflow / "passwords.json", f'{{"{USER}": "{password}"}}\n')
    config = home.airflow / "config"
    config.mkdir(exist_ok=True)
    shutil.copyfile(PROJECT / "local" / "airflow_local_settings.py", config / "airflow_local_settings.py")


def fingerprint(files: Iterable[Path], *more: str) -> str:
    digest = hashlib.sha256("\0".join(more).encode())
    for file in sorted(files):
        digest.update(str(file).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def migrate(what: str, stamp: Path) -> int:
    """Bring one database to its newest form, unless the stamp says that it is. A step of the plan.

    Airflow needs 7 s to find out that there is nothing to do. The stamp lies beside the data and goes with them.
    """
    if what == "airflow":
        import importlib.metadata

        command, wanted = [sys.executable, "-m", "airflow", "db", "migrate"], importlib.metadata.version("apache-airflow-core")
    else:
        program = Path(sys.executable).with_name("c2d")
        command = [str(program), "migrate"]
        if not program.exists():
            print("the c2d command is not installed; its tables are not made", flush=True)
            return 0
        wanted = fingerprint((PROJECT / "plugins" / "c2d").rglob("migrations/**/*.py"), *map(str, [PROJECT]))
    if stamp.exists() and stamp.read_text() == wanted:
        return 0
    stamp.unlink(missing_ok=True)
    code = subprocess.run(command, stdin=subprocess.DEVNULL).returncode
    if code == 0:
        write_private(stamp, wanted)
    return code


class Client:
    """Airflow's REST API, as the stack and the demo use it."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url
        self.password = password
        # without the proxies of the environment: the address is on this machine
        self.http = httpx.Client(base_url=url, timeout=20, trust_env=False)

    def log_in(self) -> None:
        answer = self.http.post("/auth/token", json={"username": USER, "password": self.password})
        answer.raise_for_status()
        self.http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **query: Any) -> Any:
        answer = self.http.get(f"/api/v2{path}", params=query)
        answer.raise_for_status()
        return answer.json()

    def send(self, method: str, path: str, body: dict[str, Any]) -> httpx.Response:
        return self.http.request(method, f"/api/v2{path}", json=body)

    def health(self) -> dict[str, str]:
        """Component -> healthy, unhealthy; empty while the server is not there."""
        try:
            answer = self.http.get("/api/v2/monitor/health", timeout=5)
            parts = answer.json() if answer.status_code == 200 else {}
        except (httpx.HTTPError, ValueError):
            return {}
        wanted = ("metadatabase", "scheduler", "dag_processor", "triggerer")
        return {name: (parts.get(name) or {}).get("status") or "unhealthy" for name in wanted}

    def warm_up(self) -> None:
        """Have the API that tasks talk to built now: its first request takes seconds, and would be the first task's."""
        with contextlib.suppress(httpx.HTTPError):
            self.http.get("/execution/health", timeout=60)

    def dags_parsed_since(self, moment: str) -> list[dict[str, Any]]:
        """DAGs that the DAG processor has read after a moment (ISO 8601, UTC): those of an earlier start do not count."""
        return [dag for dag in self.get("/dags", limit=100)["dags"] if (dag.get("last_parsed_time") or "") > moment]

    def import_errors_since(self, moment: str) -> list[dict[str, Any]]:
        return [error for error in self.get("/importErrors")["import_errors"] if error["timestamp"] > moment]


def now() -> str:
    """This moment as Airflow's API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())


if __name__ == "__main__":
    raise SystemExit(migrate(sys.argv[1], Path(sys.argv[2])))
