"""Who may use which route of the Provider. The app runs :func:`admit` before every route.

A consumer signs the hash of a text that has no separators between its parts (ocean.js up to 5, ocean.py). So that the signature of one
request is worthless in another, its nonce is used up before anything else is done, across all routes and whatever the case of the
address's letters. The header ``AuthToken`` can replace the signature; such a request needs a nonce as well, and uses it up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from c2d.api.common.request_data import check_text, data_of, read_data
from c2d.api.common.route_policy import Endpoint, policy_of, with_policy
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import Rules, faults
from c2d.crypto.signatures import public_key_of_hash, signer_of_hash
from c2d.database.consumers import NONCE
from c2d.errors import InvalidRequest, InvalidSignature, InvalidToken
from c2d.jobs.ids import API_JOB_ID
from c2d.jobs.model import ADDRESS

NONCE_FAULT = "The nonce must be higher than every nonce that this address has used before."


@dataclass(frozen=True)
class RoutePolicy:
    """Who may use a route, and what a request to it must have.

    :param rules: for the request's fields. None: the route reads the request itself.
    :param signer: the field with the address that must have signed. None: everybody may use the route.
    :param signed_text: the text that is signed, without the nonce at its end.
    :param accepts_token: an auth token can replace the signature.
    :param shares_nonce: several requests may use the same nonce (:meth:`c2d.database.consumers.Consumers.use_nonce`).
    :param lenient: with C2D_LENIENT_STOP, the signed text may lack the nonce.
    """

    rules: Rules | None
    signer: str | None = None
    signed_text: Callable[[dict[str, Any]], str] = lambda data: ""
    accepts_token: bool = True
    shares_nonce: bool = False
    lenient: bool = False


def public(rules: Rules | None) -> Callable[[Endpoint], Endpoint]:
    """Everybody may use the route."""
    return with_policy(RoutePolicy(rules))


def signed(
    rules: Rules,
    signer: str,
    signed_text: Callable[[dict[str, Any]], str],
    accepts_token: bool = True,
    shares_nonce: bool = False,
    lenient: bool = False,
) -> Callable[[Endpoint], Endpoint]:
    """Only the address in the field ``signer`` may use the route; see :class:`RoutePolicy`."""
    return with_policy(RoutePolicy(rules, signer, signed_text, accepts_token, shares_nonce, lenient))


def job_text(data: dict[str, Any], last: Any) -> str:
    """What a consumer signs about a job: address, job id and ``last`` (a DID or an index), those that are there."""
    return "".join(str(part) for part in (data.get("consumerAddress"), data.get("jobId"), last) if part not in (None, ""))


def public_key_of(request: Request) -> str | None:
    """The consumer's public key, recovered from the request's signature. None: an auth token replaces it."""
    policy, data = policy_of(request, RoutePolicy), data_of(request)
    if not data.get("signature"):
        return None
    return public_key_of_hash(f"{policy.signed_text(data)}{data['nonce']}", str(data["signature"]))


async def admit(request: Request) -> None:
    """Read the request, check it and its sender, and use up its nonce.

    :raises InvalidRequest: fields are missing or wrong, or the signature or the nonce is.
    :raises ApiError: the sender sends too many requests, or nobody may use the route.
    """
    policy, service = policy_of(request, RoutePolicy), service_of(request)
    if policy.rules is None:
        service.visitor_limit.take(_client_host(request))
        return
    request.state.data = data = await read_data(request)
    for name, value in data.items():
        check_text(name, value)
    if policy.signer is None:
        service.visitor_limit.take(_client_host(request))
    lenient = policy.lenient and await run_in_threadpool(_is_lenient_stop, service, data)

    def is_signed() -> bool:
        return policy.signer is None or lenient or _is_signed(service, policy, data, request.headers.get("AuthToken"))

    sentences = await run_in_threadpool(faults, data, policy.rules, is_signed)
    if sentences:
        raise InvalidRequest(sentences)
    if policy.signer is not None:
        address, nonce = str(data[policy.signer]), str(data["nonce"])
        service.jobs.request_limit.take(f"consumer {address.lower()}")
        if lenient:
            return  # the nonce was not signed: anybody could use up the highest one that there is
        text = policy.signed_text(data) + nonce if data.get("signature") else None
        if not await run_in_threadpool(service.consumers.use_nonce, address, nonce, text, policy.shares_nonce):
            raise InvalidRequest({"nonce": [NONCE_FAULT]})


def _is_signed(service: ProviderService, policy: RoutePolicy, data: dict[str, Any], token: str | None) -> bool:
    """Whether the signer has signed the request, or has sent an auth token that replaces the signature."""
    address, nonce, signature = data.get(policy.signer or ""), data.get("nonce"), data.get("signature")
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


def _client_host(request: Request) -> str:
    return request.client.host if request.client else ""
