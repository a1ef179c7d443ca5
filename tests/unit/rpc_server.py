"""RPC servers that behave as a real node cannot be made to."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Behaviour = Callable[[list[dict[str, Any]]], tuple[int, Any]]


@pytest.fixture
def server() -> Iterator[Callable[[Behaviour], str]]:
    """Makes an RPC server that behaves as it should not: what a real node cannot be made to show. Its URL holds a key."""
    running = []

    def make(behave: Behaviour) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = behave(asked)
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # who has seen enough goes
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        it = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=it.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        running.append((it, thread))
        return f"http://127.0.0.1:{it.server_port}/TOPSECRET"

    yield make
    for it, thread in running:
        it.shutdown()
        it.server_close()
        thread.join()


def no_logs(chain: Any) -> Behaviour:
    """A real node's answers, but for logs over many blocks, as public ones have it."""
    import httpx

    def behave(asked: list[dict[str, Any]]) -> tuple[int, Any]:
        real = httpx.post(chain.url, json=asked).json()
        methods = {a["id"]: a["method"] for a in asked}
        refused = {"error": {"code": -32000, "message": "range too large"}}
        return 200, [{"jsonrpc": "2.0", "id": r["id"], **refused} if methods[r["id"]] == "eth_getLogs" else r for r in real]

    return behave
