"""Who may use which route of the Provider: its route policies.

A consumer signs the hash of a text that has no separators between its parts (ocean.js up to 5, ocean.py). So that the signature of one
request is worthless in another, its nonce is used up before anything else is done, across all routes and whatever the case of the
address's letters. The header ``AuthToken`` can replace the signature; such a request needs a nonce as well, and uses it up.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from c2d.api.common.request_data import check_text, data_of, read_data
from c2d.api.common.route_policy import RoutePolicy
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import Rules, faults
from c2d.crypto.signatures import public_key_of_hash, signer_of_hash
from c2d.database.consumers import NONCE
from c2d.errors import InvalidRequest, InvalidSignature, InvalidToken
from c2d.jobs.ids import API_JOB_ID
from c2d.jobs.patterns import ADDRESS

NONCE_FAULT = "The nonce must be higher than every nonce that this address has used before."


@dataclass(frozen=True)
class Public(RoutePolicy):
    """Everybody may use the route.

    :param rules: for the request's fields. None: the route reads the request itself.
    """

    rules: Rules | None

    async def admit(self, request: Request) -> None:
        data = {} if self.rules is None else await _read(request)
        service_of(request).visitor_limit.take(request.client.host if request.client else "")
        if self.rules is not None:
            _raise_faults(await run_in_threadpool(faults, data, self.rules, lambda: True))


@dataclass(frozen=True)
class Signed(RoutePolicy):
    """Only the address in the request's field ``signer`` may use the route.

    :param rules: for the request's fields.
    :param signed_text: the text that is signed, without the nonce at its end.
    :param accepts_token: an auth token can replace the signature.
    :param shares_nonce: several requests may use the same nonce (:meth:`c2d.database.consumers.Consumers.use_nonce`).
    :param lenient: with C2D_LENIENT_STOP, the signed text may lack the nonce.
    """

    rules: Rules
    signer: str
    signed_text: Callable[[dict[str, Any]], str]
    accepts_token: bool = True
    shares_nonce: bool = False
    lenient: bool = False

    async def admit(self, request: Request) -> None:
        service, data, token = service_of(request), await _read(request), request.headers.get("AuthToken")
        lenient = self.lenient and await run_in_threadpool(_is_lenient_stop, service, data)
        is_signed = functools.partial(_is_signed, service, self, data, token)
        _raise_faults(await run_in_threadpool(faults, data, self.rules, (lambda: True) if lenient else is_signed))
        address, nonce = str(data[self.signer]), str(data["nonce"])
        service.jobs.request_limit.take(f"consumer {address.lower()}")
        if lenient:
            return  # the nonce was not signed: anybody could use up the highest one that there is
        text = self.signed_text(data) + nonce if data.get("signature") else None
        request.state.signed_text = text
        if not await run_in_threadpool(service.consumers.use_nonce, address, nonce, text, self.shares_nonce):
            raise InvalidRequest({"nonce": [NONCE_FAULT]})


def job_text(data: dict[str, Any], last: Any) -> str:
    """What a consumer signs about a job: address, job id and ``last`` (a DID or an index), those that are there."""
    return "".join(str(part) for part in (data.get("consumerAddress"), data.get("jobId"), last) if part not in (None, ""))


def public_key_of(request: Request) -> str | None:
    """The consumer's public key, recovered from the request's signature. None: an auth token replaced it."""
    text: str | None = request.state.signed_text
    return None if text is None else public_key_of_hash(text, str(data_of(request)["signature"]))


async def _read(request: Request) -> dict[str, Any]:
    """The request's arguments, which routes get with :func:`data_of`."""
    request.state.data = await read_data(request)
    for name, value in request.state.data.items():
        check_text(name, value)
    return data_of(request)


def _raise_faults(sentences: dict[str, list[str]]) -> None:
    if sentences:
        raise InvalidRequest(sentences)


def _is_signed(service: ProviderService, policy: Signed, data: dict[str, Any], token: str | None) -> bool:
    """Whether the signer has signed the request, or has sent an auth token that replaces the signature."""
    address, nonce, signature = data.get(policy.signer), data.get("nonce"), data.get("signature")
    if not isinstance(address, str) or not re.match(ADDRESS, address):
        return False
    if isinstance(nonce, bool) or not isinstance(nonce, str | int | float) or not NONCE.match(str(nonce)):
        return False
    if signature:
        return _is_signed_by(address, f"{policy.signed_text(data)}{nonce}", str(signature))
    return policy.accepts_token and token is not None and _is_token_of(service, address, token)


def _is_lenient_stop(service: ProviderService, data: dict[str, Any]) -> bool:
    """Whether a stop is signed as ocean.js 3.3.3 to 3.4.6 signs it: address and job id, without a nonce.

    A job id ends with a letter, and every other signed text with a digit of its nonce, so neither is valid in place of the other.
    Replaying such a stop only stops a job that was stopped before.
    """
    address, job_id, signature = (data.get(name) for name in ("consumerAddress", "jobId", "signature"))
    if not service.provider.C2D_LENIENT_STOP:
        return False
    if not isinstance(address, str) or not isinstance(job_id, str) or not isinstance(signature, str):
        return False
    if not re.match(ADDRESS, address) or not API_JOB_ID.match(job_id):
        return False
    return _is_signed_by(address, f"{address}{job_id}", signature)


def _is_signed_by(address: str, text: str, signature: str) -> bool:
    try:
        return signer_of_hash(text, signature).lower() == address.lower()
    except (InvalidSignature, UnicodeEncodeError):
        return False


def _is_token_of(service: ProviderService, address: str, token: str) -> bool:
    try:
        service.consumers.check_token(token, address)
    except InvalidToken:
        return False
    return True
