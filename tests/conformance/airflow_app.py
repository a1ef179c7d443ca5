"""Runs our APIs as Airflow's API server does: below its middlewares, behind uvicorn."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from fastapi import FastAPI


def below_airflow(app: Any) -> FastAPI:
    """``app`` at /operator-service, inside the middlewares of Airflow's API server (airflow.api_fastapi.core_api.app)."""
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from airflow.api_fastapi.common.http_access_log import HttpAccessLogMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    root = FastAPI()
    root.mount("/operator-service", app)
    root.add_middleware(JWTRefreshMiddleware)
    root.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    root.add_middleware(HttpAccessLogMiddleware)
    return root


@contextlib.contextmanager
def serving(app: Any) -> Iterator[str]:
    """Serve `app` on a loopback port during the block. Yields the URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
        assert thread.is_alive(), "the server did not start"
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)
