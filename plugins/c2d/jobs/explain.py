"""Validation errors in sentences that a person can act on."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from c2d.jobs.patterns import SENTENCES

MOST_SENTENCES = 10


def explain(error: ValidationError, at: str = "") -> str:
    """One sentence for each invalid field: ``inputs[0].files[0].url: must begin with http:// ...``. Never shows a value.

    :param at: the path of the value that was validated, if it is part of a larger one.
    """
    details = error.errors(include_url=False, include_input=False)
    sentences = [f"{_path(e['loc'], at) or 'job'}: {_sentence(e)}" for e in details if not _follows_from_another(e, details)]
    return "; ".join(sentences[:MOST_SENTENCES])


def _follows_from_another(error: ErrorDetails, all_errors: list[ErrorDetails]) -> bool:
    """Whether a list is too short only because its items are invalid."""
    return error["type"] == "too_short" and any(e["loc"][:-1][: len(error["loc"])] == error["loc"] for e in all_errors)


def _path(location: tuple[int | str, ...], at: str) -> str:
    path = at
    for part in location:
        if part == "[key]" or str(part).startswith("~"):
            continue  # pydantic's mark for a dictionary key, or the tag of a union: not a field
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def _sentence(error: ErrorDetails) -> str:
    context: dict[str, Any] = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return "is not a known field"
        case "missing":
            return "is required"
        case "string_pattern_mismatch":
            return SENTENCES.get(context["pattern"], f"must match {context['pattern']}")
        case "value_error":
            return str(context["error"])
        case _:
            message = error["msg"]
            return message[0].lower() + message[1:]
