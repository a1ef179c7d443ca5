"""What this service is. Clients ask this first."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from c2d import __version__
from c2d.api.common.route_policy import requires
from c2d.api.provider.auth import Public
from c2d.api.provider.service import service_of

router = APIRouter(tags=["service"])
SERVICES_PATH = "/api/services"
ENDPOINTS = {
    "nonce": ("GET", "nonce"),
    "encrypt": ("POST", "encrypt"),
    "decrypt": ("POST", "decrypt"),
    "fileinfo": ("POST", "fileinfo"),
    "initialize": ("GET", "initialize"),
    "initializeCompute": ("POST", "initializeCompute"),
    "download": ("GET", "download"),
    "computeEnvironments": ("GET", "computeEnvironments"),
    "computeStart": ("POST", "compute"),
    "computeStop": ("PUT", "compute"),
    "computeStatus": ("GET", "compute"),
    "computeDelete": ("DELETE", "compute"),
    "computeResult": ("GET", "computeResult"),
    "validateContainer": ("POST", "validateContainer"),
    "createAuthToken": ("GET", "createAuthToken"),
    "deleteAuthToken": ("DELETE", "deleteAuthToken"),
    # Ocean's Provider has these names as well.
    "create_auth_token": ("GET", "createAuthToken"),
    "delete_auth_token": ("DELETE", "deleteAuthToken"),
}
"""Method and path (below SERVICES_PATH) by the name that clients look for. A client adds the path to the Provider's URL."""


@router.get("/", summary="Name, version, addresses and chains of the service, and the path of each route")
@requires(Public({}))
def root(request: Request) -> dict[str, Any]:
    """Clients ask this before every other request."""
    service = service_of(request)
    chains = service.chains()
    return {
        "software": "Provider",
        "version": __version__,
        "providerAddresses": {str(chain): service.provider.address(chain) for chain in chains},
        "chainIds": chains,
        "serviceEndpoints": {name: [method, f"{SERVICES_PATH}/{path}"] for name, (method, path) in ENDPOINTS.items()},
    }
