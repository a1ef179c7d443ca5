"""The Provider app."""

from __future__ import annotations

import sys

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from c2d import __version__
from c2d.api.common.route_policy import admit
from c2d.api.provider import errors
from c2d.api.provider.routes import (
    compute,
    containers,
    decryption,
    encryption,
    environments,
    files,
    initialize,
    nonce,
    results,
    root,
    tokens,
)
from c2d.api.provider.service import ProviderService


def create_app(service: ProviderService) -> FastAPI:
    """Ocean's Provider."""
    _load_web3()
    app = FastAPI(
        title="Provider",
        description="The protocol of Ocean's Provider for Compute-to-Data, on Apache Airflow.",
        version=__version__,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/spec",
        dependencies=[Depends(admit)],
    )
    # Web pages of any origin may call it, as they may call Ocean's Provider: rights come from signatures, and cookies are not used.
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=["Content-Disposition"]
    )
    app.state.service = service
    errors.register(app)
    app.include_router(root.router)
    for part in (nonce, tokens, encryption, decryption, files, initialize, environments, compute, results, containers):
        app.include_router(part.router, prefix=root.SERVICES_PATH)
    return app


def _load_web3() -> None:
    """Import web3 now, so that the first request does not wait for it, and undo its change of Python's recursion limit to 100,000:
    Airflow's own routes parse JSON of any depth.
    """
    limit = sys.getrecursionlimit()
    import web3  # noqa: F401

    sys.setrecursionlimit(limit)
