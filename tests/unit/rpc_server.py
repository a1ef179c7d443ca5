"""RPC servers with faults that a real node cannot be made to have."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

Behaviour = Callable[[list[dict[str, Any]]], tuple[int, Any]]
"""HTTP status and body (bytes, or JSON) for a batch of calls."""


def answers(calls: list[dict[str, Any]], **of_method: Any) -> list[dict[str, Any]]:
    """The answers of a node of chain 8996: these results or errors by method, null for every other method."""
    results = {"eth_chainId": {"result": hex(8996)}, **of_method}
    return [{"jsonrpc": "2.0", "id": call["id"], **results.get(call["method"], {"result": None})} for call in calls]


@pytest.fixture
def server() -> Iterator[Callable[[Behaviour], str]]:
    """Starts RPC servers with a behaviour of their own, and returns their URLs, which contain a secret key."""
    running = []

    def make(behave: Behaviour) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                calls = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, answer = behave(calls)
                body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):  # the client may close the connection before the end
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        rpc_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=rpc_server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        running.append((rpc_server, thread))
        return f"http://127.0.0.1:{rpc_server.server_port}/TOPSECRET"

    yield make
    for rpc_server, thread in running:
        rpc_server.shutdown()
        rpc_server.server_close()
        thread.join()


def no_logs(chain: Any) -> Behaviour:
    """The answers of a real node, except that it refuses eth_getLogs over many blocks, as public nodes do."""
    import httpx

    def behave(calls: list[dict[str, Any]]) -> tuple[int, Any]:
        answers = httpx.post(chain.url, json=calls).json()
        methods = {call["id"]: call["method"] for call in calls}
        error = {"error": {"code": -32000, "message": "range too large"}}
        return 200, [{"jsonrpc": "2.0", "id": a["id"], **error} if methods[a["id"]] == "eth_getLogs" else a for a in answers]

    return behave
