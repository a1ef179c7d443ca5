"""`python -m local.runner --state DIR --port PORT --kubeconfig FILE --images images.yaml`

Starts the laptop pod runner on 127.0.0.1. FILE appears (mode 0600, with a new token) when requests are answered; SIGTERM or SIGINT
ends the runner and every container. DIR keeps objects, claims and logs for the next start.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import yaml

from . import unsafe
from .api import make_app
from .certificate import self_signed
from .images import Images, ImagesError
from .objects import Store
from .pods import Node
from .process import find_bubblewrap
from .sandbox import Bubblewrap

NAMESPACE = "c2d-jobs"
NO_SANDBOX = """this machine does not let ordinary users make namespaces, so no container can be isolated here.
What forbids it, and how to allow it (as root):
  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0    (Ubuntu 24.04 and later; or: apt install bubblewrap apparmor-profiles)
  sysctl -w kernel.unprivileged_userns_clone=1                (older Debian)
  sysctl -w user.max_user_namespaces=15000                    (where it is 0)
  docker run --security-opt seccomp=unconfined ...            (inside a Docker container)
Or use a Kubernetes cluster instead of the laptop runner. To run trusted images without any isolation: install proot, and start with
--unsafe-no-sandbox or C2D_UNSAFE_NO_SANDBOX=1; what is lost is said in local/runner/unsafe.py."""


class Server(uvicorn.Server):
    """uvicorn that leaves signals to us and says when it answers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


def say(text: str) -> None:
    print(text, flush=True)


def kubeconfig(port: int, token: str, certificate: bytes) -> str:
    cluster = {"server": f"https://127.0.0.1:{port}", "certificate-authority-data": b64encode(certificate).decode()}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "laptop", "cluster": cluster}],
            "users": [{"name": "laptop", "user": {"token": token}}],
            "contexts": [{"name": "laptop", "context": {"cluster": "laptop", "user": "laptop", "namespace": NAMESPACE}}],
            "current-context": "laptop",
        },
        sort_keys=False,
    )


def described(sandbox: Bubblewrap | unsafe.Proot) -> str:
    if isinstance(sandbox, unsafe.Proot):
        return "trusted images without a sandbox"
    return f"containers under bubblewrap ({'user namespaces' if sandbox.user_namespace else 'namespaces of root'})"


def write_private(path: Path, text: str) -> None:
    """Writes a file that only its owner can read, all at once."""
    partial = path.with_name(f"{path.name}.{os.getpid()}~")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)


def bubblewrap_works(program: str, options: list[str]) -> bool:
    """Whether a container could be made with these options: tried with `true`."""
    view = ["--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--cap-drop", "ALL"]
    try:
        return subprocess.run([program, *options, *view, "true"], capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


async def serve(options: argparse.Namespace, sandbox: Bubblewrap | unsafe.Proot) -> None:
    store = Store(options.state / "objects")
    node = Node(store, Images(options.images), options.state, sandbox)
    node.recover()
    token = secrets.token_urlsafe(32)
    listener = socket.create_server(("127.0.0.1", options.port))
    # asyncio does this only for sockets that say IPPROTO_TCP, which this one does not; without it TLS costs 45 ms a pod
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    certificate, key = self_signed()
    for name, content in (("tls.crt", certificate), ("tls.key", key)):
        write_private(options.state / name, content.decode())
    config = uvicorn.Config(
        make_app(store, node, token),
        loop="asyncio",  # containers die with the thread that started them, which must therefore be the main one
        lifespan="off",
        access_log=False,
        log_level="warning",
        ssl_certfile=options.state / "tls.crt",
        ssl_keyfile=options.state / "tls.key",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    server = Server(config)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    started = asyncio.create_task(server.ready.wait())
    await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
    write_private(options.kubeconfig, kubeconfig(port, token, certificate))
    say(f"runner: https://127.0.0.1:{port}, {described(sandbox)}; kubeconfig: {options.kubeconfig}")
    stopped = asyncio.create_task(ended.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    say("runner: stopping")
    await node.stop()
    store.close()
    server.should_exit = True
    await asyncio.sleep(0.05)  # watches write their last line
    for connection in list(server.server_state.connections):
        # idle ones: closing them politely would wait for each client's end of TLS
        if connection.transport is not None:
            connection.transport.abort()
    await serving
    options.kubeconfig.unlink(missing_ok=True)
    say("runner: stopped")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.runner", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--state", type=Path, required=True, help="folder for objects, claims and logs (made if missing)")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
    parser.add_argument("--kubeconfig", type=Path, required=True, help="file to write for clients")
    parser.add_argument("--images", type=Path, required=True, help="images.yaml; its format is described in local/runner/images.py")
    parser.add_argument(
        "--unsafe-no-sandbox",
        action="store_true",
        default=os.environ.get("C2D_UNSAFE_NO_SANDBOX") == "1",
        help="where the machine allows no sandbox, run trusted images without any isolation",
    )
    options = parser.parse_args()
    options.state = options.state.resolve()
    options.kubeconfig = options.kubeconfig.resolve()
    options.state.mkdir(parents=True, exist_ok=True)
    options.state.chmod(0o700)  # Secrets are in there
    os.umask(0o077)
    lock = os.open(options.state / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say(f"runner: another runner uses {options.state}")
        return 1
    sandbox: Bubblewrap | unsafe.Proot | None = find_bubblewrap(bubblewrap_works)
    if sandbox is None and options.unsafe_no_sandbox:
        sandbox = unsafe.find_proot()
        say(f"runner: {unsafe.WARNING}")
    if sandbox is None:
        say(f"runner: {NO_SANDBOX}")
        return 1
    try:
        asyncio.run(serve(options, sandbox))
    except (ImagesError, OSError) as error:
        say(f"runner: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
