"""Installs the market's npm packages: anvil (the blockchain) and Ocean's client library, at the versions of package-lock.json.

They are installed once for each version, in a folder of this user's cache.
"""

import fcntl
import functools
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from local.home import StackError

HERE = Path(__file__).parent
FILES = ("package.json", "package-lock.json")
NODE = 18  # the oldest major version that the client library runs on
INSTALL_TIMEOUT = 600  # seconds


@functools.cache
def node() -> str:
    """The path of Node.js.

    :raises StackError: it is missing or too old.
    """
    program = shutil.which("node")
    if not program or not shutil.which("npm"):
        raise StackError(f"Node.js {NODE} or newer, with npm, was not found. Install it, or add it to PATH.")
    text = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    version = re.match(r"v(\d+)\.", text)
    if not version or int(version[1]) < NODE:
        raise StackError(f"Node.js {NODE} or newer is needed, but {program} is {text or 'not a working Node.js'}.")
    return program


def cache() -> Path:
    """The folder of the installed packages."""
    return Path(os.environ.get("C2D_MARKET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2d-market")


@functools.cache
def modules() -> Path:
    """The folder node_modules. The packages are installed if it does not exist.

    :raises StackError: npm cannot install them.
    """
    node()
    version = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    place = cache() / version
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            incomplete = cache() / f"{version}.new"
            shutil.rmtree(incomplete, ignore_errors=True)
            incomplete.mkdir()
            for name in FILES:
                shutil.copy(HERE / name, incomplete)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(
                command, cwd=incomplete, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=INSTALL_TIMEOUT
            )
            if done.returncode:
                raise StackError(f"npm could not install the market's packages: {done.stdout.strip()[-600:] or 'it gave no reason'}")
            incomplete.rename(place)
    return place / "node_modules"


def anvil() -> Path:
    """The path of anvil in the package for this machine.

    :raises StackError: there is no package for this machine.
    """
    programs = sorted((modules() / "@foundry-rs").glob("anvil-*/bin/anvil"))
    if not programs:
        raise StackError("There is no anvil for this machine. Use Linux on x86-64 or arm64, or macOS on arm64.")
    return programs[0]
