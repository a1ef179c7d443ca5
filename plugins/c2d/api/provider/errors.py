"""Errors as JSON, in the shapes of Ocean's Provider, whose clients parse each of them:

* the request is incomplete or malformed: 400 ``{"errors": {field: [...]}, "message": "Validation error", "success": false}``
* it is denied: 400 ``{"error": "<sentence>"}``, or ``{"error": {resource: code}}`` about an asset of a job
* something else failed: 503 ``{"error", "context"}``, without URLs
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from c2d.api.common import errors
from c2d.errors import InvalidRequest, RequestDenied, UpstreamUnavailable

log = logging.getLogger(__name__)
CONTEXT_FIELDS = ("documentId", "serviceId", "consumerAddress", "jobId")
CONTEXT_LENGTH = 256


def register(app: FastAPI) -> None:
    """Have ``app`` answer every exception with JSON."""
    errors.register(app)

    @app.exception_handler(InvalidRequest)
    async def on_invalid_request(request: Request, e: InvalidRequest) -> JSONResponse:
        return JSONResponse({"errors": e.faults, "message": "Validation error", "success": False}, 400)

    @app.exception_handler(RequestDenied)
    async def on_denied_request(request: Request, e: RequestDenied) -> JSONResponse:
        return JSONResponse({"error": e.error}, e.status)

    @app.exception_handler(UpstreamUnavailable)
    async def on_upstream_unavailable(request: Request, e: UpstreamUnavailable) -> JSONResponse:
        log.warning("%s", e)
        return _unavailable(request, str(e), {"Retry-After": "5"})

    @app.exception_handler(Exception)
    async def on_unexpected(request: Request, e: Exception) -> JSONResponse:
        # Starlette logs the exception itself. Its text may hold a URL with a key in it.
        return _unavailable(request, errors.INTERNAL_ERROR)


def _unavailable(request: Request, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """503, with those arguments of the request that are public."""
    data = getattr(request.state, "data", None) or {}
    context = {name: data[name] for name in CONTEXT_FIELDS if isinstance(data.get(name), str) and len(data[name]) <= CONTEXT_LENGTH}
    return JSONResponse({"error": text, "context": context}, 503, headers)
