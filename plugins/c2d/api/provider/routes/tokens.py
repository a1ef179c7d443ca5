"""Tokens in place of signatures: for one address, until their expiration, or until they are revoked."""

from __future__ import annotations

from fastapi import APIRouter, Request

from c2d.api.provider import rules
from c2d.api.provider.auth import data_of, requires
from c2d.api.provider.service import service_of
from c2d.errors import InvalidToken, RequestDenied

router = APIRouter(tags=["authentication"])


@router.get("/createAuthToken", summary="A token for the header AuthToken; signed: address + nonce")
@requires(rules.CREATE_TOKEN, "address", lambda data: str(data["address"]), token=False)
def create(request: Request) -> dict[str, str]:
    data = data_of(request)
    return {"token": service_of(request).consumers.new_token(str(data["address"]), int(data["expiration"]))}


@router.delete("/deleteAuthToken", summary="Makes a token worthless; signed: address + nonce")
@requires(rules.DELETE_TOKEN, "address", lambda data: str(data["address"]), token=False)
def delete(request: Request) -> dict[str, str]:
    data = data_of(request)
    try:
        service_of(request).consumers.revoke_token(str(data["token"]), str(data["address"]))
    except InvalidToken as e:
        raise RequestDenied(str(e)) from None
    return {"success": "Token has been deactivated."}
