"""What this service is: the first thing that a client asks, before every other request."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from c2d import __version__
from c2d.api.provider.auth import requires
from c2d.api.provider.service import service_of

router = APIRouter(tags=["service"])
SERVICES = "/api/services"
# name: method and path below SERVICES. A client's URL is what it was given for the Provider, and this path.
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
    # as the incumbent spells them
    "create_auth_token": ("GET", "createAuthToken"),
    "delete_auth_token": ("DELETE", "deleteAuthToken"),
}


@router.get("/", summary="Name, version, addresses, chains, and the path of each service")
@requires({})
def root(request: Request) -> dict[str, Any]:
    service = service_of(request)
    chains = service.chains()
    return {
        "software": "Provider",
        "version": __version__,
        "providerAddresses": {str(chain): service.own.address(chain) for chain in chains},
        "chainIds": chains,
        "serviceEndpoints": {name: [method, f"{SERVICES}/{path}"] for name, (method, path) in ENDPOINTS.items()},
    }
