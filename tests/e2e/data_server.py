"""A data owner's server that pods can reach. Some of its files misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TABLE = b"species,mass\nadelie,3700\ngentoo,5050\n"
BIG = bytes(range(256)) * (3 << 12)  # 3 MiB
SLEEPER = b"import time; print('working', flush=True); time.sleep(600)\n"
ALGORITHM = b"open('/data/outputs/where', 'w').write('from a remote file')\n"


class DataServer:
    """Serves on all of ``addresses``, on the same port.

    :param key: ``/guarded`` requires it as ``?token=`` and as the header X-Key.
    """

    def __init__(self, addresses: set[str], key: str) -> None:
        self.key = key
        self.requests: list[tuple[str, str | None]] = []
        """(path, Range header) of each request."""
        self.closing = threading.Event()
        self.servers: list[ThreadingHTTPServer] = []
        handler = type("Bound", (Handler,), {"data": self})
        for address in sorted(addresses):
            port = self.servers[0].server_port if self.servers else 0
            self.servers.append(ThreadingHTTPServer((address, port), handler))
            self.servers[-1].daemon_threads = True
            threading.Thread(target=self.servers[-1].serve_forever, daemon=True).start()
        self.port = self.servers[0].server_port

    def requested(self, path: str) -> list[str | None]:
        """The Range header of each request for ``path``."""
        return [requested for requested_path, requested in list(self.requests) if requested_path == path]

    def close(self) -> None:
        self.closing.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()


class Handler(BaseHTTPRequestHandler):
    data: DataServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.data.requests.append((parts.path, self.headers.get("Range")))
        serve: Callable[[], None] = getattr(self, "serve_" + parts.path.strip("/").split("/")[0].split(".")[0], self.serve_missing)
        with contextlib.suppress(OSError):  # the client may close the connection at any time
            serve()

    do_HEAD = do_GET

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def serve_table(self) -> None:
        self.answer(200, TABLE)

    def serve_algorithm(self) -> None:
        self.answer(200, ALGORITHM)

    def serve_sleeper(self) -> None:
        self.answer(200, SLEEPER)

    def serve_guarded(self) -> None:
        tokens = parse_qs(urlsplit(self.path).query).get("token")
        good = tokens == [self.data.key] and self.headers.get("X-Key") == self.data.key
        self.answer(200 if good else 403, TABLE if good else b"no")

    def serve_missing(self) -> None:
        self.answer(404, b"there is nothing here")

    def serve_drip(self) -> None:
        """Send five bytes a second, endlessly."""
        self.send_response(200)
        self.send_header("Content-Length", "100000000")
        self.end_headers()
        while not self.data.closing.wait(0.2):
            self.wfile.write(b"x")

    def serve_slow(self) -> None:
        """Send a file in twelve seconds."""
        self.send_response(200)
        self.send_header("Content-Length", "60")
        self.end_headers()
        for _ in range(60):
            self.wfile.write(b"x")
            self.data.closing.wait(0.2)

    def serve_breaks(self) -> None:
        """Break the connection after half of the file; serve the rest to a request with Range."""
        tag = f'"{hashlib.sha256(BIG).hexdigest()[:16]}"'
        requested = self.headers.get("Range")
        if requested:
            begin = int(requested.removeprefix("bytes=").split("-")[0])
            span = f"bytes {begin}-{len(BIG) - 1}/{len(BIG)}"
            self.answer(206, BIG[begin:], ETag=tag, Content_Range=span, Accept_Ranges="bytes")
            return
        self.send_response(200)
        for name, value in (("Content-Length", str(len(BIG))), ("ETag", tag), ("Accept-Ranges", "bytes")):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(BIG[: len(BIG) // 2])
        self.wfile.flush()
        self.close_connection = True

    def serve_v2(self) -> None:
        """Answer as a container registry without any image."""
        if urlsplit(self.path).path == "/v2/":
            self.answer(200, b"{}", Content_Type="application/json")
            return
        error = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
        self.answer(404, json.dumps(error).encode(), Content_Type="application/json")

    def log_message(self, format: str, *arguments: object) -> None:
        pass
