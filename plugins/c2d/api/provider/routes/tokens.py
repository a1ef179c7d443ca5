"""Auth tokens, which replace the signatures of one address until they expire or are revoked."""

from __future__ import annotations

from fastapi import APIRouter, Request

from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import rules
from c2d.api.provider.auth import Signed
from c2d.api.provider.service import service_of
from c2d.errors import InvalidToken, RequestDenied

router = APIRouter(tags=["authentication"])


@router.get("/createAuthToken", summary="Create a token for the header AuthToken")
@requires(Signed(rules.CREATE_TOKEN, "address", lambda data: str(data["address"]), accepts_token=False))
def create(request: Request) -> dict[str, str]:
    """Arguments: `address`, and `expiration` in seconds since 1970. Signed text: `address` + `nonce`."""
    data = data_of(request)
    return {"token": service_of(request).consumers.new_token(str(data["address"]), int(data["expiration"]))}


@router.delete("/deleteAuthToken", summary="Revoke a token")
@requires(Signed(rules.DELETE_TOKEN, "address", lambda data: str(data["address"]), accepts_token=False))
def delete(request: Request) -> dict[str, str]:
    """Arguments: `address`, `token`. Signed text: `address` + `nonce`."""
    data = data_of(request)
    try:
        service_of(request).consumers.revoke_token(str(data["token"]), str(data["address"]))
    except InvalidToken as e:
        raise RequestDenied(str(e)) from None
    return {"success": "Token has been deactivated."}
