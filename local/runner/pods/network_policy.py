"""NetworkPolicies, as far as a machine without rights over its packets can enforce them: a pod has a network, or it has none."""

from __future__ import annotations

from typing import Any


def egress_allowed(policies: list[dict[str, Any]], labels: dict[str, str]) -> bool:
    """Whether a pod with these labels has a network, by the NetworkPolicies of its namespace.

    It has none if a policy of type Egress selects it and no such policy has a rule. What a rule allows (addresses, ports) is ignored:
    the pod then shares the host's network.
    """
    isolated = False
    for policy in policies:
        spec = policy.get("spec") or {}
        types = spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])
        if "Egress" in types and selects(spec.get("podSelector") or {}, labels):
            if spec.get("egress"):
                return True
            isolated = True
    return not isolated


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a LabelSelector selects these labels. An empty one selects everything."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_matches(expression, labels) for expression in selector.get("matchExpressions") or [])


def _matches(expression: dict[str, Any], labels: dict[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    if operator in ("In", "NotIn"):
        is_listed = labels.get(key) in (expression.get("values") or [])
        return is_listed if operator == "In" else not is_listed
    return key in labels if operator == "Exists" else key not in labels
