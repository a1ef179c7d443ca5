"""The runner as a server: HTTPS on loopback, a kubeconfig with a new token, and an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import socket
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import uvicorn
import yaml

from local.runner.api.app import make_app
from local.runner.certificate import self_signed
from local.runner.pods.host import Host
from local.runner.pods.node import Node

NAMESPACE = "c2d-jobs"
"""The namespace of the kubeconfig's context, for clients that name none."""


class Server(uvicorn.Server):
    """uvicorn with a main loop of ours: it sleeps until it is stopped, instead of looking ten times a second whether it is."""

    def __init__(self, config: uvicorn.Config, main: Callable[[], Awaitable[None]]) -> None:
        """`main` runs once requests are answered; when it returns, the server shuts down."""
        super().__init__(config)
        self._main = main

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the runner."""
        yield

    async def main_loop(self) -> None:
        await self._main()

    def drop_connections(self) -> None:
        """Close every connection without a farewell, for which uvicorn would wait for each client's end of TLS."""
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()


async def serve(host: Host, port: int, kubeconfig: Path) -> None:
    """Serve until SIGTERM or SIGINT, then end every container. The file `kubeconfig` exists while requests are answered.

    :raises OSError: the port is taken.
    """
    node = Node(host)
    node.recover()
    token = secrets.token_urlsafe(32)
    listener = socket.create_server(("127.0.0.1", port))
    # asyncio does this only for sockets made with IPPROTO_TCP, unlike this one. Without it, TLS costs 45 ms a pod.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    certificate, key = self_signed()
    write_private(host.state / "tls.crt", certificate.decode())
    write_private(host.state / "tls.key", key.decode())
    config = uvicorn.Config(
        make_app(host.store, node, token),
        loop="asyncio",  # containers die with the thread that started them, which must therefore be the main one
        lifespan="off",
        access_log=False,
        log_level="warning",
        date_header=False,
        ssl_certfile=host.state / "tls.crt",
        ssl_keyfile=host.state / "tls.key",
        timeout_graceful_shutdown=2,
        timeout_keep_alive=75,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"

    async def main() -> None:
        write_private(kubeconfig, kubeconfig_text(url, token, certificate))
        say(f"{url}, {host.sandbox}; kubeconfig: {kubeconfig}")
        await stop.wait()
        say("stopping")
        await node.stop()
        host.store.close()
        await asyncio.sleep(0.05)  # watches write their last line
        server.drop_connections()

    server = Server(config, main)
    await server.serve(sockets=[listener])
    kubeconfig.unlink(missing_ok=True)
    say("stopped")


def say(text: str) -> None:
    """Tell the user, at once."""
    print(f"runner: {text}", flush=True)


def kubeconfig_text(url: str, token: str, certificate: bytes) -> str:
    """A kubeconfig for clients of this run."""
    cluster = {"server": url, "certificate-authority-data": b64encode(certificate).decode()}
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


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, all at once."""
    partial = path.with_name(f"{path.name}.{os.getpid()}~")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
