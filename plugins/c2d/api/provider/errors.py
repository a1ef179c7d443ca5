"""Every answer that is not a success is JSON, in the incumbent's shapes: its clients parse each of them.

* what the request lacks: 400 ``{"errors": {field: [...]}, "message": "Validation error", "success": false}``
* what forbids it: 400 ``{"error": "<sentence>"}``, or ``{"error": {resource: code}}`` for what a job computes on
* what did not work: 503 ``{"error", "context"}``, without URLs
"""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse

from c2d.api.operator_service import errors
from c2d.errors import InvalidRequest, RequestDenied, UpstreamUnavailable

log = logging.getLogger(__name__)
CONTEXT = ("documentId", "serviceId", "consumerAddress", "jobId")


def register(app: FastAPI) -> None:
    """Makes every exception of ``app`` an answer."""
    errors.register(app)

    @app.exception_handler(InvalidRequest)
    async def invalid(request: Request, e: InvalidRequest) -> JSONResponse:
        return JSONResponse({"errors": e.faults, "message": "Validation error", "success": False}, 400)

    @app.exception_handler(RequestDenied)
    async def forbidden(request: Request, e: RequestDenied) -> JSONResponse:
        return JSONResponse({"error": e.error}, e.status)

    @app.exception_handler(UpstreamUnavailable)
    async def elsewhere(request: Request, e: UpstreamUnavailable) -> JSONResponse:
        log.warning("%s", e)
        return unavailable(request, str(e), {"Retry-After": "5"})

    @app.exception_handler(Exception)
    async def unexpected(request: Request, e: Exception) -> JSONResponse:
        # Starlette logs the exception itself. Its text may hold a URL with a key in it.
        return unavailable(request, "internal error; the operator's log says more")


def unavailable(request: Request, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """503, with what the request was about as far as it is public."""
    data = getattr(request.state, "data", None) or {}
    context = {name: data[name] for name in CONTEXT if isinstance(data.get(name), str) and len(data[name]) <= 256}
    return JSONResponse({"error": text, "context": context}, 503, headers)
