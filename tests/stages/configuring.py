"""The input of the configure stage, and answers of web servers that tests let it meet."""

from __future__ import annotations

import re
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.stages.conftest import Answer

MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB


def body(content: bytes, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def dropping(content: bytes, after: int, validators: dict[str, str] | None = None, shift: int = 0, ranges: bool = True) -> Answer:
    """Ends the connection after `after` bytes of each body; knows Range; `shift` makes its Content-Range lie."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")) if ranges else None
        start = int(match[1]) if match else 0
        request.send_response(206 if match else 200)
        if match:
            request.send_header("Content-Range", f"bytes {start + shift}-{len(content) - 1}/{len(content)}")
        for name, value in (validators if validators is not None else {"ETag": '"v1"'}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + after])

    return answer


def stage_json(*urls: Any, algorithm: Any = None, custom: Any = None, **limits: int) -> dict[str, Any]:
    files = [url if isinstance(url, dict) else {"type": "url", "url": url} for url in urls]
    limits = {"totalBytes": 100 * MIB, "seconds": 20, "connections": 4, **limits}
    inputs = [{"id": "did:op:aa", "files": files}]
    return {"stage": "configure", "job": "j1", "inputs": inputs, "algorithm": algorithm or {}, "customData": custom, "limits": limits}
