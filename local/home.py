"""The folder where one stack stores everything: secrets, ports, databases, logs. Two folders are two independent stacks."""

import base64
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from local.ports import free_port, is_free

PROJECT = Path(__file__).resolve().parent.parent
PORT_VARIABLES = {"airflow": "C2D_PORT", "postgres": "C2D_POSTGRES_PORT", "runner": "C2D_RUNNER_PORT", "data": "C2D_DATA_PORT"}


class StackError(Exception):
    """Something that the user can fix. The message says what is wrong and what would be right."""


@dataclass(frozen=True)
class Home:
    """The paths inside a stack's folder, its secrets and its ports."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """Files that exist only while the stack runs: plan, state, kubeconfig."""
        return self.path / "run"

    @property
    def env_file(self) -> Path:
        """Variables for the user's shell: addresses, login, paths."""
        return self.path / "env"

    @property
    def postgres(self) -> Path:
        return self.path / "postgres"

    @property
    def airflow(self) -> Path:
        return self.path / "airflow"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def images(self) -> Path:
        """What the pod runner runs in place of container images."""
        return self.path / "images.yaml"

    def create(self) -> None:
        """Make the folder and its subfolders, readable only by this user."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.airflow):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"The folder C2D_HOME={self.path} cannot be created: {error.strerror}.") from error

    def secrets(self) -> dict[str, str]:
        """The stack's passwords and keys, generated on first use."""
        file = self.path / "secrets.json"
        stored: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        generated = {
            "airflow_password": secrets.token_urlsafe(18),
            "database_password": secrets.token_urlsafe(24),
            "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
            "jwt_secret": secrets.token_urlsafe(48),
            "api_secret": secrets.token_urlsafe(48),
            # any 32 bytes below the group order are a secp256k1 key; the chance that they are not is 2^-128
            "operator_private_key": "0x" + secrets.token_hex(32),
            # the key of the stack's own Provider: it signs requests to /operator-service/
            "provider_private_key": "0x" + secrets.token_hex(32),
            "operator_admin": secrets.token_hex(16),
        }
        if generated.keys() - stored.keys():
            stored = {**generated, **stored}
            write_private(file, json.dumps(stored, indent=1))
        return stored

    def ports(self) -> dict[str, int]:
        """The stack's ports, by service.

        A port is the one in the environment variable, or the one of the last start if it is still free, or any free one.

        :raises StackError: an environment variable names a port that does not exist or is in use.
        """
        file = self.path / "ports.json"
        previous: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        ports = {}
        for name, variable in PORT_VARIABLES.items():
            if text := os.environ.get(variable):
                ports[name] = _port(variable, text)
            else:
                ports[name] = previous[name] if name in previous and is_free(previous[name]) else free_port()
        write_private(file, json.dumps(ports))
        return ports


def _port(variable: str, text: str) -> int:
    """The port that an environment variable names."""
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise StackError(f"{variable}={text} is not a port: use a number from 1 to 65535.")
    if not is_free(int(text)):
        raise StackError(
            f"Port {text} ({variable}) is in use by another program. Choose another port, or unset {variable} to use a free one."
        )
    return int(text)


def home() -> Home:
    """The stack that C2D_HOME names; a relative path is relative to the project."""
    return Home((PROJECT / Path(os.environ.get("C2D_HOME") or ".local").expanduser()).resolve())


def write_private(file: Path, text: str) -> None:
    """Replace a file atomically. Only this user can read it, from its first byte on."""
    new = file.with_name(file.name + ".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    new.replace(file)
