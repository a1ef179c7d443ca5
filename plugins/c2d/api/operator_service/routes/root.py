"""What this service is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastapi import APIRouter, Request

from c2d.api.operator_service.auth import requires
from c2d.api.operator_service.service import service_of

router = APIRouter(tags=["service"])


def our_version() -> str:
    try:
        return version("c2d")
    except PackageNotFoundError:  # deployed as a plugins folder
        return "0"


@router.get("/", summary="Name, version, address and limits")
@requires("public")
def root(request: Request) -> dict[str, Any]:
    settings = service_of(request).settings
    expiry = settings.environments[0].STORAGE_EXPIRY
    return {
        "software": "Operator service",
        "version": our_version(),
        "address": settings.OPERATOR_ADDRESS or settings.address,
        "algoTimeLimit": str(settings.ALGO_POD_TIMEOUT) if settings.ALGO_POD_TIMEOUT else None,
        "storageExpiry": str(expiry) if expiry else None,
    }
