"""The app: who may ask what, and which routes there are."""

from __future__ import annotations

import sys

from fastapi import Depends, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from c2d import __version__
from c2d.api.provider import errors
from c2d.api.provider.auth import admit
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

PREFIX = "/api/services"


def create_app(service: ProviderService) -> FastAPI:
    """Ocean's Provider."""
    _load_web3()
    app = FastAPI(
        title="Provider",
        description="Ocean's Provider, for Compute-to-Data on Apache Airflow.",
        version=__version__,
        docs_url="/api/docs",
        redoc_url=None,
        openapi_url="/spec",
        dependencies=[Depends(admit)],
    )
    # Pages of other sites call it, as they do the incumbent; what needs a right is signed, and no cookie counts.
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=["Content-Disposition"]
    )
    app.state.service = service
    errors.register(app)
    app.include_router(root.router)
    for part in (nonce, tokens, encryption, decryption, files, initialize, environments, compute, results, containers):
        app.include_router(part.router, prefix=PREFIX)
    return app


def _load_web3() -> None:
    """Now, so that the first request does not wait for it; and it must not leave Python's recursion limit at 100,000,
    for Airflow's own routes read JSON without counting its depth.
    """
    limit = sys.getrecursionlimit()
    import web3  # noqa: F401

    sys.setrecursionlimit(limit)
