"""The kinds of object that the runner serves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as JSON."""


@dataclass(frozen=True)
class Kind:
    """A kind of object: its names in paths and bodies, and the fields that a field selector may use."""

    plural: str
    name: str
    group: str = ""
    namespaced: bool = True
    fields: tuple[str, ...] = ()

    @property
    def api_version(self) -> str:
        """The apiVersion of its objects."""
        return f"{self.group}/v1" if self.group else "v1"


KINDS = {
    kind.plural: kind
    for kind in (
        Kind("pods", "Pod", fields=("status.phase",)),
        Kind("events", "Event", fields=tuple(f"involvedObject.{field}" for field in ("kind", "namespace", "name", "uid"))),
        Kind("secrets", "Secret"),
        Kind("configmaps", "ConfigMap"),
        Kind("persistentvolumeclaims", "PersistentVolumeClaim"),
        Kind("namespaces", "Namespace", namespaced=False),
        Kind("networkpolicies", "NetworkPolicy", group="networking.k8s.io"),
    )
}
"""Every kind, by its plural."""


def now(later: float = 0) -> str:
    """The time as Kubernetes writes it, `later` seconds from now."""
    return (datetime.now(UTC) + timedelta(seconds=later)).strftime("%Y-%m-%dT%H:%M:%SZ")
