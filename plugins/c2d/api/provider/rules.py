"""What each request must have, as the incumbent's validator has it: its rules, their order, its sentences.

A rule is a name, with parameters after a colon; ``bail`` ends the whole check at the field's first fault. A field that may be missing,
because its ``required_...`` rules allow it, is checked no further where it is missing.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

SIGNATURE_TEXT = "Invalid signature provided. Please check the nonce or documentId."
TYPES = ("url", "ipfs", "arweave", "graphql", "smartcontract")
Rules = dict[str, tuple[str, ...]]

_ALGORITHM: Rules = {
    "algorithm.documentId": ("required_without:algorithm.meta", "required_with_all:algorithm.serviceId,algorithm.transferTxId"),
    "algorithm.meta": ("required_without:algorithm.documentId",),
}
_NONCE = ("bail", "required", "numeric")
_OF_JOB: Rules = {"consumerAddress": ("bail", "required"), "nonce": _NONCE, "signature": ("signature",)}

NONCE: Rules = {"userAddress": ("required",)}
DECRYPT: Rules = {
    "decrypterAddress": ("required",),
    "chainId": ("required",),
    "dataNftAddress": ("required",),
    "transactionId": ("required_without:dataNftAddress,encryptedDocument,flags,documentHash",),
    "encryptedDocument": ("required_without:transactionId", "required_with:flags,documentHash"),
    "flags": ("required_without:transactionId", "required_with:encryptedDocument,documentHash"),
    "documentHash": ("required_without:transactionId", "required_with:encryptedDocument,flags"),
    "nonce": ("required", "numeric"),
    "signature": ("bail", "signature"),
}
FILE_INFO: Rules = {
    "type": ("required_without:did", f"in:{','.join(TYPES)}"),
    "did": ("required_without:type", "regex:^did:op"),
    "hash": ("required_if:type,ipfs",),
    "url": ("required_if:type,url",),
    "transactionId": ("required_if:type,arweave",),
    "serviceId": ("required_without:type",),
}
INITIALIZE: Rules = {
    "documentId": ("required",),
    "serviceId": ("required",),
    "consumerAddress": ("required",),
    "fileIndex": ("sometimes", "integer", "min:0"),
    "transferTxId": ("sometimes",),
}
INITIALIZE_COMPUTE: Rules = {
    "datasets": ("required",),
    **_ALGORITHM,
    "compute.env": ("required",),
    "compute.validUntil": ("required", "integer"),
    "consumerAddress": ("required",),
}
COMPUTE_START: Rules = {
    "dataset.documentId": ("bail", "required"),
    "dataset.serviceId": ("bail", "required"),
    "dataset.transferTxId": ("required",),
    **_ALGORITHM,
    "consumerAddress": ("bail", "required"),
    "nonce": _NONCE,
    "signature": ("bail", "signature"),
}
COMPUTE_STOP = COMPUTE_DELETE = _OF_JOB
COMPUTE_STATUS: Rules = {"consumerAddress": ("bail", "required")}
COMPUTE_RESULT: Rules = {
    "jobId": ("bail", "required"),
    "index": ("bail", "required"),
    "consumerAddress": ("bail", "required"),
    "nonce": _NONCE,
    "signature": ("bail", "signature"),
}
DOWNLOAD: Rules = {
    "documentId": ("bail", "required"),
    "serviceId": ("required",),
    "consumerAddress": ("bail", "required"),
    "transferTxId": ("bail", "required"),
    "fileIndex": ("required",),
    "nonce": _NONCE,
    "signature": ("signature",),
}
CREATE_TOKEN: Rules = {
    "address": ("bail", "required"),
    "expiration": ("bail", "required", "integer", "timestamp"),
    "nonce": _NONCE,
    "signature": ("required", "signature"),
}
DELETE_TOKEN: Rules = {
    "address": ("bail", "required"),
    "token": ("bail", "required"),
    "nonce": _NONCE,
    "signature": ("required", "signature"),
}


def faults(data: dict[str, Any], rules: Rules, signed: Callable[[], bool]) -> dict[str, list[str]]:
    """What is wrong with a request, by field; empty where nothing is.

    :param signed: whether the signature is right; asked when its turn comes.
    """
    found: dict[str, list[str]] = {}
    for field, names in rules.items():
        value = value_of(data, field)
        if value is None and _may_be_missing(data, field, names):
            continue
        for rule in names:
            name, _, parameters = rule.partition(":")
            if sentence := _fault(data, field, value, name, parameters.split(",") if parameters else [], signed):
                found.setdefault(field, []).append(sentence)
                if "bail" in names:
                    return found
    return found


def value_of(data: Any, field: str) -> Any:
    """The value at a path of names with dots between them; None where there is none."""
    for name in field.split("."):
        if not isinstance(data, dict) or name not in data:
            return None
        data = data[name]
    return data


def whole(value: Any) -> int | None:
    """The whole number in a value, from 0 to what JavaScript holds exactly; None where there is none."""
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= 16 and int(text) < 2**53 else None


def _may_be_missing(data: dict[str, Any], field: str, names: tuple[str, ...]) -> bool:
    if "sometimes" in names:
        return True
    conditions = [n for n in names if n.startswith("required_")]
    return bool(conditions) and not any(_condition_holds(data, *n.split(":", 1)) for n in conditions)


def _condition_holds(data: dict[str, Any], name: str, parameters: str) -> bool:
    """Whether a ``required_...`` rule makes its field required."""
    others = parameters.split(",")
    there = [value_of(data, other) is not None for other in others]
    if name == "required_without":
        return not all(there)
    if name == "required_with":
        return any(there)
    if name == "required_with_all":
        return all(there)
    return str(value_of(data, others[0])) in others[1:]  # required_if


def _fault(data: dict[str, Any], field: str, value: Any, name: str, parameters: list[str], signed: Callable[[], bool]) -> str | None:
    shown = " ".join(word for word in field.split("_") if word)
    missing = value is None or (not value and value is not False and value != 0)
    if name == "required":
        return f"The {shown} field is required." if missing else None
    if name.startswith("required_"):
        if not missing or not _condition_holds(data, name, ",".join(parameters)):
            return None
        others = ", ".join(parameters)
        when = {
            "required_without": f"{others} is not present",
            "required_with": f"{others} is present",
            "required_with_all": f"{others} are present",
            "required_if": f"{parameters[0]} is {parameters[-1]}",
        }
        return f"The {shown} field is required when {when[name]}."
    if name == "signature":
        return None if signed() else SIGNATURE_TEXT
    if name == "timestamp":
        return None if _is_ahead(value) else "Invalid timestamp provided."
    right = {
        "numeric": lambda: _number(value) is not None,
        "integer": lambda: str(value).isdecimal(),
        "min": lambda: (_number(value) or 0) >= float(parameters[0]),
        "in": lambda: value in parameters,
        "regex": lambda: isinstance(value, str) and bool(re.match(parameters[0], value)),
    }
    sentences = {
        "numeric": f"The {shown} must be a number.",
        "integer": f"The {shown} must be an integer.",
        "min": f"The {shown} must be at least {parameters[0] if parameters else ''}.",
        "in": f"The selected {shown} is invalid.",
        "regex": f"The {shown} format is invalid.",
    }
    return sentences[name] if name in right and not right[name]() else None


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _is_ahead(value: Any) -> bool:
    number = whole(value)
    return number is not None and time.time() < number
