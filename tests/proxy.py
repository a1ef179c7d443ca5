"""A bad network: a TCP proxy in front of a real service that breaks connections, corrupts data or slows them down."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit


class Proxy:
    """Forwards everything between its ``url`` and ``target``. Its attributes make it misbehave:

    - ``cut``: (bytes, times); breaks a connection after so many bytes from the client, and does that so many times
    - ``damage``: how many times it changes the first byte of ``mark`` in what the client sends
    - ``rate``: bytes per second from each client

    ``passed`` counts the bytes from clients, ``connections`` their connections.
    """

    def __init__(self, target: str, address: str = "127.0.0.1") -> None:
        self.target = urlsplit(target)
        self.cut: tuple[int, int] | None = None
        self.damage, self.mark = 0, b""
        self.rate = 0
        self.passed = self.connections = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server((address, 0))
        self.url = f"http://{address}:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection((self.target.hostname or "", self.target.port or 80))
        except OSError:
            client.close()
            return
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        sent = 0
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                with self._lock:
                    self.passed += len(data)
                    if self.damage and self.mark in data:
                        self.damage -= 1
                        data = data.replace(self.mark, bytes([self.mark[0] ^ 1]) + self.mark[1:], 1)
                    breaks = self.cut is not None and self.cut[1] > 0 and sent + len(data) > self.cut[0]
                    if breaks and self.cut:
                        self.cut = (self.cut[0], self.cut[1] - 1)
                if breaks:
                    break
                if self.rate:
                    time.sleep(len(data) / self.rate)
                server.sendall(data)
                sent += len(data)
        _close(client, server)

    def _back(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                client.sendall(data)
        _close(client, server)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
