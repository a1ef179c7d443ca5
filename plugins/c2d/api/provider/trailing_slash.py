"""The Provider's path below Airflow's address, with and without a slash at its end."""

from __future__ import annotations

from typing import Any

PROVIDER_PATH = "/provider"


class AddTrailingSlash:
    """ASGI middleware in front of Airflow's routes: clients GET exactly ``/provider``, which Airflow would answer with its web page.

    Every Airflow process imports this module, so it imports nothing.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == scope.get("root_path", "").rstrip("/") + PROVIDER_PATH:
            scope = {**scope, "path": scope["path"] + "/", "raw_path": scope.get("raw_path", scope["path"].encode()) + b"/"}
        await self.app(scope, receive, send)
