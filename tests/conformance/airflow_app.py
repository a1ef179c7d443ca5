"""The operator-service where it really is: below Airflow's own middlewares, behind uvicorn."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI


def below_airflow(app: Any) -> FastAPI:
    """``app`` at /operator-service, with what Airflow's API server puts around a plugin's app (airflow.api_fastapi.core_api.app)."""
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from airflow.api_fastapi.common.http_access_log import HttpAccessLogMiddleware
    from starlette.middleware.gzip import GZipMiddleware

    root = FastAPI()
    root.mount("/operator-service", app)
    root.add_middleware(JWTRefreshMiddleware)
    root.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=5)
    root.add_middleware(HttpAccessLogMiddleware)
    return root
