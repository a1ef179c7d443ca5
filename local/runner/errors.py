"""API errors, each answered as a Kubernetes `Status` object."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """An error response: the HTTP code, a machine-readable reason and a message for people."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.body = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "details": details or {},
            "code": code,
        }


def not_found(plural: str, name: str) -> ApiError:
    """404: no object of this name."""
    return ApiError(404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural})


def already_exists(plural: str, name: str) -> ApiError:
    """409: an object of this name exists."""
    return ApiError(409, "AlreadyExists", f'{plural} "{name}" already exists', {"name": name, "kind": plural})


def bad_request(message: str) -> ApiError:
    """400."""
    return ApiError(400, "BadRequest", message)


def expired(version: int, oldest: int) -> ApiError:
    """410: the history no longer reaches back to this resource version."""
    return ApiError(410, "Expired", f"too old resource version: {version} ({oldest})")


def invalid(kind: str, name: str, causes: list[tuple[str, str]]) -> ApiError:
    """422 with every cause: (field, what is wrong with it)."""
    text = ", ".join(f"{field}: {message}" for field, message in causes)
    if len(causes) > 1:
        text = f"[{text}]"
    details = {
        "name": name,
        "kind": kind,
        "causes": [{"reason": "FieldValueInvalid", "field": field, "message": message} for field, message in causes],
    }
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)
