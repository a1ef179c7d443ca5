"""The environment variables of the stack's processes, and those that `env` in the stack's folder offers to the user's shell."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

from c2d.crypto.signatures import address_of
from local import airflow, cluster, postgres
from local.home import Home

# Variables of the user's shell that the processes get. AIRFLOW_* is left out: another Airflow of this user must not interfere.
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
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    # settings of the operator that may come from the shell as well as from ENV_FILE
    "OPERATOR_PRIVATE_KEY",
)
PASSED_ON_PREFIXES = ("C2D_", "LC_", "PIP_", "UV_")


def shell_environment() -> dict[str, str]:
    """What every process gets of the environment of this shell."""
    env = {name: value for name, value in os.environ.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)}
    no_proxy = os.environ.get("NO_PROXY") or os.environ.get("no_proxy")
    env["NO_PROXY"] = env["no_proxy"] = ",".join(filter(None, [no_proxy, "127.0.0.1,localhost"]))
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', os.defpath)}"
    env["PYTHONUNBUFFERED"] = "1"
    env["MALLOC_ARENA_MAX"] = "2"  # glibc would use up to 8 heaps a core; these processes need two
    return env


def airflow_environment(
    stack: Home, shell: dict[str, str], operator: dict[str, str], ports: dict[str, int], kubeconfig: Path
) -> dict[str, str]:
    """The environment of Airflow's processes, and of every step that reads the product's settings.

    The operator's settings (from ENV_FILE) override those of the shell, which override the stack's own.
    """
    secrets = stack.secrets()
    password = secrets["database_password"]
    provider_key = operator.get("PROVIDER_PRIVATE_KEY") or secrets["provider_private_key"]
    own = airflow.environment(stack, ports["airflow"], postgres.url("airflow", password, ports["postgres"]))
    own |= product_settings(stack, provider_key, postgres.url("c2d", password, ports["postgres"]), kubeconfig)
    return {**own, **shell, **operator}


def product_settings(stack: Home, provider_key: str, database_url: str, kubeconfig: Path) -> dict[str, str]:
    """The product's settings (docs/operator.md) as this stack needs them."""
    secrets, on_cluster = stack.secrets(), cluster.is_kubernetes()
    connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig), "namespace": cluster.namespace()}}
    return {
        "OPERATOR_PRIVATE_KEY": secrets["operator_private_key"],
        "PROVIDER_PRIVATE_KEY": provider_key,  # NETWORK_URL, in ENV_FILE, turns the Provider API on
        "ALLOWED_PROVIDERS": ",".join(provider_addresses(provider_key)),
        "ALLOW_NON_PUBLIC_IP": "1",  # the data server is on this machine
        "ALLOWED_ADMINS": secrets["operator_admin"],
        "C2D_DATABASE_URL": database_url,
        "C2D_NAMESPACE": cluster.namespace(),
        "C2D_RESULTS_CLAIM": "c2d-results",
        "C2D_RESULTS_PATH": str(stack.path / "results"),
        "C2D_STAGE_IMAGE": "c2d.test/stages:1",
        "access_control": "open",  # anyone with this stack's password may run any job
        "enableNetwork": "1" if on_cluster else "0",  # the pod runner could only give a pod the whole network of this machine
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        "KUBECONFIG": str(kubeconfig),
    }


def user_environment(stack: Home, env: dict[str, str], ports: dict[str, int], kubeconfig: Path, data_url: str) -> dict[str, str]:
    """What `env` in the stack's folder has for the user's shell. `env`: the environment of Airflow's processes."""
    secrets = stack.secrets()
    url = f"http://127.0.0.1:{ports['airflow']}"
    names = ("C2D_DATABASE_URL", "C2D_NAMESPACE", "C2D_RESULTS_CLAIM", "C2D_RESULTS_PATH", "C2D_STAGE_IMAGE")
    return {
        "AIRFLOW_URL": url,
        "AIRFLOW_USER": airflow.USER,
        "AIRFLOW_PASSWORD": secrets["airflow_password"],
        "OPERATOR_SERVICE_URL": f"{url}/operator-service/",
        "PROVIDER_PRIVATE_KEY": env["PROVIDER_PRIVATE_KEY"],
        **({"PROVIDER_URL": f"{url}/provider"} if env.get("NETWORK_URL") else {}),
        "OPERATOR_ADMIN": secrets["operator_admin"],
        "DATABASE_URL": env["C2D_DATABASE_URL"],
        "KUBECONFIG": str(kubeconfig),
        "DATA_URL": data_url,
        "C2D_HOME": str(stack.path),
        **{name: env[name] for name in names},
    }


def provider_addresses(provider_key: str) -> list[str]:
    """The addresses of a PROVIDER_PRIVATE_KEY: one key, or a JSON object with a key for each chain.

    Empty if the setting is wrong: `c2d check`, which runs before the stack starts, reports that.
    """
    with contextlib.suppress(ValueError, AttributeError):
        keys = json.loads(provider_key).values() if provider_key.lstrip().startswith("{") else [provider_key]
        return [address_of(key) for key in keys]
    return []
