"""The nonce that a consumer counts on from."""

from __future__ import annotations

from fastapi import APIRouter, Request

from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import rules
from c2d.api.provider.auth import Public
from c2d.api.provider.service import service_of

router = APIRouter(tags=["consume"])


@router.get("/nonce", summary="The highest nonce that an address has used")
@requires(Public(rules.NONCE))
def nonce(request: Request) -> dict[str, str]:
    """Argument: `userAddress`. The nonce is text; `"1"` if the address has not used one."""
    return {"nonce": service_of(request).consumers.nonce(str(data_of(request)["userAddress"]))}
