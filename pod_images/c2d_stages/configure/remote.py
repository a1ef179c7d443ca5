"""Remote assets: somebody ordered them for the operator, and their own Provider serves the files.

The DDO, from the metadata service, names the Provider; the Provider says how many files there are; each file is one download, which the
operator has signed in advance. Such a signature, a grant, is for one asset and has a nonce. A Provider refuses a nonce below the highest
that it has seen from the operator, whichever job sent it. So grants are used once, in rising order, and by one download at a time.
"""

import json
import re
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from c2d.contract import Grant, Remote
from c2d_stages.common.transfer import PermanentError, TransientError, split_url
from c2d_stages.configure.requests import fetch_small, read_small
from c2d_stages.configure.session import Session, Subject
from c2d_stages.configure.sources import Request

DDO_BYTES = FILE_INFO_BYTES = 4 << 20
NONCE_BYTES = 1 << 16
FILES = 1000
API = "/api/services"
BAD_ENDPOINT = "the service's serviceEndpoint must be an http or https url without a query"
MAY_BE_A_NONCE = (400, 401, 403)  # how Providers refuse a nonce that is too low; v2.1.6 answers 400


@dataclass(frozen=True)
class Operator:
    """Whom Providers know as the consumer of the job's orders, and where the DDOs are."""

    address: str
    metadata_uri: str = field(repr=False)


class Nonces:
    """The highest nonce that each Provider (by its URL) is known to have seen from the operator."""

    def __init__(self) -> None:
        self.highest: dict[str, int] = {}

    def seen(self, provider: str, nonce: int) -> None:
        self.highest[provider] = max(nonce, self.highest.get(provider, nonce))

    def next(self, provider: str, grants: tuple[Grant, ...]) -> Grant | None:
        """The lowest grant that this Provider will accept; None if there is none. It counts as used."""
        place = bisect_right(grants, self.highest.get(provider, -1), key=lambda grant: grant.nonce)
        if place == len(grants):
            return None
        self.seen(provider, grants[place].nonce)
        return grants[place]


@dataclass(frozen=True)
class RemoteFile:
    """One file of a remote asset, as a source of a download. Every request uses up a grant."""

    did: str
    index: int
    provider: str = field(repr=False)
    remote: Remote
    operator: Operator
    nonces: Nonces = field(repr=False)
    session: Session = field(repr=False)
    checksum: None = None

    def request(self) -> Request:
        grant = self.nonces.next(self.provider, self.remote.grants)
        if grant is None:
            used_up = f"its {len(self.remote.grants)} grants for downloads are used up"
            raise PermanentError(f"{used_up}; too many files or attempts, or too many jobs at once")
        query = {
            "fileIndex": str(self.index),
            "documentId": self.did,
            "transferTxId": self.remote.txId,
            "serviceId": self.remote.serviceId,
            "consumerAddress": self.operator.address,
            "nonce": str(grant.nonce),
            "signature": grant.signature,
        }
        if self.remote.userdata:
            query["userdata"] = json.dumps(self.remote.userdata)
        return Request(f"{self.provider}{API}/download?{urlencode(query, quote_via=quote)}")

    def may_succeed_after(self, status: int) -> bool:
        """Whether another job has overtaken the nonce: then the Provider has seen a higher one than we sent last."""
        if status not in MAY_BE_A_NONCE:
            return False
        sent = self.nonces.highest.get(self.provider, -1)
        query = urlencode({"userAddress": self.operator.address})
        try:
            body = read_small(Request(f"{self.provider}{API}/nonce?{query}"), {}, NONCE_BYTES, self.session)
            seen = int(float(json.loads(body)["nonce"]))
        except (TransientError, PermanentError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            return False  # without an answer, the refusal stands
        self.nonces.seen(self.provider, seen)
        return seen > sent


@dataclass(frozen=True)
class Resolved:
    """A remote asset's DDO, as the metadata service sent it, and its files."""

    ddo: bytes
    files: tuple[RemoteFile, ...]


def resolve(subject: Subject, did: str, remote: Remote, operator: Operator, nonces: Nonces, session: Session) -> Resolved:
    """Ask the metadata service for the DDO and the Provider for the files.

    Raises StageError, in one sentence without anything that a server wrote, or Cancelled.
    """
    try:
        url = f"{operator.metadata_uri.rstrip('/')}/api/aquarius/assets/ddo/{quote(did, safe=':')}"
        ddo = fetch_small(subject, Request(url), {}, DDO_BYTES, session)
        provider = provider_of(_parsed(ddo), remote.serviceId)
    except PermanentError as error:
        raise subject.failed(f"the DDO: {error}") from None
    try:
        body = json.dumps({"did": did, "serviceId": remote.serviceId}).encode()
        request = Request(f"{provider}{API}/fileinfo", "POST", body=body)
        info = fetch_small(subject, request, {"Content-Type": "application/json"}, FILE_INFO_BYTES, session)
        number = number_of_files(_parsed(info), bool(remote.userdata))
    except PermanentError as error:
        raise subject.failed(f"the Provider's list of the files: {error}") from None
    return Resolved(ddo, tuple(RemoteFile(did, index, provider, remote, operator, nonces, session) for index in range(number)))


def provider_of(ddo: Any, service_id: str) -> str:
    """The URL of a service's Provider, without a slash at its end. Raises PermanentError."""
    if not isinstance(ddo, dict):
        raise PermanentError("it must be a JSON object")
    services = ddo.get("services")
    matching = [s for s in services if isinstance(s, dict) and s.get("id") == service_id] if isinstance(services, list) else []
    if not matching:
        raise PermanentError("it has no service with the id in remote.serviceId")
    service = matching[0]
    if service.get("type") not in ("compute", "access"):
        raise PermanentError("the service must be of type compute or access")
    endpoint = service.get("serviceEndpoint")
    if not isinstance(endpoint, str) or re.search(r"[\s\x00-\x1f\x7f?#]", endpoint):
        raise PermanentError(BAD_ENDPOINT)
    try:
        split_url(endpoint)
    except PermanentError:
        raise PermanentError(BAD_ENDPOINT) from None
    return endpoint.rstrip("/")


def number_of_files(info: Any, has_userdata: bool) -> int:
    """How many files the Provider offers. Raises PermanentError.

    :param has_userdata: the Provider makes the list without it, so a file in the list may be called invalid and still be served.
    """
    if not isinstance(info, list) or not all(isinstance(each, dict) for each in info):
        raise PermanentError("it must be a list of objects")
    if not info:
        raise PermanentError("it is empty")
    if len(info) > FILES:
        raise PermanentError(f"it has {len(info)} files; at most {FILES} are fetched")
    for number, each in enumerate(info):
        if each.get("valid") is False and not has_userdata:
            raise PermanentError(f"file {number} is not valid; its Provider cannot read it")
    return len(info)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise PermanentError("it must be JSON") from None
