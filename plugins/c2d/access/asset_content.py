"""The content of an asset's file objects, fetched under guard: what it is, its checksum, the content itself."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from c2d.errors import FetchError, InvalidServiceFiles, UpstreamUnavailable
from c2d.hooks.guarded_http import Answer, Fetcher, sha256_of
from c2d.market.service_files import ContractCall, Gateways, Request, to_fetch

log = logging.getLogger(__name__)


class Contracts(Protocol):
    """:class:`c2d.hooks.datatoken.DatatokenHook`, as far as it reads contracts."""

    def call(self, chain_id: int, address: str, abi: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any: ...


@dataclass(frozen=True)
class AssetFiles:
    """
    :param most: bytes of a file whose checksum is computed (MAX_CHECKSUM_LENGTH); 0: any number.
    """

    fetcher: Fetcher
    gateways: Gateways
    contracts: Contracts
    most: int = 0

    @contextlib.contextmanager
    def open(
        self, file: object, userdata: Mapping[str, Any] | None, chain_id: int, headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """The file's content.

        :param headers: besides the file's own, such as Range.
        :raises InvalidServiceFiles, FetchError:
        """
        wanted = to_fetch(file, userdata, self.gateways, chain_id)
        if isinstance(wanted, ContractCall):
            yield self._called(wanted)
            return
        request = Request(wanted.url, wanted.method, {**wanted.headers, **(headers or {})}, wanted.body)
        with self.fetcher.open(request) as answer:
            yield answer

    def checksum(self, file: object, userdata: Mapping[str, Any] | None, chain_id: int) -> str | None:
        """sha256 (hex) of the file's content; None: it cannot be had, or is larger than ``most``."""
        try:
            with self.open(file, userdata, chain_id) as answer:
                if answer.status != 200:
                    raise FetchError(f"the server answered {answer.status}")
                return sha256_of(answer, self.most)
        except (InvalidServiceFiles, FetchError) as e:
            log.info("no checksum of an algorithm's file on chain %s: %s", chain_id, e)
            return None

    def info(self, file: object, userdata: Mapping[str, Any] | None, chain_id: int, checksum: bool = False) -> dict[str, Any] | None:
        """What a file is: contentLength and contentType (texts), filename, and where wanted its checksum. None: it cannot be had.

        Its size is asked for without the content, where the server can tell.

        :raises InvalidServiceFiles: the object is malformed.
        """
        wanted = to_fetch(file, userdata, self.gateways, chain_id)
        try:
            if not checksum and isinstance(wanted, Request) and wanted.method == "GET":
                with self.fetcher.open(Request(wanted.url, "HEAD", wanted.headers)) as answer:
                    if answer.status == 200 and answer.length is not None and answer.headers.get("content-type"):
                        return _details(answer, wanted)
            with self.open(file, userdata, chain_id) as answer:
                if answer.status != 200:
                    return None
                details = _details(answer, wanted)
                if checksum:
                    details |= {"checksum": sha256_of(answer, self.most), "checksumType": "sha256"}
                return details
        except FetchError as e:
            log.info("no information on a file: %s", e)
            return None

    def _called(self, call: ContractCall) -> Answer:
        try:
            result = self.contracts.call(call.chainId, call.address, call.abi, call.arguments)
        except (ValueError, UpstreamUnavailable) as e:
            raise FetchError(str(e)) from None
        content = json.dumps(result, default=_as_json).encode()
        headers = {"content-type": "application/json", "content-length": str(len(content))}
        return Answer(200, headers, iter([content]))


def filename(answer: Answer, wanted: Request | ContractCall) -> str:
    """The name that the server gives, else the last part of the URL's path."""
    disposition = answer.headers.get("content-disposition", "")
    if match := re.search(r"filename\*=(?:UTF-8'')?([^;\s]+)", disposition, re.IGNORECASE):
        return unquote(match[1]).rsplit("/", 1)[-1]
    if match := re.search(r'filename="?([^";]+)"?', disposition, re.IGNORECASE):
        return match[1].strip().rsplit("/", 1)[-1]
    return unquote(urlsplit(wanted.url).path.rsplit("/", 1)[-1]) if isinstance(wanted, Request) else ""


def _details(answer: Answer, wanted: Request | ContractCall) -> dict[str, Any]:
    length = "" if answer.length is None else str(answer.length)
    kind = answer.headers.get("content-type", "").split(";")[0].strip()
    return {"contentLength": length, "contentType": kind, "filename": filename(answer, wanted)}


def _as_json(value: Any) -> Any:
    return "0x" + bytes(value).hex() if isinstance(value, bytes | bytearray) else str(value)
