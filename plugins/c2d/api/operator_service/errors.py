"""Every answer that is not a success is JSON: ``{"error": "<one sentence>"}``, with the incumbent's texts and codes."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from c2d.errors import AgreementInUse, ApiError, InvalidJob, NonceUsed, OrderUsed, TooManyJobs

log = logging.getLogger(__name__)


def error(status: int, text: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, headers)


def register(app: FastAPI) -> None:
    """Makes every exception of ``app`` an answer."""

    @app.exception_handler(ApiError)
    async def refusal(request: Request, e: ApiError) -> JSONResponse:
        return error(e.status, e.text, e.headers)

    @app.exception_handler(HTTPException)
    async def http(request: Request, e: HTTPException) -> JSONResponse:
        return error(e.status_code, str(e.detail), dict(e.headers) if e.headers else None)

    def named(kind: type[Exception], status: int) -> None:
        @app.exception_handler(kind)
        async def answer(request: Request, e: Exception) -> JSONResponse:
            return error(status, str(e))

    named(InvalidJob, 400)
    named(AgreementInUse, 400)
    named(OrderUsed, 400)
    named(NonceUsed, 401)
    named(TooManyJobs, 429)

    def database(kind: type[Exception]) -> None:
        @app.exception_handler(kind)
        async def answer(request: Request, e: Exception) -> JSONResponse:
            log.error("the jobs' database does not answer: %s", type(e).__name__)
            return error(503, "the jobs' database does not answer; try again", {"Retry-After": "2"})

    for kind in (OperationalError, InterfaceError, PoolTimeout):
        database(kind)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, e: Exception) -> JSONResponse:
        return error(500, "internal error; the operator's log says more")  # Starlette logs the exception itself
