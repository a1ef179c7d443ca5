"""Encryption to the Provider's key, for publishers: the files of an asset, or a whole DDO."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response
from starlette.concurrency import run_in_threadpool

from c2d.api.common.request_data import read_body
from c2d.api.common.route_policy import requires
from c2d.api.provider.auth import Public
from c2d.api.provider.service import service_of
from c2d.api.provider.validation import whole_number
from c2d.crypto import ecies
from c2d.errors import RequestDenied
from c2d.market import service_files

router = APIRouter(tags=["encrypt"])


@router.post("/encrypt", summary="Encrypt the body to the Provider's key with ECIES", status_code=201)
@requires(Public(None))
async def encrypt(request: Request) -> Response:
    """The body has the type `application/octet-stream`. `?chainId=` selects the key. Answers with hex text."""
    if request.headers.get("content-type", "").split(";")[0].strip() != "application/octet-stream":
        raise RequestDenied("Invalid request content type: should be application/octet-stream")
    if not request.query_params.get("chainId"):
        raise RequestDenied("Missing chainId query parameter.")
    service, chain = service_of(request), whole_number(request.query_params["chainId"])
    key = service.provider.key(chain) if chain in await run_in_threadpool(service.chains) else None
    if key is None:
        raise RequestDenied("Failed to encrypt.")
    body = await read_body(request)
    return PlainTextResponse(await run_in_threadpool(service_files.encrypt, ecies.public_key(key), body), 201, media_type="text/plain")
