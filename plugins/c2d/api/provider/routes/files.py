"""The files of assets: what they are, and the files themselves for who has ordered them."""

from __future__ import annotations

import contextlib
import json
import mimetypes
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from c2d.access.asset_content import filename
from c2d.api.common.result_responses import disposition
from c2d.api.provider import rules
from c2d.api.provider.assets import consumed, files_of
from c2d.api.provider.auth import data_of, requires
from c2d.api.provider.service import ProviderService, service_of
from c2d.errors import FetchError, InvalidServiceFiles, RequestDenied
from c2d.market.approval import ApprovedAsset
from c2d.market.service_files import to_fetch

router = APIRouter(tags=["consume"])


@router.post("/fileinfo", summary="What the files of an asset are (did, serviceId), or one file object; checksum: true for the sha256")
@requires(rules.FILE_INFO)
def fileinfo(request: Request) -> list[dict[str, Any]]:
    service, data = service_of(request), data_of(request)
    wanted: list[dict[str, Any]]
    if data.get("did"):
        asset, found = files_of(service, str(data["did"]), data.get("serviceId"))
        wanted, chain = list(found), asset.chainId
    else:
        wanted, chain = [{n: v for n, v in data.items() if n not in ("checksum", "userdata")}], min(service.chains(), default=0)
    checksum = str(data.get("checksum", "")).lower() in ("true", "1")
    with service.fetching() as files:
        infos = []
        for index, file in enumerate(wanted):
            try:
                details = files.info(file, userdata_of(data), chain, checksum)
            except InvalidServiceFiles as e:
                raise RequestDenied(str(e)) from None
            if details and data.get("did"):
                # Of the publisher's URL a stranger is not told even the last part.
                details.pop("filename")
            infos.append({"index": index, "valid": details is not None, "type": file.get("type"), **(details or {})})
        return infos


@router.get(
    "/download",
    summary="A file of an asset with an access service, for its order; signed: documentId + nonce; Range is passed on",
    response_class=StreamingResponse,
)
@requires(rules.DOWNLOAD, "consumerAddress", lambda data: str(data["documentId"]))
def download(request: Request) -> StreamingResponse:
    service, data = service_of(request), data_of(request)
    did, service_id, consumer, tx = (str(data[n]) for n in ("documentId", "serviceId", "consumerAddress", "transferTxId"))
    service.policies.check_rbac("access", consumer, [{"did": did, "serviceId": service_id}])
    granted = consumed(service, did, service_id, consumer, tx, data.get("userdata"), data.get("policyServer"))
    # A compute asset goes to nobody but a compute backend that its order names: ours, or that of another Provider's job.
    environments = {service.settings.address.lower()}
    if granted.service.type != "access" and consumer.lower() not in environments:
        raise RequestDenied(f"Service with index={service_id} is not an access service.")
    if granted.files is None:
        raise RequestDenied("cannot decrypt files for this service.")
    index = rules.whole(data["fileIndex"])
    if index is None or index >= len(granted.files):
        raise RequestDenied(f"No such fileIndex {data['fileIndex']}")
    return _opened(request, service, granted, index)


class _Held(StreamingResponse):
    """Lets go of what it reads from, however it ends, and also where it never begins."""

    def __init__(self, held: contextlib.ExitStack, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.held = held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self.held.close)


def _opened(request: Request, service: ProviderService, granted: ApprovedAsset, index: int) -> StreamingResponse:
    file, userdata, chain = (granted.files or ())[index], granted.userdata, granted.asset.chainId
    given = {name: request.headers[name] for name in ("range",) if name in request.headers}
    with contextlib.ExitStack() as stack:
        files = stack.enter_context(service.downloading())
        try:
            wanted = to_fetch(file, userdata, files.gateways, chain)
            answer = stack.enter_context(files.open(file, userdata, chain, given))
        except (InvalidServiceFiles, FetchError) as e:
            raise RequestDenied(f"Error preparing file download response: {e}") from None
        if answer.status not in (200, 206):
            raise RequestDenied(f"Error preparing file download response: the server answered {answer.status}")
        service.proofs.send(granted, data_of(request))
        kind = answer.headers.get("content-type") or "application/octet-stream"
        headers = {
            "Content-Disposition": disposition(_with_extension(filename(answer, wanted), kind) or f"file{index}"),
            "Access-Control-Expose-Headers": "Content-Disposition",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "private, no-store",
            "Content-Encoding": "identity",  # said, so that Airflow's gzip leaves it alone
        }
        passed = ("content-range", "accept-ranges", "etag", "last-modified", "content-length")
        headers |= {name: answer.headers[name] for name in passed if name in answer.headers}
        return _Held(stack.pop_all(), answer.chunks(), answer.status, headers, media_type=kind)


def userdata_of(data: dict[str, Any]) -> dict[str, Any] | None:
    """The consumer's parameters: an object, or JSON text of one. None where there are none.

    :raises RequestDenied: it is something else.
    """
    given = data.get("userdata")
    if isinstance(given, str) and given.strip():
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            raise RequestDenied("userdata: must be a JSON object") from None
    if given and not isinstance(given, dict):
        raise RequestDenied("userdata: must be a JSON object")
    return given or None


def _with_extension(name: str, kind: str) -> str:
    """A name without an extension gets that of its content type, as the incumbent does."""
    if not name or "." in name:
        return name
    return name + (mimetypes.guess_extension(kind.split(";")[0].strip()) or "")
