"""The market's npm packages: anvil (the chain) and Ocean's own client library, at the versions of package-lock.json.

They are installed once a version, into a folder of this user's cache.
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
WITHIN = 600  # seconds for the installation


@functools.cache
def node() -> str:
    """The path of Node.js; StackError when it is missing or too old."""
    program = shutil.which("node")
    if not program or not shutil.which("npm"):
        raise StackError(f"Node.js {NODE} or newer with npm is needed and was not found; install it, or put it on the PATH.")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=60).stdout.strip()
    version = re.match(r"v(\d+)\.", said)
    if not version or int(version[1]) < NODE:
        raise StackError(f"Node.js {NODE} or newer is needed; {program} is {said or 'no working Node.js'}.")
    return program


def cache() -> Path:
    return Path(os.environ.get("C2D_MARKET_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "c2d-market")


@functools.cache
def modules() -> Path:
    """The folder node_modules, installed when it is not there; StackError tells what npm said."""
    node()
    version = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    place = cache() / version
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / f"{version}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not place.exists():
            half = cache() / f"{version}.new"
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            for name in FILES:
                shutil.copy(HERE / name, half)
            command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=half, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=WITHIN)
            if done.returncode:
                raise StackError(f"npm could not install the market's packages: {done.stdout.strip()[-600:] or 'no reason given'}")
            half.rename(place)
    return place / "node_modules"


def anvil() -> Path:
    """The program anvil, of the package for this machine."""
    found = sorted((modules() / "@foundry-rs").glob("anvil-*/bin/anvil"))
    if not found:
        raise StackError("There is no anvil for this machine; Linux on x86-64 or arm64, or macOS on arm64, is needed.")
    return found[0]
