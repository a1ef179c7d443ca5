"""Who may use which route of the Operator-Service: its route policies.

Strict mode (the default) accepts what a Provider in ALLOWED_PROVIDERS signs: ``owner [+ jobId] + nonce``, with a nonce that is higher than
every one that the signer has used. The nonce is used up in the transaction of the requested action (:mod:`c2d.database.queue`).

Legacy mode (``SIGNATURE_REQUIRED=0``, operator-service's own default) accepts any signature from which an address can be recovered, with or
without the nonce in its text. It does not detect replays and shows every Provider's jobs to everybody. It is meant for closed networks and
old test suites.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from c2d.api.common.request_data import check_text, read_data
from c2d.api.common.route_policy import RoutePolicy
from c2d.api.operator_service.request import service_of, text_of
from c2d.crypto.signatures import signer_of_hash
from c2d.database.nonces import NONCE_LIMIT, Caller
from c2d.errors import ApiError, InvalidSignature
from c2d.jobs.patterns import ADDRESS
from c2d.settings.installation import Settings

SELECTORS = ("agreementId", "jobId", "owner")
"""The arguments that select jobs."""


class Public(RoutePolicy):
    """Everybody may use the route."""

    async def admit(self, request: Request) -> None:
        await _read(request)


class Admin(RoutePolicy):
    """Only an admin may use the route, with the header `Admin`."""

    async def admit(self, request: Request) -> None:
        await _read(request)
        name = request.headers.get("admin", "")
        if not name:
            raise ApiError(400, "Admin header is empty.\nstatus code: 400")
        admins = service_of(request).settings.ALLOWED_ADMINS
        # All are compared, each in constant time, so that the time does not tell how much of a name is right.
        if not any([hmac.compare_digest(name.lower().encode(), admin.encode()) for admin in admins]):
            raise ApiError(401, "Access admin route failed due to invalid admin address.\nstatus code: 401")


@dataclass(frozen=True)
class Signed(RoutePolicy):
    """Only a Provider that signs its request may use the route.

    :param call: the route's name in operator-service's errors.
    :param required: the arguments that the request must have, in the order in which they are checked.
    :param needs_selector: at least one of SELECTORS must be there.
    :param signs_job_id: the job id, if there is one, is part of the signed text.
    """

    call: str
    required: tuple[str, ...] = ()
    needs_selector: bool = False
    signs_job_id: bool = True

    async def admit(self, request: Request) -> None:
        service, data = service_of(request), await _read(request)
        _check_complete(data, self)
        signer = _signer if service.settings.SIGNATURE_REQUIRED else _legacy_signer
        request.state.caller = caller = signer(data, self, service.settings)
        service.request_limit.take(caller.provider)


class SignedOrAdmin(Signed):
    """A Provider that signs its request may use the route, and an admin. In legacy mode, everybody may."""

    async def admit(self, request: Request) -> None:
        if "admin" in request.headers:
            await Admin().admit(request)
        elif service_of(request).settings.SIGNATURE_REQUIRED:
            await super().admit(request)
        else:
            await Public().admit(request)


async def _read(request: Request) -> dict[str, Any]:
    """The request's arguments. Routes get them with :func:`c2d.api.common.request_data.data_of`.

    :raises ApiError: they are malformed.
    """
    request.state.data = data = await read_data(request)
    request.state.caller = None
    # Reject selectors that are not strings. Treating one as absent would widen the request to other jobs.
    for name in SELECTORS:
        value = data.get(name)
        if not isinstance(value, str | int | None) or isinstance(value, bool):
            raise ApiError(400, f"{name}: must be text")
        check_text(name, value)
    return data


def _check_complete(data: dict[str, Any], policy: Signed) -> None:
    if policy.required and not data:
        raise ApiError(400, "payload seems empty.")
    for name in policy.required:
        if name not in data:
            raise ApiError(400, f'"{name}" is required in the call to {policy.call}')
    if policy.needs_selector and not any(text_of(data, name) for name in SELECTORS):
        raise ApiError(400, "You have to specify one of agreementId, jobId or owner")
    if not data.get("providerSignature"):
        raise ApiError(400, "`providerSignature` of agreementId is required.")


def _signer(data: dict[str, Any], policy: Signed, settings: Settings) -> Caller:
    """The allowed Provider that signed the request, and its nonce."""
    owner = text_of(data, "owner")
    # The text has no separators. An owner of fixed length, a job id that ends with a letter (c2d.jobs.ids) and a nonce of digits only
    # make sure that it can be read in one way.
    if owner is not None and not re.match(ADDRESS, owner):
        raise ApiError(400, "owner: must be 0x followed by 40 hex digits")
    nonce = _nonce(data.get("nonce"))
    text, signature = f"{_signed_text(data, policy)}{nonce}", str(data["providerSignature"])
    address = _recovered_address(text, signature)
    if address.lower() not in settings.ALLOWED_PROVIDERS:
        raise ApiError(
            401,
            f"Invalid signature {signature} of documentId {text},"
            f"the signing ethereum account {address} is not authorized to use this service.",
        )
    return Caller(address.lower(), int(nonce))


def _legacy_signer(data: dict[str, Any], policy: Signed, settings: Settings) -> Caller:
    """The signer of the text with the nonce or without it: the first that is an allowed Provider, or else the first."""
    text, nonce, signature = _signed_text(data, policy), data.get("nonce"), str(data["providerSignature"])
    texts = [text] if nonce is None else [f"{text}{nonce}", text]
    signers = [_recovered_address(text, signature).lower() for text in texts]
    provider = next((signer for signer in signers if signer in settings.ALLOWED_PROVIDERS), signers[0])
    return Caller(provider, None, everybody=True)


def _signed_text(data: dict[str, Any], policy: Signed) -> str:
    """What the Provider signs before the nonce."""
    job_id = text_of(data, "jobId") if policy.signs_job_id else None
    return f"{text_of(data, 'owner')}{job_id or ''}"


def _nonce(value: Any) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= NONCE_LIMIT:
        raise ApiError(400, "nonce: must be a whole number below 2^63, higher with every request")
    return text


def _recovered_address(text: str, signature: str) -> str:
    try:
        return signer_of_hash(text, signature)
    except (InvalidSignature, UnicodeEncodeError):
        raise ApiError(400, "Failed to recover address") from None
