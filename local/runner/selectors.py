"""Label and field selectors, as text in a query and as objects in a NetworkPolicy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from .errors import bad_request

Test = Callable[[dict[str, Any]], bool]
"""Says whether an object is selected."""

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<op>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^=!\s]+)\s*(?P<op>==|=|!=)\s*(?P<value>\S*)$")
_KEY = re.compile(r"^(?P<not>!?)\s*(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)$")


def label_selector(text: str) -> Test:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k`; as in Kubernetes, `!=` and `notin` also select objects without the label."""
    tests = [_label_requirement(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return lambda obj: all(test(obj.get("metadata", {}).get("labels") or {}) for test in tests)


def _label_requirement(part: str) -> Callable[[dict[str, str]], bool]:
    if match := _SET.match(part):
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        wanted = match["op"] == "in"
        return lambda labels: (labels.get(key) in values) == wanted
    if match := _EQUAL.match(part):
        key, value = match["key"], match["value"]
        wanted = match["op"] != "!="
        return lambda labels: (labels.get(key) == value) == wanted
    if match := _KEY.match(part):
        key, wanted = match["key"], not match["not"]
        return lambda labels: (key in labels) == wanted
    raise bad_request(f"unable to parse requirement {part!r} of the label selector")


def field_selector(text: str, supported: frozenset[str]) -> Test:
    """`metadata.name=x,status.phase!=Running`; only the fields that Kubernetes supports for the kind."""
    requirements = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _EQUAL.match(part)
        if not match:
            raise bad_request(f"invalid selector: {part!r}; can't understand it")
        if match["key"] not in supported:
            raise bad_request(f"field label not supported: {match['key']} (of {', '.join(sorted(supported))})")
        requirements.append((match["key"].split("."), match["value"], match["op"] != "!="))
    return lambda obj: all((_field(obj, path) == value) == wanted for path, value, wanted in requirements)


def _field(obj: Any, path: list[str]) -> str:
    for key in path:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return "" if obj is None else str(obj)


def object_selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a LabelSelector object (matchLabels, matchExpressions) selects these labels. An empty one selects all."""
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or []:
        key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
        if operator in ("In", "NotIn"):
            matched = (labels.get(key) in values) == (operator == "In")
        else:
            matched = (key in labels) == (operator == "Exists")
        if not matched:
            return False
    return True


def egress_allowed(policies: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Whether a pod with these labels may have a network at all, by the NetworkPolicies of its namespace.

    False only if some policy of type Egress selects the pod and none of those gives it a rule. What a rule allows (addresses,
    ports) is not looked at: a laptop has no rights to filter packets, so the pod then shares the host's network.
    """
    isolated = False
    for policy in policies:
        spec = policy.get("spec") or {}
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        if "Egress" not in types or not object_selects(spec.get("podSelector") or {}, labels):
            continue
        if spec.get("egress"):
            return True
        isolated = True
    return not isolated
