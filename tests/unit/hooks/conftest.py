from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest


class Server:
    """Gives the answer that a test sets, and records the requests."""

    def __init__(self) -> None:
        self.status, self.answer = 200, b"true"
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.silent = False
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.path, dict(self.headers), json.loads(body) if body else None))
                if outer.silent:
                    outer.released.wait(30)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.answer)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(outer.answer)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    """A server of the operator's, such as a policy server."""
    it = Server()
    yield it
    it.close()


@pytest.fixture(autouse=True)
def no_cached_connections() -> Iterator[None]:
    """Airflow connections of one test are not seen by the next."""
    from c2d.hooks import connections

    connections._connection.cache_clear()
    yield
    connections._connection.cache_clear()
