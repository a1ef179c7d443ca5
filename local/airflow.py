"""Airflow's settings and processes in the laptop stack."""

from __future__ import annotations

import json
import os
import shutil

from local.home import PROJECT, Home, write_private

USER = "admin"

# Comments say why a setting differs from Airflow's default.
SETTINGS = {
    "CORE__EXECUTOR": "LocalExecutor",
    # Each worker is a process of about 35 MB. 8 is what a laptop can run at once, 32 is the default.
    "CORE__PARALLELISM": "8",
    # Forked workers inherit the scheduler's imports (airflow_local_settings.py), which saves 2.4 s per task.
    "CORE__MP_START_METHOD": "fork",
    "CORE__LOAD_EXAMPLES": "False",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "CORE__SIMPLE_AUTH_MANAGER_USERS": f"{USER}:admin",
    # The default needs a name server, which a laptop may not have.
    "CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    "API__HOST": "127.0.0.1",
    "API__WORKERS": "1",
    # The pause between two scheduling loops, and so between two tasks; default 1 s.
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    # A task notices at its next heartbeat that it was stopped; default 5 s. Together with the next setting, this bounds how long the
    # API server may be unavailable before tasks give up.
    "WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    "WORKERS__MAX_FAILED_HEARTBEATS": "20",
    # Recovery within 40 s after a scheduler or worker was killed; the defaults are 300, 300, 10, 30 and 5 s.
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "15",
    "SCHEDULER__JOB_HEARTBEAT_SEC": "3",
    "SCHEDULER__ENABLE_HEALTH_CHECK": "False",
    # A changed DAG file takes effect within seconds; the defaults are 300 and 5 s.
    "DAG_PROCESSOR__REFRESH_INTERVAL": "10",
    "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "5",
    "DAG_PROCESSOR__PARSING_PROCESSES": "1",
    "DAG_PROCESSOR__PRINT_STATS_INTERVAL": "0",
    "LOGGING__COLORED_CONSOLE_LOG": "False",
    "METRICS__STATSD_ON": "False",
    "METRICS__OTEL_ON": "False",
    "TRACES__OTEL_ON": "False",
}

# The arguments of `airflow` for each process. `airflow standalone` is not used: its log servers listen on every address of the machine.
PROCESSES = {
    "scheduler": ["scheduler", "--skip-serve-logs"],
    "dag-processor": ["dag-processor"],
    "triggerer": ["triggerer", "--skip-serve-logs"],
    "api-server": ["api-server"],
}


def environment(home: Home, port: int, database_url: str) -> dict[str, str]:
    """The environment variables that configure Airflow."""
    secrets = home.secrets()
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


def write_home(home: Home) -> None:
    """Write the files that Airflow reads from its own folder."""
    write_private(home.airflow / "passwords.json", json.dumps({USER: home.secrets()["airflow_password"]}))
    config = home.airflow / "config"
    config.mkdir(exist_ok=True)
    shutil.copyfile(PROJECT / "local" / "airflow_local_settings.py", config / "airflow_local_settings.py")
