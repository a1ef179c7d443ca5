"""The arguments of a request: those of its query, or else its JSON body."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request

from c2d.api.common.untrusted_json import parse_json
from c2d.errors import ApiError
from c2d.jobs.patterns import is_text

BODY_BYTES = 2 * 2**20
PARSED_IN_LOOP_BYTES = 2**16
"""A larger body is parsed in a thread: it can take half a second, in which the event loop would answer nobody."""


async def read_data(request: Request) -> dict[str, Any]:
    """The query's arguments if there are any, else the JSON body ({} if it is empty).

    :raises ApiError: the body is too large, or not a JSON object.
    """
    if request.query_params:
        return {name: request.query_params.getlist(name)[0] for name in request.query_params}
    body = await read_body(request)
    if len(body) < PARSED_IN_LOOP_BYTES:
        return _object(body)
    return await asyncio.to_thread(_object, body)


async def read_body(request: Request) -> bytes:
    """:raises ApiError: the body has more than BODY_BYTES."""
    too_large = ApiError(413, f"body: must have at most {BODY_BYTES} bytes")
    if int(request.headers.get("content-length") or 0) > BODY_BYTES:
        raise too_large
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise too_large
    return body


def data_of(request: Request) -> dict[str, Any]:
    """The request's arguments, as the app's ``admit`` dependency has read them."""
    data: dict[str, Any] = request.state.data
    return data


def check_text(name: str, value: Any) -> None:
    """Reject text that PostgreSQL cannot store.

    :raises ApiError: ``value`` is such a text.
    """
    if isinstance(value, str) and not is_text(value):
        raise ApiError(400, f"{name}: must be valid UTF-8 text without NUL")


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        data = parse_json(body)
    except ValueError:
        raise ApiError(400, "body: must be valid JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "payload seems empty.")
    return data
