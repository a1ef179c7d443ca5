"""The content behind an asset's file objects, fetched under guard: information about it, its checksum, and the content itself."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from c2d.errors import FetchError, InvalidServiceFiles, UpstreamUnavailable
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.guarded_http import Fetcher, Response, sha256_of
from c2d.market.service_files import ContractCall, Gateways, Request, to_fetch
from c2d.settings.provider import ProviderSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AssetFiles:
    """Reads the files behind file objects.

    :param chains: calls contracts whose result is a file.
    :param most: bytes of the largest file whose checksum is computed (MAX_CHECKSUM_LENGTH); 0: no limit.
    """

    fetcher: Fetcher
    gateways: Gateways
    chains: DatatokenHook
    most: int = 0

    @contextlib.contextmanager
    def open(
        self, file: object, userdata: Mapping[str, Any] | None, chain_id: int, headers: Mapping[str, str] | None = None
    ) -> Iterator[Response]:
        """The file's content.

        :param headers: in addition to the publisher's, such as Range.
        :raises InvalidServiceFiles: the file object is malformed.
        :raises FetchError: the content cannot be fetched.
        """
        source = to_fetch(file, userdata, self.gateways, chain_id)
        if isinstance(source, ContractCall):
            yield self._result_of(source)
            return
        request = Request(source.url, source.method, {**source.headers, **(headers or {})}, source.body)
        with self.fetcher.open(request) as answer:
            yield answer

    def checksum(self, file: object, userdata: Mapping[str, Any] | None, chain_id: int) -> str | None:
        """The sha256 (hex) of the file's content; None: it cannot be read, or is larger than ``most``."""
        try:
            with self.open(file, userdata, chain_id) as answer:
                if answer.status != 200:
                    raise FetchError(f"the server answered {answer.status}")
                return sha256_of(answer, self.most)
        except (InvalidServiceFiles, FetchError) as e:
            log.info("cannot compute the checksum of a file of an algorithm on chain %s: %s", chain_id, e)
            return None

    def info(self, file: object, userdata: Mapping[str, Any] | None, chain_id: int, checksum: bool = False) -> dict[str, Any] | None:
        """Describes a file: contentLength, contentType and filename, all text, and on request its checksum. None: it cannot be read.

        A HEAD request is tried first, unless the checksum is requested; the content is fetched if that does not return the details.

        :raises InvalidServiceFiles: the file object is malformed.
        """
        source = to_fetch(file, userdata, self.gateways, chain_id)
        try:
            if not checksum and isinstance(source, Request) and source.method == "GET":
                with self.fetcher.open(Request(source.url, "HEAD", source.headers)) as answer:
                    if answer.status == 200 and answer.length is not None and answer.headers.get("content-type"):
                        return _details(answer, source)
            with self.open(file, userdata, chain_id) as answer:
                if answer.status != 200:
                    return None
                details = _details(answer, source)
                if checksum:
                    details |= {"checksum": sha256_of(answer, self.most), "checksumType": "sha256"}
                return details
        except FetchError as e:
            log.info("cannot describe a file: %s", e)
            return None

    def _result_of(self, call: ContractCall) -> Response:
        try:
            result = self.chains.call(call.chainId, call.address, call.abi, call.arguments)
        except (ValueError, UpstreamUnavailable) as e:
            raise FetchError(str(e)) from None
        content = json.dumps(result, default=_as_json).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        return Response(200, headers, iter([content]))


def asset_files(own: ProviderSettings, chains: DatatokenHook) -> AssetFiles:
    """AssetFiles with the Provider's settings."""
    fetcher = Fetcher(own.ALLOW_NON_PUBLIC_IP, own.REQUEST_TIMEOUT, max(1, own.REQUEST_RETRIES))
    return AssetFiles(fetcher, Gateways(own.IPFS_GATEWAY, own.ARWEAVE_GATEWAY), chains, own.MAX_CHECKSUM_LENGTH)


def filename(answer: Response, source: Request | ContractCall) -> str:
    """The name that the server gives the file, or else the last part of the URL's path; "" for a contract's result."""
    disposition = answer.headers.get("content-disposition", "")
    if match := re.search(r"filename\*=(?:UTF-8'')?([^;\s]+)", disposition, re.IGNORECASE):
        return unquote(match[1]).rsplit("/", 1)[-1]
    if match := re.search(r'filename="?([^";]+)"?', disposition, re.IGNORECASE):
        return match[1].strip().rsplit("/", 1)[-1]
    return unquote(urlsplit(source.url).path.rsplit("/", 1)[-1]) if isinstance(source, Request) else ""


def _details(answer: Response, source: Request | ContractCall) -> dict[str, Any]:
    length = "" if answer.length is None else str(answer.length)
    kind = answer.headers.get("content-type", "").split(";")[0].strip()
    return {"contentLength": length, "contentType": kind, "filename": filename(answer, source)}


def _as_json(value: Any) -> Any:
    return "0x" + bytes(value).hex() if isinstance(value, bytes | bytearray) else str(value)
