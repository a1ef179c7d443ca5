"""Errors as JSON: ``{"error": "<one sentence>"}``, with the texts and status codes of Ocean's services."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from c2d.errors import AgreementInUse, ApiError, InvalidJob, NonceUsed, OrderUsed, TooManyJobs

log = logging.getLogger(__name__)

INTERNAL_ERROR = "internal error; the operator's log says more"
STATUS_OF = {InvalidJob: 400, AgreementInUse: 400, OrderUsed: 400, NonceUsed: 401, TooManyJobs: 429}
DATABASE_IS_AWAY = (OperationalError, InterfaceError, PoolTimeout)


class Failure(BaseModel):
    """Every error."""

    error: str


FAILURES: dict[int | str, dict[str, Any]] = {code: {"model": Failure} for code in (400, 401, 413, 429, 503)}
"""What the OpenAPI page shows as a route's errors."""


def error_response(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An error as JSON."""
    return JSONResponse({"error": text}, status, headers)


def register(app: FastAPI) -> None:
    """Have ``app`` answer every exception with JSON."""

    @app.exception_handler(ApiError)
    async def on_api_error(request: Request, e: ApiError) -> JSONResponse:
        return error_response(e.status, e.text, e.headers)

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, e: HTTPException) -> JSONResponse:
        return error_response(e.status_code, str(e.detail), dict(e.headers) if e.headers else None)

    async def on_refused_job(request: Request, e: Exception) -> JSONResponse:
        return error_response(next(status for kind, status in STATUS_OF.items() if isinstance(e, kind)), str(e))

    async def on_database_error(request: Request, e: Exception) -> JSONResponse:
        # Only the class: the text may hold a statement's parameters.
        log.error("the jobs' database does not answer: %s", type(e).__name__)
        return error_response(503, "the jobs' database does not answer; try again", {"Retry-After": "2"})

    async def on_unexpected(request: Request, e: Exception) -> JSONResponse:
        return error_response(500, INTERNAL_ERROR)  # Starlette logs the exception itself

    for kind in STATUS_OF:
        app.add_exception_handler(kind, on_refused_job)
    for database_error in DATABASE_IS_AWAY:
        app.add_exception_handler(database_error, on_database_error)
    app.add_exception_handler(Exception, on_unexpected)
