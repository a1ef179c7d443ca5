"""The files of assets: what they are, and the files themselves for consumers who have ordered them."""

from __future__ import annotations

import contextlib
import mimetypes
from typing import Any

import anyio
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from c2d.access.asset_content import AssetFiles, filename
from c2d.api.common.request_data import data_of
from c2d.api.common.result_responses import content_disposition
from c2d.api.common.route_policy import requires
from c2d.api.common.untrusted_json import parse_json
from c2d.api.provider import rules
from c2d.api.provider.assets import approved_asset, asset_files
from c2d.api.provider.auth import Public, Signed
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import whole_number
from c2d.errors import FetchError, InvalidServiceFiles, RequestDenied
from c2d.hooks import guarded_http
from c2d.market.approval import ApprovedAsset
from c2d.market.service_files import to_fetch

router = APIRouter(tags=["consume"])
PASSED_ON = ("content-range", "accept-ranges", "etag", "last-modified", "content-length")
"""Headers of the publisher's server that a consumer gets with a download."""


@router.post("/fileinfo", summary="Type, size and validity of files")
@requires(Public(rules.FILE_INFO))
def fileinfo(request: Request) -> list[dict[str, Any]]:
    """Arguments: `did` and `serviceId` for the files of an asset, or the fields of one file object.

    `checksum: true` adds the sha256. `userdata` holds the consumer's parameters.
    """
    service, data = service_of(request), data_of(request)
    with_checksum = str(data.get("checksum", "")).lower() in ("true", "1")
    if data.get("did"):
        asset, file_objects = asset_files(service, str(data["did"]), data.get("serviceId"))
        userdata = _userdata(data)
        with service.fetch_slot() as files:
            infos = [_file_info(files, n, file, userdata, asset.chainId, with_checksum) for n, file in enumerate(file_objects)]
        # A stranger must not learn even the last part of the publisher's URL.
        return [{name: value for name, value in info.items() if name != "filename"} for info in infos]
    file = {name: value for name, value in data.items() if name not in ("checksum", "userdata")}
    chain = min(service.chains(), default=0)
    with service.fetch_slot() as files:
        return [_file_info(files, 0, file, _userdata(data), chain, with_checksum)]


@router.get("/download", summary="Download a file of an ordered asset", response_class=StreamingResponse)
@requires(Signed(rules.DOWNLOAD, "consumerAddress", lambda data: str(data["documentId"])))
def download(request: Request) -> StreamingResponse:
    """Arguments: `documentId`, `serviceId`, `consumerAddress`, `transferTxId` (the order), `fileIndex`; `userdata`.

    Range is passed on to the publisher's server. Signed text: `documentId` + `nonce`.
    """
    service, data = service_of(request), data_of(request)
    did, service_id, consumer, tx = (str(data[name]) for name in ("documentId", "serviceId", "consumerAddress", "transferTxId"))
    service.policies.check_rbac("access", consumer, [{"did": did, "serviceId": service_id}])
    approved = approved_asset(service, did, service_id, consumer, tx, data.get("userdata"), data.get("policyServer"))
    # The files of a compute service go to no consumer, only to the compute backend that its order names.
    if approved.service.type != "access" and consumer.lower() != service.settings.address.lower():
        raise RequestDenied(f"Service with index={service_id} is not an access service.")
    if approved.files is None:
        raise RequestDenied("cannot decrypt files for this service.")
    index = whole_number(data["fileIndex"])
    if index is None or index >= len(approved.files):
        raise RequestDenied(f"No such fileIndex {data['fileIndex']}")
    return _file_response(request, service, approved, approved.files[index], f"file{index}")


class _ReleasingResponse(StreamingResponse):
    """A response that releases what it reads from when it ends, also if it fails or never begins."""

    def __init__(self, resources: contextlib.ExitStack, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        self.resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with anyio.CancelScope(shield=True):
                await run_in_threadpool(self.resources.close)


def _file_info(
    files: AssetFiles, index: int, file: dict[str, Any], userdata: dict[str, Any] | None, chain: int, with_checksum: bool
) -> dict[str, Any]:
    """:raises RequestDenied: the file object is malformed."""
    try:
        details = files.info(file, userdata, chain, with_checksum)
    except InvalidServiceFiles as e:
        raise RequestDenied(str(e)) from None
    return {"index": index, "valid": details is not None, "type": file.get("type"), **(details or {})}


def _file_response(
    request: Request, service: ProviderService, approved: ApprovedAsset, file: dict[str, Any], default_name: str
) -> StreamingResponse:
    """A response that streams the file from the publisher's server and holds a download slot for as long.

    :raises RequestDenied: the server does not serve the file.
    """
    chain, range_header = approved.asset.chainId, {name: request.headers[name] for name in ("range",) if name in request.headers}
    with contextlib.ExitStack() as resources:
        files = resources.enter_context(service.download_slot())
        try:
            source = to_fetch(file, approved.userdata, files.gateways, chain)
            answer = resources.enter_context(files.open(file, approved.userdata, chain, range_header))
        except (InvalidServiceFiles, FetchError) as e:
            raise RequestDenied(f"Error preparing file download response: {e}") from None
        if answer.status not in (200, 206):
            raise RequestDenied(f"Error preparing file download response: the server answered {answer.status}")
        service.proofs.send(approved, data_of(request))
        content_type = answer.headers.get("content-type") or "application/octet-stream"
        headers = _download_headers(answer, _with_extension(filename(answer, source), content_type) or default_name)
        return _ReleasingResponse(resources.pop_all(), answer.chunks(), answer.status, headers, media_type=content_type)


def _download_headers(answer: guarded_http.Response, name: str) -> dict[str, str]:
    return {
        "Content-Disposition": content_disposition(name),
        "Access-Control-Expose-Headers": "Content-Disposition",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
        "Content-Encoding": "identity",  # keeps Airflow's gzip middleware off
        **{name: answer.headers[name] for name in PASSED_ON if name in answer.headers},
    }


def _userdata(data: dict[str, Any]) -> dict[str, Any] | None:
    """The consumer's parameters: an object, or JSON text of one. None: there are none.

    :raises RequestDenied: it is something else.
    """
    userdata = data.get("userdata")
    if isinstance(userdata, str) and userdata.strip():
        try:
            userdata = parse_json(userdata.encode())
        except ValueError:
            raise RequestDenied("userdata: must be a JSON object") from None
    if userdata and not isinstance(userdata, dict):
        raise RequestDenied("userdata: must be a JSON object")
    return userdata or None


def _with_extension(name: str, content_type: str) -> str:
    """The name; if it has no extension, with that of the content type, as Ocean's Provider adds it."""
    if not name or "." in name:
        return name
    return name + (mimetypes.guess_extension(content_type.split(";")[0].strip()) or "")
