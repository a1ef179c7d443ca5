"""Two files of environment variables: ENV_FILE, which the operator writes, and `env` in the stack's folder, which the stack writes."""

import io
import os
import shlex
from pathlib import Path

from dotenv.parser import parse_stream

from local.home import StackError, write_private


def env_file() -> Path | None:
    """The file that the environment variable ENV_FILE names."""
    name = os.environ.get("ENV_FILE")
    return Path(name).expanduser().resolve() if name else None


def operator_settings(file: Path) -> dict[str, str]:
    """The settings in ENV_FILE. Empty ones count as not set. A relative path in C2D_ENVIRONMENTS is relative to the file.

    :raises StackError: the file cannot be read, or a line is not NAME=value.
    """
    settings = {name: value for name, value in read_dotenv(file).items() if value.strip()}
    if environments := settings.get("C2D_ENVIRONMENTS"):
        settings["C2D_ENVIRONMENTS"] = str(file.parent / environments)
    return settings


def read_dotenv(file: Path) -> dict[str, str]:
    """The variables of a .env file: NAME=value lines, comments, an optional `export`, quotes around a value. Nothing is expanded."""
    try:
        text = file.read_text()
    except OSError as error:
        raise StackError(f"ENV_FILE={file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise StackError(f"ENV_FILE={file} cannot be read: it is not UTF-8 text.") from error
    variables = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.error or (binding.key and binding.value is None):
            text = binding.original.string
            blank_lines = text[: len(text) - len(text.lstrip())].count("\n")
            raise StackError(f"{file}, line {binding.original.line + blank_lines}: expected NAME=value.")
        if binding.key:
            variables[binding.key] = binding.value or ""
    return variables


def write_env(file: Path, variables: dict[str, str]) -> None:
    """Write variables as `export NAME=value` lines, which a shell can read with `.`."""
    write_private(file, "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()))


def read_env(file: Path) -> dict[str, str]:
    """The variables that :func:`write_env` wrote."""
    assignments = (word.partition("=") for word in shlex.split(file.read_text()) if word != "export")
    return {name: value for name, _, value in assignments}
