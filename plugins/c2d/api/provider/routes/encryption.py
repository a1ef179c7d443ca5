"""What publishers have encrypted to the Provider's key: the files of an asset, or a whole DDO."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from c2d.api.common.limits import BODY_BYTES
from c2d.api.provider import rules
from c2d.api.provider.auth import requires
from c2d.api.provider.service import service_of
from c2d.crypto import ecies
from c2d.errors import RequestDenied
from c2d.market import service_files

router = APIRouter(tags=["encrypt"])


@router.post("/encrypt", summary="ECIES of the body to the Provider's key; ?chainId=", status_code=201)
@requires(None)
async def encrypt(request: Request) -> Response:
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/octet-stream":
        raise RequestDenied("Invalid request content type: should be application/octet-stream")
    asked = request.query_params.get("chainId")
    if not asked:
        raise RequestDenied("Missing chainId query parameter.")
    service = service_of(request)
    chain = rules.whole(asked)
    key = service.own.key(chain) if chain in await run_in_threadpool(service.chains) else None
    if key is None:
        raise RequestDenied("Failed to encrypt.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_BYTES:
            raise RequestDenied(f"body: must have at most {BODY_BYTES} bytes", 413)
    return PlainTextResponse(await run_in_threadpool(service_files.encrypt, ecies.public_key(key), body), 201, media_type="text/plain")
