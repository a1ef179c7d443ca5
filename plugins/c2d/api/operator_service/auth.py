"""Who may ask what. Stands on the app: a route that does not say who may use it is used by nobody.

Strict mode (the default) takes what a Provider signs, ``owner [+ jobId] + nonce``, from an address in ALLOWED_PROVIDERS, with a
nonce that rises with every request of a signer; the nonce is used up in the transaction of what is asked (:mod:`c2d.database.queue`).

Legacy mode (``SIGNATURE_REQUIRED=0``) is the incumbent's own default: any signature from which an address can be recovered, with or without
the nonce in its text. It refuses no replay and tells every Provider's jobs to everybody; it is for closed networks and old test suites.
"""

from __future__ import annotations

import asyncio
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request

from c2d.api.common.body import loads
from c2d.api.common.limits import BODY_BYTES
from c2d.api.operator_service.service import service_of
from c2d.crypto.signatures import signer_of_hash
from c2d.database.nonces import NONCE_LIMIT, Caller
from c2d.errors import ApiError, InvalidSignature
from c2d.jobs.patterns import ADDRESS, is_text
from c2d.settings.installation import Settings

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
NAMES = ("agreementId", "jobId", "owner")
ONE_OF = "You have to specify one of agreementId, jobId or owner"


@dataclass(frozen=True)
class RoutePolicy:
    """Who may use a route.

    :param kind: ``public``, ``signed`` by a Provider, ``admin``, or ``either`` of the latter two.
    :param call: how the incumbent names it in its errors.
    :param required: what must be in the request, in the order in which it is missed.
    :param one_of: one of agreementId, jobId, owner must be there.
    :param job: a job id is part of the signed text.
    """

    kind: str
    call: str = ""
    required: tuple[str, ...] = ()
    one_of: bool = False
    job: bool = True


def requires(kind: str, call: str = "", *required: str, one_of: bool = False, job: bool = True) -> Callable[[Endpoint], Endpoint]:
    """Marks a route with who may use it."""

    def mark(endpoint: Endpoint) -> Endpoint:
        endpoint.access = RoutePolicy(kind, call, required, one_of, job)  # type: ignore[attr-defined]
        return endpoint

    return mark


async def admit(request: Request) -> None:
    """The app's dependency: reads the request and finds out who asks, or refuses. The routes read :func:`data_of` and :func:`caller_of`."""
    wanted: RoutePolicy | None = getattr(request.scope["endpoint"], "access", None)
    if wanted is None:
        raise ApiError(403, "nobody may use this")
    request.state.data = data = await read_data(request)
    request.state.caller = None
    _names(data)
    settings = service_of(request).settings
    admin = wanted.kind == "admin" or (wanted.kind == "either" and "admin" in request.headers)
    if admin:
        _admin(request.headers.get("admin", ""), settings)
    elif wanted.kind == "signed" or (wanted.kind == "either" and settings.SIGNATURE_REQUIRED):
        _complete(data, wanted)
        caller = _caller(data, wanted, settings)
        _rate(request, caller)
        request.state.caller = caller


def data_of(request: Request) -> dict[str, Any]:
    """The query's arguments if there are any, else the JSON body."""
    data: dict[str, Any] = request.state.data
    return data


