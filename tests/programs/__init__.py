"""Builds the stores that tests use from their Go modules. ``python -m tests.programs`` builds all of them.

The first build takes about ten minutes on two cores. The programs are built once and stored in ~/.cache/c2d-services (C2D_SERVICES_CACHE).
The Go compiler is a package of requirements-dev.txt.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MINIO = "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c"
PROGRAMS = {"minio": "minio", "kubo": "ipfs", "ipfs-cluster": "ipfs-cluster-service"}
BUILD_TIMEOUT = 1800  # seconds


def cache() -> Path:
    """The folder of the built programs."""
    return Path(os.environ.get("C2D_SERVICES_CACHE") or Path.home() / ".cache" / "c2d-services")


def program(name: str) -> str:
    """The path of a service's program. It is built if it does not exist yet.

    :raises AssertionError: it cannot be built; the message has the compiler's output.
    """
    built = cache() / PROGRAMS[name]
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.exists():
            print(f"Building {name} (once) ...", file=sys.stderr, flush=True)
            _build(name, cache() / "new")
            (cache() / "new" / PROGRAMS[name]).replace(built)
    return str(built)


def _build(name: str, folder: Path) -> None:
    go = str(Path(sys.executable).with_name("go"))
    flags = ["-trimpath", "-ldflags", "-s -w"]
    if name == "minio":
        command, where = [go, "install", *flags, MINIO], HERE
    else:
        command, where = [go, "install", "-mod=readonly", *flags, "tool"], HERE / name
    env = {**os.environ, "CGO_ENABLED": "0", "GOBIN": str(folder), "GOTOOLCHAIN": "local"}
    done = subprocess.run(command, cwd=where, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=BUILD_TIMEOUT)
    assert done.returncode == 0, f"{name} could not be built: {done.stdout.strip()[-2000:]}"
