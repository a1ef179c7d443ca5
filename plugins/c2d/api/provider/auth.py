"""Who may ask what. Stands on the app: a route that does not say who may use it is used by nobody.

A consumer signs the hash of a text without marks between its parts (old style: ocean.js up to 5, ocean.py). So that a signature of one
request is worth nothing in another, its nonce is used up before anything is done, over all routes together, whatever the case of the
address's letters. In place of a signature may stand the header ``AuthToken``; the nonce is needed and used up all the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from c2d.api.operator_service.auth import must_be_text, read_data, too_many
from c2d.api.provider.rules import Rules, faults
from c2d.api.provider.service import ProviderService, service_of
from c2d.crypto.signatures import public_key_of_hash, signer_of_hash
from c2d.database.consumers import NONCE
from c2d.errors import ApiError, InvalidRequest, InvalidSignature, InvalidToken
from c2d.jobs.ids import API_JOB_ID
from c2d.jobs.patterns import ADDRESS

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
NONCE_TEXT = "The nonce must be higher than every nonce that this address has used before."


@dataclass(frozen=True)
class RoutePolicy:
    """Who may use a route.

    :param rules: what the request must have; None: it is not read here.
    :param who: the field with the address that must have signed; None: anybody may ask.
    :param text: what is signed before the nonce.
    :param token: whether an auth token stands for a signature.
    :param several: whether several requests may have the same nonce (see :meth:`c2d.database.consumers.Consumers.use_nonce`).
    :param lenient: whether the nonce may be missing in what is signed, where C2D_LENIENT_STOP says so.
    """

    rules: Rules | None
    who: str | None = None
    text: Callable[[dict[str, Any]], str] = lambda data: ""
    token: bool = True
    several: bool = False
    lenient: bool = False


def requires(*arguments: Any, **named: Any) -> Callable[[Endpoint], Endpoint]:
    """Marks a route with who may use it; arguments as :class:`ComputeAccess` has them."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.access = RoutePolicy(*arguments, **named)  # type: ignore[attr-defined]
        return endpoint

    return mark


def job_text(data: dict[str, Any], did: Any) -> str:
    """What a consumer signs for what it does with a job: address, job id and DID, as far as they are given."""
    return "".join(str(part) for part in (data.get("consumerAddress"), data.get("jobId"), did) if part not in (None, ""))


def public_key_of(request: Request) -> str | None:
    """The consumer's public key, by its signature of this request; None where a token stands for that."""
    wanted: RoutePolicy = request.scope["endpoint"].access
    data = data_of(request)
    if not data.get("signature"):
        return None
    return public_key_of_hash(f"{wanted.text(data)}{data['nonce']}", str(data["signature"]))


async def admit(request: Request) -> None:
    """The app's dependency: reads the request, finds out who asks and uses up the nonce, or refuses. The routes read :func:`data_of`."""
    wanted: RoutePolicy | None = getattr(request.scope["endpoint"], "access", None)
    if wanted is None:
        raise ApiError(403, "nobody may use this")
    service = service_of(request)
    if wanted.rules is None:
        _slow_down(request, service.visitors, _visitor(request))
        return
    request.state.data = data = await read_data(request)
    for name, value in data.items():
        must_be_text(name, value)
    if wanted.who is None:
        _slow_down(request, service.visitors, _visitor(request))
    lenient = wanted.lenient and await run_in_threadpool(_stops_leniently, service, data)
    found = await run_in_threadpool(faults, data, wanted.rules, lambda: wanted.who is None or lenient or _signed(request, data, wanted))
    if found:
        raise InvalidRequest(found)
    if wanted.who is not None:
        address, nonce = str(data[wanted.who]), str(data["nonce"])
        _slow_down(request, service.jobs.requests, f"consumer {address.lower()}")
        if lenient:
            return  # what was not signed is not used up: a thief would name the highest nonce there is
        signed = wanted.text(data) + nonce if data.get("signature") else None
        if not await run_in_threadpool(service.consumers.use_nonce, address, nonce, signed, wanted.several):
            raise InvalidRequest({"nonce": [NONCE_TEXT]})


def data_of(request: Request) -> dict[str, Any]:
    """The query's arguments if there are any, else the JSON body."""
    data: dict[str, Any] = request.state.data
    return data


def _signed(request: Request, data: dict[str, Any], wanted: RoutePolicy) -> bool:
    address, nonce, signature = data.get(wanted.who or ""), data.get("nonce"), data.get("signature")
    if not isinstance(address, str) or not re.match(ADDRESS, address):
        return False
    if isinstance(nonce, bool) or not isinstance(nonce, str | int | float) or not NONCE.match(str(nonce)):
        return False
    if not signature:
        token = request.headers.get("AuthToken") if wanted.token else None
        if not token:
            return False
        try:
            service_of(request).consumers.check_token(token, address)
        except InvalidToken:
            return False
        return True
    try:
        return signer_of_hash(f"{wanted.text(data)}{nonce}", str(signature)).lower() == address.lower()
    except (InvalidSignature, UnicodeEncodeError):
        return False


def _stops_leniently(service: ProviderService, data: dict[str, Any]) -> bool:
    """Whether a stop is signed as ocean.js 3.3.3 to 3.4.6 does: consumer + job id, no nonce.

    A job id ends in a letter and every other signed text in a nonce's digit, so that none is good in place of the other; and who sends it
    again stops a job that has stopped.
    """
    address, job_id, signature = (data.get(name) for name in ("consumerAddress", "jobId", "signature"))
    if not service.own.C2D_LENIENT_STOP or not all(isinstance(given, str) for given in (address, job_id, signature)):
        return False
    if not re.match(ADDRESS, str(address)) or not API_JOB_ID.match(str(job_id)):
        return False
    try:
        return signer_of_hash(f"{address}{job_id}", str(signature)).lower() == str(address).lower()
    except InvalidSignature:
        return False


def _visitor(request: Request) -> str:
    return request.client.host if request.client else ""


def _slow_down(request: Request, rate: Any, key: str) -> None:
    if seconds := rate.wait(key):
        raise too_many(seconds)
