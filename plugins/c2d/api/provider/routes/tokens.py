"""Tokens in place of signatures: for one address, until their expiration, or until they are revoked."""

from __future__ import annotations

from fastapi import APIRouter, Request

from c2d.api.provider import rules
from c2d.api.provider.auth import access, data_of
from c2d.api.provider.errors import Forbidden
from c2d.api.provider.service import service_of
from c2d.database.consumers import BadToken

router = APIRouter(tags=["authentication"])


@router.get("/createAuthToken", summary="A token for the header AuthToken; signed: address + nonce")
@access(rules.CREATE_TOKEN, "address", lambda data: str(data["address"]), token=False)
def create(request: Request) -> dict[str, str]:
    data = data_of(request)
    return {"token": service_of(request).consumers.new_token(str(data["address"]), int(data["expiration"]))}


@router.delete("/deleteAuthToken", summary="Makes a token worthless; signed: address + nonce")
@access(rules.DELETE_TOKEN, "address", lambda data: str(data["address"]), token=False)
def delete(request: Request) -> dict[str, str]:
    data = data_of(request)
    try:
        service_of(request).consumers.revoke_token(str(data["token"]), str(data["address"]))
    except BadToken as e:
        raise Forbidden(str(e)) from None
    return {"success": "Token has been deactivated."}
