"""The directory where one stack keeps everything: secrets, ports, databases, logs. Two directories are two stacks."""

import base64
import json
import os
import re
import secrets
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


class StackError(Exception):
    """Something that a person can put right; the message is one sentence for that person."""


@dataclass(frozen=True)
class Home:
    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        """What exists only while the stack runs: plan, state, kubeconfig."""
        return self.path / "run"

    @property
    def env_file(self) -> Path:
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
        return self.path / "images.yaml"

    def create(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.airflow):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StackError(f"C2D_HOME={self.path} cannot be made: {error.strerror}") from error

    def secrets(self) -> dict[str, str]:
        """The stack's passwords and keys, generated once and readable only by this user."""
        file = self.path / "secrets.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        generated = {
            "airflow_password": lambda: secrets.token_urlsafe(18),
            "database_password": lambda: secrets.token_urlsafe(24),
            "fernet_key": lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "jwt_secret": lambda: secrets.token_urlsafe(48),
            "api_secret": lambda: secrets.token_urlsafe(48),
            # any 32 bytes below the group order are a secp256k1 key; the chance that they are not is 2^-128
            "operator_private_key": lambda: "0x" + secrets.token_hex(32),
            # signs requests to /operator-service/, as an Ocean Provider of this stack's own would
            "provider_private_key": lambda: "0x" + secrets.token_hex(32),
            "operator_admin": lambda: secrets.token_hex(16),
        }
        missing = {name: make() for name, make in generated.items() if name not in kept}
        if missing:
            kept |= missing
            write_private(file, json.dumps(kept, indent=1))
        return kept

    def ports(self) -> dict[str, int]:
        """The ports of the stack: what the environment says, else the ones of the last time if they are still free, else free ones."""
        file = self.path / "ports.json"
        kept = json.loads(file.read_text()) if file.exists() else {}
        chosen: dict[str, int] = {}
        for name, variable in (
            ("airflow", "C2D_PORT"),
            ("postgres", "C2D_POSTGRES_PORT"),
            ("runner", "C2D_RUNNER_PORT"),
            ("data", "C2D_DATA_PORT"),
        ):
            asked = os.environ.get(variable)
            if asked:
                if not asked.isdigit() or not 0 < int(asked) < 65536:
                    raise StackError(f"{variable}={asked} is not a port; a number from 1 to 65535 is needed.")
                if not is_free(int(asked)):
                    raise StackError(
                        f"Port {asked} ({variable}) is taken by another program; choose another one, or unset {variable} to use a free one."
                    )
                chosen[name] = int(asked)
            elif name in kept and is_free(kept[name]):
                chosen[name] = kept[name]
            else:
                chosen[name] = free_port()
        write_private(file, json.dumps(chosen))
        return chosen


def home() -> Home:
    # resolved against the project, so that `make` from any directory means the same stack
    return Home((PROJECT / Path(os.environ.get("C2D_HOME") or ".local").expanduser()).resolve())


def write_private(file: Path, text: str) -> None:
    """Replace a file at once, readable only by this user from its first byte on."""
    new = file.with_name(file.name + ".new")
    handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as stream:
        stream.write(text)
    new.replace(file)


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def free_port(address: str = "127.0.0.1") -> int:
    """A port below those that the kernel gives to outgoing connections: it stays free until its program starts, and starts again."""
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = range(20000, first if first > 22000 else 60000)
    return next(port for port in iter(lambda: secrets.choice(ports), None) if is_free(port, address))


def write_env(file: Path, variables: dict[str, str]) -> None:
    """A file that a shell can source."""
    write_private(file, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))


def read_env(file: Path) -> dict[str, str]:
    """What `write_env` wrote."""
    variables = {}
    for line in file.read_text().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        variables[name] = "".join(shlex.split(value))
    return variables


def read_dotenv(file: Path) -> dict[str, str]:
    """An environment file as operators keep them: NAME=value lines, comments, an optional `export`, quotes around a value.

    Nothing in a value is expanded.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"ENV_FILE={file} cannot be read: {getattr(error, 'strerror', None) or 'it is not UTF-8 text'}.") from error
    variables = {}
    for number, line in enumerate(lines, 1):
        line = line.strip().removeprefix("export ").strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", line)
        if not match:
            raise StackError(f"{file}, line {number} is not NAME=value.")
        name, value = match.groups()
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
        variables[name] = value[1:-1] if quoted else re.sub(r"\s+#.*", "", value)
    return variables
