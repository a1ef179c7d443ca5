"""Assets that are named by transaction: somebody ordered them for the operator, and their Provider hands out the files.

The DDO (of the metadata service) says which Provider; the Provider says how many files; each file is one download, which the operator
has signed for in advance. Such a signature, a grant, is for this asset and has a nonce; a Provider refuses a nonce below the highest
that it has seen from the operator, from whichever job. So grants are used once and upwards, and by one download at a time.
"""

import itertools
import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from c2d_stages.download import Broken, Cancelled, Refused, Session, Wanted, fetch_small, read_small, split_url
from c2d_stages.fields import Field
from c2d_stages.sources import Request

DDO_BYTES = FILE_INFO_BYTES = 4 << 20
NONCE_BYTES = 1 << 16
FILES = 1000
API = "/api/services"
BAD_ENDPOINT = "the service's serviceEndpoint must be an http or https url without a query"
MAY_BE_A_NONCE = (400, 401, 403)  # how Providers refuse a nonce that is too low: v2.1.6 with 400


@dataclass(frozen=True)
class Grant:
    nonce: int
    signature: str = field(repr=False)

    @classmethod
    def from_field(cls, pair: Field) -> "Grant":
        match pair.value:
            case [int(nonce), str(signature)] if re.fullmatch(r"0x[0-9a-f]{130}", signature):
                return cls(nonce, signature)
        raise pair.wrong("must be a nonce and the signature, 0x and 130 hex digits")


@dataclass(frozen=True)
class Remote:
    """Where an asset's files are to be had, and the right to them."""

    metadataUri: str = field(repr=False)
    consumer: str
    txId: str
    serviceId: str
    userdata: dict[str, Any] | None = field(repr=False)
    grants: tuple[Grant, ...]

    @classmethod
    def from_field(cls, remote: Field, top: Field) -> "Remote | None":
        """`remote` of an asset; None where it has none. What all of them share is in `top`."""
        if remote.object() is None:
            return None
        metadata = top.get("metadataUri")
        if not metadata.text().startswith(("http://", "https://")):
            raise metadata.wrong("must start with http:// or https://")
        grants = remote.get("grants")
        pairs = tuple(Grant.from_field(pair) for pair in grants.items())
        if not pairs or any(later.nonce <= earlier.nonce for earlier, later in itertools.pairwise(pairs)):
            raise grants.wrong("must be grants, with nonces that rise")
        return cls(
            metadata.text(),
            top.get("consumerAddress").text(),
            remote.get("txId").text(),
            remote.get("serviceId").text(),
            remote.get("userdata").object(),
            pairs,
        )


