"""Where the Provider API is, with and without a slash at the end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

PROVIDER = "/provider"


class WithSlash:
    """ASGI middleware before Airflow's routes: a client GETs exactly ``/provider``, which Airflow's web page would answer."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "").rstrip("/") + PROVIDER:
            scope = {**scope, "path": scope["path"] + "/", "raw_path": scope.get("raw_path", scope["path"].encode()) + b"/"}
        await self.app(scope, receive, send)
