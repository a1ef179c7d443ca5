"""PATCH bodies."""

from __future__ import annotations

from typing import Any

from local.runner.errors import ApiError

MERGE_PATCHES = ("application/merge-patch+json", "application/strategic-merge-patch+json")


def require_merge_patch(content_type: str) -> None:
    """Raise 415 for any other kind of patch."""
    if content_type.partition(";")[0].strip() not in MERGE_PATCHES:
        raise ApiError(415, "UnsupportedMediaType", f"the laptop runner supports {' and '.join(MERGE_PATCHES)}, not {content_type!r}")


def patched(old: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """A changed copy, by RFC 7396.

    A strategic merge patch differs only in lists, which it merges by key. The one such list that can change here is
    metadata.ownerReferences, which no client of the runner patches, so both kinds are treated the same.
    """
    new = dict(old)
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        elif isinstance(value, dict):
            before = new.get(key)
            new[key] = patched(before if isinstance(before, dict) else {}, value)
        else:
            new[key] = value
    return new
