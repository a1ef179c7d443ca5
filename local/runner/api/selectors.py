"""Label and field selectors of a query."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from local.runner.errors import bad_request

Predicate = Callable[[dict[str, Any]], bool]
"""Tells whether an object is selected."""

_COMPARISON = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<operator>==|=|!=)\s*(?P<value>\S*)$")
_EXISTENCE = re.compile(r"^(?P<negated>!?)\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)$")


def label_selector(text: str) -> Predicate:
    """`a=b,c!=d,e,!f`. As in Kubernetes, `!=` also selects objects without the label. Raises 400 for what it cannot parse."""
    requirements = [_label_requirement(part.strip()) for part in text.split(",") if part.strip()]
    return lambda obj: all(met(obj["metadata"].get("labels") or {}) for met in requirements)


def _label_requirement(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _COMPARISON.match(part):
        key, value, equal = match["key"], match["value"], match["operator"] != "!="
        return lambda labels: (labels.get(key) == value) == equal
    if match := _EXISTENCE.match(part):
        key, present = match["key"], not match["negated"]
        return lambda labels: (key in labels) == present
    raise bad_request(f"unable to parse requirement {part!r} of the label selector; the laptop runner knows a=b, a!=b, a and !a")


def field_selector(text: str, supported: tuple[str, ...]) -> Predicate:
    """`metadata.name=x,status.phase!=Running`. Raises 400 for a field that is not in `supported`."""
    requirements: list[tuple[list[str], str, bool]] = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _COMPARISON.match(part)
        if not match:
            raise bad_request(f"invalid selector: {part!r}; can't understand it")
        if match["key"] not in supported:
            raise bad_request(f"field label not supported: {match['key']}; supported are {', '.join(supported)}")
        requirements.append((match["key"].split("."), match["value"], match["operator"] != "!="))
    return lambda obj: all((_field(obj, path) == value) == equal for path, value, equal in requirements)


def _field(obj: Any, path: list[str]) -> str:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)
