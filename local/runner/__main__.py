"""`python -m local.runner --state DIR --kubeconfig FILE --images images.yaml [--port PORT]`

Starts the pod runner on 127.0.0.1. FILE appears (mode 0600, with a new token) as soon as requests are answered. SIGTERM or SIGINT ends the
runner and every container. DIR keeps objects, volumes and logs for the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import sys
from pathlib import Path

from local.runner.containers.images import Images, ImagesError
from local.runner.containers.proot import WARNING
from local.runner.containers.sandbox import NO_SANDBOX, find_sandbox
from local.runner.pods.host import Host
from local.runner.server import say, serve
from local.runner.store.store import Store


def main() -> int:
    """Run until a signal; the exit code."""
    options = arguments()
    state = options.state.resolve()
    state.mkdir(parents=True, exist_ok=True)
    state.chmod(0o700)  # it holds Secrets
    os.umask(0o077)
    lock = os.open(state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(f"another runner uses {state}")
        return 1
    sandbox = find_sandbox(options.unsafe_no_sandbox)
    if sandbox is None:
        say(NO_SANDBOX)
        return 1
    if not sandbox.isolates:
        say(WARNING)
    try:
        host = Host(Store(state / "objects"), Images(options.images), state, sandbox)
        asyncio.run(serve(host, options.port, options.kubeconfig.resolve()))
    except (ImagesError, OSError) as error:
        say(str(error))
        return 1
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m local.runner", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for objects, volumes and logs (created if missing)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write for clients")
    parser.add_argument("--images", type=Path, required=True, help="images.yaml; see local/runner/containers/images.py for its format")
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        default=os.environ.get("C2D_UNSAFE_NO_SANDBOX") == "1",
        help="if this machine allows no sandbox, run trusted images without any isolation",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
