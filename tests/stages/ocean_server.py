"""A loopback server that is an Aquarius and a Provider at once, as strict as Provider v2.1.6 is about signatures and nonces.

Its files are `assets`. A test makes it misbehave by overriding a route of its WebServer.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from eth_account import Account
from eth_account.messages import encode_defunct
from eth_utils import keccak

if TYPE_CHECKING:  # tests/e2e uses this server too, and has another conftest
    from tests.stages.conftest import Answer, WebServer

TX = "0x" + "ab" * 32
SERVICE = "f25bc3a2"
REFUSAL = {"error": "PROVIDERSECRET http://127.0.0.1/internal"}


def send_json(request: BaseHTTPRequestHandler, value: Any, code: int = 200) -> None:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    request.send_response(code)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def as_json(value: Any, code: int = 200) -> Answer:
    return lambda request: send_json(request, value, code)


@dataclass
class Ocean:
    """assets: files by DID. nonce: the highest seen. used: every nonce that was taken, in order. queries: of all downloads."""

    web: WebServer
    consumer: str
    assets: dict[str, list[bytes]] = field(default_factory=dict)
    nonce: float = 0
    used: list[int] = field(default_factory=list)
    queries: list[dict[str, str]] = field(default_factory=list)
    answering: set[int] = field(default_factory=set)
    most_at_once: int = 0
    file_info: Any = None
    drop_after: int | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.web.routes["/api/services/fileinfo"] = self._file_info
        self.web.routes["/api/services/download"] = self._download
        self.web.routes["/api/services/nonce"] = lambda request: send_json(request, {"nonce": str(int(self.nonce))})

    def add(self, did: str, *files: bytes, **service: Any) -> dict[str, Any]:
        """Publishes an asset; its DDO."""
        self.assets[did] = list(files)
        services = [{"id": "other"}, {"id": SERVICE, "type": "compute", "serviceEndpoint": self.web.url, **service}]
        ddo = {"id": did, "services": services}
        self.web.routes[f"/api/aquarius/assets/ddo/{did}"] = as_json(ddo)
        return ddo

    def _file_info(self, request: BaseHTTPRequestHandler) -> None:
        asked = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        assert set(asked) == {"did", "serviceId"} and request.headers["Content-Type"] == "application/json"
        if asked["serviceId"] != SERVICE or asked["did"] not in self.assets:
            return send_json(request, {"error": "Invalid serviceId."}, 400)
        files = [{"index": n, "valid": True, "type": "url"} for n in range(len(self.assets[asked["did"]]))]
        return send_json(request, files if self.file_info is None else self.file_info)

    def _download(self, request: BaseHTTPRequestHandler) -> None:
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        self.queries.append(query)
        with self.lock:
            self.answering.add(id(request))
            self.most_at_once = max(self.most_at_once, len(self.answering))
        try:
            self._serve(request, query)
        finally:
            self.answering.discard(id(request))

    def _serve(self, request: BaseHTTPRequestHandler, query: dict[str, str]) -> None:
        nonce = int(query["nonce"])
        signable = encode_defunct(keccak(text=query["documentId"] + query["nonce"]))
        if nonce < self.nonce or query["consumerAddress"] != self.consumer:
            return send_json(request, {"errors": {"signature": [REFUSAL["error"]]}}, 400)
        if Account.recover_message(signable, signature=query["signature"]) != self.consumer:
            return send_json(request, REFUSAL, 400)
        if query["serviceId"] != SERVICE or query["transferTxId"] != TX:
            return send_json(request, REFUSAL, 400)
        if nonce == self.nonce:  # sqlite3.IntegrityError
            return send_json(request, REFUSAL, 503)
        self.nonce = nonce
        self.used.append(nonce)
        content = self.assets[query["documentId"]][int(query["fileIndex"])]
        start = int(request.headers.get("Range", "bytes=0-")[6:-1])
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", '"1"')
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        body = content[start:][: self.drop_after]
        request.wfile.write(body[:-1])
        self.answering.discard(id(request))  # with the last byte the client may ask for the next
        request.wfile.write(body[-1:])
        return None
