"""Reads what a request carries: query parameters and the JSON body."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from local.runner.errors import ApiError, bad_request

MAX_BODY = 3 << 20
"""Bytes of a request body; the API server's own limit."""


async def json_body(request: Request) -> dict[str, Any]:
    """The body, a JSON object; {} if there is none. Raises 400 for anything else, 413 for more than MAX_BODY."""
    content = bytearray()
    async for piece in request.stream():
        content += piece
        if len(content) > MAX_BODY:
            raise ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")
    try:
        body = json.loads(content or b"{}")
    except ValueError as error:
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise bad_request("the body must be a JSON object")
    return body


async def grace_period(request: Request) -> int | None:
    """The grace period of a DELETE, from its query or its DeleteOptions; None for the object's own."""
    options = {**await json_body(request), **request.query_params}
    # Going on without these would delete more than the client asked for.
    if options.get("propagationPolicy") == "Orphan" or str(options.get("orphanDependents")).lower() == "true":
        raise bad_request("the laptop runner cannot keep the dependents of an object that is deleted")
    if options.get("preconditions"):
        raise bad_request("the laptop runner does not support preconditions")
    reject_dry_run(request, options)
    return non_negative(options.get("gracePeriodSeconds"), "gracePeriodSeconds")


def reject_dry_run(request: Request, options: dict[str, Any] | None = None) -> None:
    """Raise 400 for a request that must not have an effect."""
    if "dryRun" in request.query_params or (options or {}).get("dryRun"):
        raise bad_request("the laptop runner does not support dryRun")


def flag(request: Request, name: str) -> bool:
    """A query parameter as Go parses booleans; the Python client sends True."""
    return request.query_params.get(name) in ("1", "t", "T", "true", "TRUE", "True")


def non_negative(value: Any, name: str) -> int | None:
    """A whole number, at least 0, or None if there is none. Raises 400 for anything else."""
    if value is None:
        return None
    try:
        number = int(value)
    except (ValueError, TypeError):
        number = -1
    if number < 0:
        raise bad_request(f"{name} must be a whole number, at least 0: {value!r}")
    return number
