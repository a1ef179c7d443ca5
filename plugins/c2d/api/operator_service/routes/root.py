"""What this service is."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from c2d import __version__
from c2d.api.common.route_policy import requires
from c2d.api.operator_service.auth import Public
from c2d.api.operator_service.request import service_of

router = APIRouter(tags=["service"])


@router.get("/", summary="Name, version, address and limits of the service")
@requires(Public())
def root(request: Request) -> dict[str, Any]:
    """`address` is the address that orders must name as consumer. `algoTimeLimit` is in seconds, `storageExpiry` in hours."""
    settings = service_of(request).settings
    expiry = settings.environments[0].STORAGE_EXPIRY
    return {
        "software": "Operator service",
        "version": __version__,
        "address": settings.OPERATOR_ADDRESS or settings.address,
        "algoTimeLimit": str(settings.ALGO_POD_TIMEOUT) if settings.ALGO_POD_TIMEOUT else None,
        "storageExpiry": str(expiry) if expiry else None,
    }
