"""What the API server rejects (422) before it stores an object. The rules for a pod's spec are in pod_validation.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from local.runner.api.pod_validation import Cause, pod_causes, quantity_causes
from local.runner.errors import invalid
from local.runner.store.objects import Kind, Object

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def validate(kind: Kind, obj: Object) -> None:
    """Raise 422 with everything that is wrong with a new or changed object."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    causes = [*_metadata_causes(metadata)]
    if kind.plural == "pods":
        causes += pod_causes(spec)
    elif kind.plural in ("secrets", "configmaps"):
        causes += _data_causes({**(obj.get("data") or {}), **(obj.get("binaryData") or {})})
    elif kind.plural == "persistentvolumeclaims":
        causes += _claim_causes(spec)
    if causes:
        raise invalid(kind.name, str(metadata.get("name") or ""), causes)


def _metadata_causes(metadata: dict[str, Any]) -> Iterator[Cause]:
    if not metadata.get("name"):
        yield "metadata.name", "Required value: the laptop runner does not generate names"
    for field in ("name", "namespace"):
        name = metadata.get(field)
        if name and (not isinstance(name, str) or not _SUBDOMAIN.fullmatch(name) or len(name) > 253):
            yield (
                f"metadata.{field}",
                f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '
                "'-' or '.', and must start and end with an alphanumeric character",
            )
    for key, value in (metadata.get("labels") or {}).items():
        yield from _key_causes(key, "metadata.labels")
        if not isinstance(value, str) or len(value) > 63 or not _LABEL_VALUE.fullmatch(value):
            yield (
                "metadata.labels",
                f'Invalid value: "{value}": a valid label must be an empty string or at most 63 alphanumeric characters, '
                "'-', '_' or '.', starting and ending with an alphanumeric character",
            )
    for key, value in (metadata.get("annotations") or {}).items():
        yield from _key_causes(key.lower(), "metadata.annotations")
        if not isinstance(value, str):
            yield "metadata.annotations", f"Invalid value: {value!r}: must be a string"
    for index, owner in enumerate(metadata.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield f"metadata.ownerReferences[{index}].{field}", "Invalid value: must not be empty"


def _key_causes(key: str, field: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if not name or len(name) > 63 or not _LABEL_VALUE.fullmatch(name) or (slash and not _SUBDOMAIN.fullmatch(prefix)):
        yield field, f'Invalid value: "{key}": name part must consist of alphanumeric characters, "-", "_" or "."'


def _data_causes(data: dict[str, Any]) -> Iterator[Cause]:
    for key in data:
        if not _DATA_KEY.fullmatch(key) or key.startswith(".."):
            yield f"data[{key}]", "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"


def _claim_causes(spec: dict[str, Any]) -> Iterator[Cause]:
    if not spec.get("accessModes"):
        yield "spec.accessModes", "Required value: at least 1 access mode is required"
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        yield "spec.resources[storage]", "Required value"
    yield from quantity_causes(requests, "spec.resources.requests")
