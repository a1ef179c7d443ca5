"""The three kinds of PATCH body that clients send."""

from __future__ import annotations

import copy
from typing import Any

from .errors import ApiError, bad_request
from .objects import Object

MERGE_KEYS = {"ownerReferences": "uid"}
"""Lists in metadata that a strategic patch merges by key instead of replacing."""


def patched(obj: Object, content_type: str, body: Any) -> Object:
    """A changed copy of `obj`."""
    new = copy.deepcopy(obj)
    if isinstance(body, list):  # the Python client sends lists as JSON patch, whatever the type says
        for step in body:
            _json_step(new, step)
        return new
    if not isinstance(body, dict):
        raise bad_request("the body of a PATCH must be an object or a list")
    if content_type.startswith("application/apply-patch"):
        raise ApiError(415, "UnsupportedMediaType", "the laptop runner has no server-side apply; use client-side apply")
    return _merge(new, body, strategic="strategic" in content_type)


def _merge(old: Any, change: Any, strategic: bool) -> Any:
    if not isinstance(change, dict):
        return change
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in change.items():
        if key.startswith("$"):  # directives of strategic patches; the fields that they order are not ordered here
            continue
        if value is None:
            new.pop(key, None)
        elif strategic and key in MERGE_KEYS and isinstance(value, list):
            by = MERGE_KEYS[key]
            new[key] = list(({item[by]: item for item in new.get(key) or []} | {item[by]: item for item in value}).values())
        else:
            new[key] = _merge(new.get(key), value, strategic)
    return new


def _json_step(target: Any, step: dict[str, Any]) -> None:
    operation, path = step.get("op"), [part.replace("~1", "/").replace("~0", "~") for part in step.get("path", "").split("/")[1:]]
    try:
        *parents, last = path
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        if isinstance(target, list):
            at = len(target) if last == "-" else int(last)
            if operation == "add":
                target.insert(at, step["value"])
            elif operation == "replace":
                target[at] = step["value"]
            elif operation == "remove":
                del target[at]
            elif operation != "test" or target[at] != step["value"]:
                raise KeyError(operation)
        elif operation == "add" or (operation == "replace" and last in target):
            target[last] = step["value"]
        elif operation == "remove":
            del target[last]
        elif operation != "test" or target[last] != step["value"]:
            raise KeyError(operation)
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ApiError(422, "Invalid", f"the server rejected our request due to an error in our request: {step}") from error
