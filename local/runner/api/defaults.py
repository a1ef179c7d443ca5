"""What the API server changes in a new object before it stores it."""

from __future__ import annotations

from base64 import b64encode

from local.runner.errors import bad_request
from local.runner.store.objects import Kind, Object

SERVER_METADATA = ("selfLink", "managedFields", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp")
"""Metadata that only the server writes."""


def with_defaults(kind: Kind, namespace: str, obj: Object) -> Object:
    """The object with the namespace of its path, an initial status, and the defaults that the runner itself needs.

    Raises 400 if the object names another namespace.
    """
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in SERVER_METADATA}
    if kind.namespaced:
        if metadata.get("namespace") not in (None, "", namespace):
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request "
                f"({metadata['namespace']}, {namespace})"
            )
        metadata["namespace"] = namespace
    obj = obj | {"metadata": metadata}
    if kind.plural == "secrets":
        fold_string_data(obj)
        obj.setdefault("type", "Opaque")
    elif kind.plural == "namespaces":
        obj["status"] = {"phase": "Active"}
    elif kind.plural == "persistentvolumeclaims":
        obj["status"] = {"phase": "Pending"}
    elif kind.plural == "pods":
        obj["status"] = {"phase": "Pending"}
        _set_pod_defaults(obj)
    return obj


def fold_string_data(obj: Object) -> None:
    """Move a Secret's write-only `stringData` into its `data`."""
    for key, text in (obj.pop("stringData", None) or {}).items():
        obj["data"] = (obj.get("data") or {}) | {key: b64encode(text.encode()).decode()}


def _set_pod_defaults(pod: Object) -> None:
    spec = pod.get("spec") or {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        container["terminationMessagePath"] = container.get("terminationMessagePath") or "/dev/termination-log"
        container["terminationMessagePolicy"] = container.get("terminationMessagePolicy") or "File"
