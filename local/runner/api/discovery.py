"""What the API says about itself. Airflow's connection test reads /version; kubectl looks up resources in the rest."""

from __future__ import annotations

from typing import Any

from local.runner.store.objects import KINDS

VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0+c2d-laptop-runner", "platform": "linux"}
VERBS = ["create", "delete", "get", "list", "patch", "watch"]


def documents() -> dict[str, dict[str, Any]]:
    """The discovery documents by path."""
    networking = "networking.k8s.io"
    version = {"groupVersion": f"{networking}/v1", "version": "v1"}
    group = {"name": networking, "versions": [version], "preferredVersion": version}
    return {
        "/version": VERSION,
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": _resources(""),
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group]},
        f"/apis/{networking}/v1": _resources(networking),
    }


def _resources(group: str) -> dict[str, Any]:
    resources = [
        {"name": kind.plural, "singularName": kind.name.lower(), "namespaced": kind.namespaced, "kind": kind.name, "verbs": VERBS}
        for kind in KINDS.values()
        if kind.group == group
    ]
    if not group:
        resources.append({"name": "pods/log", "singularName": "", "namespaced": True, "kind": "Pod", "verbs": ["get"]})
    return {"kind": "APIResourceList", "groupVersion": f"{group}/v1" if group else "v1", "resources": resources}