class Nonces:
    """The highest nonce that each Provider (by its URL) is known to have seen from the operator."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}

    def seen(self, provider: str, nonce: int) -> None:
        self.highest[provider] = max(nonce, self.highest.get(provider, nonce))

    def next(self, provider: str, grants: tuple[Grant, ...]) -> Grant | None:
        """The lowest grant that this Provider will take. It counts as used."""
        place = bisect_right(grants, self.highest.get(provider, -1), key=lambda grant: grant.nonce)
        if place == len(grants):
            return None
        self.seen(provider, grants[place].nonce)
        return grants[place]


@dataclass(frozen=True)
class RemoteFile:
    """One file of an asset, as a source of a download. Every request has a grant of its own."""

    did: str
    index: int
    provider: str = field(repr=False)
    remote: Remote
    nonces: Nonces = field(repr=False)
    session: Session = field(repr=False)
    checksum: None = None

    def request(self) -> Request:
        grant = self.nonces.next(self.provider, self.remote.grants)
        if grant is None:
            raise Refused(
                f"its {len(self.remote.grants)} grants for downloads are used up; too many files or attempts, or too many jobs at once"
            )
        query = {
            "fileIndex": str(self.index),
            "documentId": self.did,
            "transferTxId": self.remote.txId,
            "serviceId": self.remote.serviceId,
            "consumerAddress": self.remote.consumer,
            "nonce": str(grant.nonce),
            "signature": grant.signature,
        }
        if self.remote.userdata:
            query["userdata"] = json.dumps(self.remote.userdata)
        return Request(f"{self.provider}{API}/download?{urlencode(query, quote_via=quote)}")

    def outdated(self, status: int) -> bool:
        """Whether another job's download has overtaken the nonce: then the Provider says a higher one than the last of ours."""
        if status not in MAY_BE_A_NONCE:
            return False
        sent = self.nonces.highest.get(self.provider, -1)
        query = urlencode({"userAddress": self.remote.consumer})
        try:
            body = read_small(Request(f"{self.provider}{API}/nonce?{query}"), {}, NONCE_BYTES, self.session)
            seen = int(float(json.loads(body)["nonce"]))
        except Cancelled:
            raise
        except (Broken, Refused, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return False  # it does not say: then the refusal stands
        self.nonces.seen(self.provider, seen)
        return seen > sent


@dataclass(frozen=True)
class Resolved:
    """ddo: as the metadata service sent it."""

    ddo: bytes
    files: tuple[RemoteFile, ...]


def resolve(wanted: Wanted, did: str, remote: Remote, nonces: Nonces, session: Session) -> Resolved:
    """The asset's DDO and its files. Raises StageError, in one sentence without what a server wrote."""
    try:
        url = f"{remote.metadataUri.rstrip('/')}/api/aquarius/assets/ddo/{quote(did, safe=':')}"
        ddo = fetch_small(wanted, Request(url), {}, DDO_BYTES, session)
        provider = provider_of(_parsed(ddo), remote.serviceId)
    except Refused as error:
        raise wanted.failed(f"the DDO: {error}") from None
    try:
        body = json.dumps({"did": did, "serviceId": remote.serviceId}).encode()
        request = Request(f"{provider}{API}/fileinfo", "POST", body=body)
        info = fetch_small(wanted, request, {"Content-Type": "application/json"}, FILE_INFO_BYTES, session)
        number = number_of_files(_parsed(info), bool(remote.userdata))
    except Refused as error:
        raise wanted.failed(f"the Provider's list of the files: {error}") from None
    return Resolved(ddo, tuple(RemoteFile(did, index, provider, remote, nonces, session) for index in range(number)))


def provider_of(ddo: Any, service_id: str) -> str:
    """The URL of the Provider of a service, without a slash at its end. Raises Refused."""
    if not isinstance(ddo, dict):
        raise Refused("it must be a JSON object")
    services = ddo.get("services")
    found = [s for s in services if isinstance(s, dict) and s.get("id") == service_id] if isinstance(services, list) else []
    if not found:
        raise Refused("it has no service with the id that remote.serviceId says")
    service = found[0]
    if service.get("type") not in ("compute", "access"):
        raise Refused("the service must be of type compute or access")
    endpoint = service.get("serviceEndpoint")
    if not isinstance(endpoint, str) or re.search(r"[\s\x00-\x1f\x7f?#]", endpoint):
        raise Refused(BAD_ENDPOINT)
    try:
        split_url(endpoint)
    except Refused:
        raise Refused(BAD_ENDPOINT) from None
    return endpoint.rstrip("/")


def number_of_files(info: Any, has_userdata: bool) -> int:
    """How many files the Provider offers. Raises Refused.

    has_userdata: the list is made without it, so a file may be called invalid that is fine with it; its download will tell.
    """
    if not isinstance(info, list) or not all(isinstance(each, dict) for each in info):
        raise Refused("it must be a list of objects")
    if not info:
        raise Refused("it is empty")
    if len(info) > FILES:
        raise Refused(f"it has {len(info)} files, {FILES} at most are fetched")
    for number, each in enumerate(info):
        if each.get("valid") is False and not has_userdata:
            raise Refused(f"file {number} is not valid; its Provider cannot read it")
    return len(info)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refused("it must be JSON") from None