def caller_of(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


def text_of(data: dict[str, Any], name: str) -> str | None:
    """A value as text; None where it is missing or, as the incumbent has it, shorter than two characters."""
    text = str(data.get(name) or "")
    return text if len(text) >= 2 else None


async def read_data(request: Request) -> dict[str, Any]:
    if request.query_params:
        return {name: request.query_params.getlist(name)[0] for name in request.query_params}
    body = b""
    if int(request.headers.get("content-length") or 0) <= BODY_BYTES:
        async for chunk in request.stream():
            body += chunk
            if len(body) > BODY_BYTES:
                break
        else:
            # A large one takes half a second at worst, in which the event loop would answer nobody.
            return _object(body) if len(body) < 2**16 else await asyncio.to_thread(_object, body)
    raise ApiError(413, f"body: must have at most {BODY_BYTES} bytes")


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        data = loads(body)
    except ValueError:
        raise ApiError(400, "body: must be valid JSON") from None
    if not isinstance(data, dict):
        raise ApiError(400, "payload seems empty.")
    return data


def _names(data: dict[str, Any]) -> None:
    """What chooses jobs is text: were it taken for missing, more jobs than those that are meant would be told of, or stopped."""
    for name in NAMES:
        value = data.get(name)
        if not isinstance(value, str | int | None) or isinstance(value, bool):
            raise ApiError(400, f"{name}: must be text")
        must_be_text(name, value)


def must_be_text(name: str, value: Any) -> None:
    """What the database would not take is refused here."""
    if isinstance(value, str) and not is_text(value):
        raise ApiError(400, f"{name}: must be valid UTF-8 text without NUL")


def _complete(data: dict[str, Any], wanted: RoutePolicy) -> None:
    if wanted.required and not data:
        raise ApiError(400, "payload seems empty.")
    for name in wanted.required:
        if name not in data:
            raise ApiError(400, f'"{name}" is required in the call to {wanted.call}')
    if wanted.one_of and not any(text_of(data, n) for n in NAMES):
        raise ApiError(400, ONE_OF)


def _caller(data: dict[str, Any], wanted: RoutePolicy, settings: Settings) -> Caller:
    signature, owner, job_id = data.get("providerSignature"), text_of(data, "owner"), text_of(data, "jobId")
    if not signature:
        raise ApiError(400, "`providerSignature` of agreementId is required.")
    text = f"{owner}{job_id if wanted.job and job_id else ''}"
    if not settings.SIGNATURE_REQUIRED:
        return Caller(_anybody(text, data.get("nonce"), str(signature), settings), None, everybody=True)
    # Its length fixed, and a nonce of digits only: so the text can be read in one way (see c2d.database.queue.new_job_id).
    if owner is not None and not re.match(ADDRESS, owner):
        raise ApiError(400, "owner: must be 0x followed by 40 hex digits")
    nonce = _nonce(data.get("nonce"))
    address = _recover(f"{text}{nonce}", str(signature))
    if address.lower() not in settings.ALLOWED_PROVIDERS:
        raise ApiError(
            401,
            f"Invalid signature {signature} of documentId {text}{nonce},"
            f"the signing ethereum account {address} is not authorized to use this service.",
        )
    return Caller(address.lower(), int(nonce))


def _nonce(value: Any) -> str:
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= NONCE_LIMIT:
        raise ApiError(400, "nonce: must be a whole number below 2^63, higher with every request")
    return text


def _anybody(text: str, nonce: Any, signature: str, settings: Settings) -> str:
    """Legacy mode: the signer by the first form that gives a known Provider, else by the first form."""
    signers = [_recover(t, signature).lower() for t in ([text] if nonce is None else [f"{text}{nonce}", text])]
    return next((s for s in signers if s in settings.ALLOWED_PROVIDERS), signers[0])


def _recover(text: str, signature: str) -> str:
    try:
        return signer_of_hash(text, signature)
    except (InvalidSignature, UnicodeEncodeError):
        raise ApiError(400, "Failed to recover address") from None


def _rate(request: Request, caller: Caller) -> None:
    seconds = service_of(request).requests.wait(caller.provider)
    if seconds:
        raise too_many(seconds)


def too_many(seconds: float) -> ApiError:
    return ApiError(429, f"too many requests; try again in {seconds:.1f} s", {"Retry-After": str(int(seconds) + 1)})


def _admin(name: str, settings: Settings) -> None:
    if not name:
        raise ApiError(400, "Admin header is empty.\nstatus code: 400")
    # Each is compared, in a time that does not tell how much of it fits.
    if not any([hmac.compare_digest(name.lower().encode(), admin.encode()) for admin in settings.ALLOWED_ADMINS]):
        raise ApiError(401, "Access admin route failed due to invalid admin address.\nstatus code: 401")
