"""What the API server refuses (422) before anything is kept, and the defaults that it fills in."""

from __future__ import annotations

import re
from typing import Any

from .errors import bad_request, invalid
from .objects import KINDS, Object
from .quantities import quantity

_LABEL = re.compile(r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")
_SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$")
_VALUE = re.compile(r"^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$")
_ENV = re.compile(r"^[ -<>-~]+$")
_DATA_KEY = re.compile(r"^[-._a-zA-Z0-9]{1,253}$")
VOLUMES = ("emptyDir", "persistentVolumeClaim", "secret", "configMap", "projected", "downwardAPI")
Causes = list[tuple[str, str]]

NOT_DNS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)


def check(plural: str, obj: Object) -> None:
    """Raises 422 with everything that is wrong with a new or changed object."""
    metadata = obj.get("metadata") or {}
    causes: Causes = []
    _metadata(metadata, causes)
    if plural == "pods":
        _pod(obj.get("spec") or {}, causes)
    if plural in ("secrets", "configmaps"):
        for key in (obj.get("data") or {}) | (obj.get("binaryData") or {}):
            if not _DATA_KEY.match(key) or key.startswith(".."):
                causes.append((f"data[{key}]", "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"))
    if plural == "persistentvolumeclaims":
        _claim(obj.get("spec") or {}, causes)
    if causes:
        raise invalid(KINDS[plural].name, metadata.get("name") or metadata.get("generateName") or "", causes)


def _metadata(metadata: dict[str, Any], causes: Causes) -> None:
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if not name and not prefix:
        causes.append(("metadata.name", "Required value: name or generateName is required"))
    if name and (not _SUBDOMAIN.match(name) or len(name) > 253):
        causes.append(("metadata.name", f'Invalid value: "{name}": {NOT_DNS}'))
    if prefix and not _SUBDOMAIN.match(prefix + "a"):
        causes.append(("metadata.generateName", f'Invalid value: "{prefix}": {NOT_DNS}'))
    for key, value in (metadata.get("labels") or {}).items():
        _qualified(key, "metadata.labels", causes)
        if not isinstance(value, str) or len(value) > 63 or not _VALUE.match(value):
            why = "a valid label must be an empty string or at most 63 alphanumeric characters, '-', '_' or '.', starting and ending with "
            causes.append(("metadata.labels", f'Invalid value: "{value}": {why}an alphanumeric character'))
    for key, value in (metadata.get("annotations") or {}).items():
        _qualified(key.lower(), "metadata.annotations", causes)
        if not isinstance(value, str):
            causes.append(("metadata.annotations", f"Invalid value: {value!r}: must be a string"))
    for index, owner in enumerate(metadata.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                causes.append((f"metadata.ownerReferences[{index}].{field}", "Invalid value: must not be empty"))


def _qualified(key: str, field: str, causes: Causes) -> None:
    prefix, slash, name = key.rpartition("/")
    if not name or len(name) > 63 or not _VALUE.match(name) or (slash and not _SUBDOMAIN.match(prefix)):
        causes.append((field, f'Invalid value: "{key}": name part must consist of alphanumeric characters, "-", "_" or "."'))


def _pod(spec: dict[str, Any], causes: Causes) -> None:
    if spec.get("restartPolicy", "Always") != "Never":
        causes.append(("spec.restartPolicy", 'Unsupported value: the laptop runner runs pods with restartPolicy "Never" only'))
    if not spec.get("containers"):
        causes.append(("spec.containers", "Required value"))
    volumes: set[str] = set()
    for index, volume in enumerate(spec.get("volumes") or []):
        field = f"spec.volumes[{index}]"
        if not _LABEL.match(volume.get("name") or ""):
            causes.append((f"{field}.name", f'Invalid value: "{volume.get("name")}": must be a lowercase RFC 1123 label'))
        if volume.get("name") in volumes:
            causes.append((f"{field}.name", f'Duplicate value: "{volume["name"]}"'))
        volumes.add(volume.get("name") or "")
        if not any(volume.get(source) is not None for source in VOLUMES):
            causes.append((field, f"Unsupported value: the laptop runner has volumes of type {', '.join(VOLUMES)}"))
        _quantities({"sizeLimit": (volume.get("emptyDir") or {}).get("sizeLimit")}, f"{field}.emptyDir", causes)
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            _container(container, f"spec.{group}[{index}]", volumes, names, causes)
    for field in ("activeDeadlineSeconds", "terminationGracePeriodSeconds"):
        value = spec.get(field)
        if value is not None and (not isinstance(value, int) or value < (1 if field == "activeDeadlineSeconds" else 0)):
            causes.append((f"spec.{field}", f"Invalid value: {value}: must be a positive number of seconds"))


def _container(container: dict[str, Any], field: str, volumes: set[str], names: set[str], causes: Causes) -> None:
    name = container.get("name") or ""
    if not _LABEL.match(name):
        causes.append((f"{field}.name", f'Invalid value: "{name}": must be a lowercase RFC 1123 label'))
    if name in names:
        causes.append((f"{field}.name", f'Duplicate value: "{name}"'))
    names.add(name)
    if not container.get("image"):
        causes.append((f"{field}.image", "Required value"))
    if container.get("restartPolicy"):
        causes.append((f"{field}.restartPolicy", "Unsupported value: the laptop runner has no sidecar containers"))
    for at, entry in enumerate(container.get("env") or []):
        if not _ENV.match(entry.get("name") or ""):
            causes.append((f"{field}.env[{at}].name", f'Invalid value: "{entry.get("name")}": must be printable ASCII without "="'))
        if not isinstance(entry.get("value", ""), str | None):
            causes.append((f"{field}.env[{at}].value", "Invalid value: must be a string"))
        if entry.get("value") and entry.get("valueFrom"):
            causes.append((f"{field}.env[{at}].valueFrom", "Invalid value: may not be specified when `value` is not empty"))
    for part in ("command", "args"):
        if not all(isinstance(word, str) for word in container.get(part) or []):
            causes.append((f"{field}.{part}", "Invalid value: must be a list of strings"))
    paths: set[str] = set()
    for at, mount in enumerate(container.get("volumeMounts") or []):
        path, below = mount.get("mountPath") or "", mount.get("subPath") or ""
        if mount.get("name") not in volumes:
            causes.append((f"{field}.volumeMounts[{at}].name", f'Not found: "{mount.get("name")}"'))
        if not path:
            causes.append((f"{field}.volumeMounts[{at}].mountPath", "Required value"))
        if path in paths:
            causes.append((f"{field}.volumeMounts[{at}].mountPath", f'Invalid value: "{path}": must be unique'))
        paths.add(path)
        if ".." in path.split("/") or not path.startswith("/"):
            causes.append((f"{field}.volumeMounts[{at}].mountPath", f'Invalid value: "{path}": must be absolute, without ".."'))
        if below.startswith("/") or ".." in below.split("/"):
            causes.append((f"{field}.volumeMounts[{at}].subPath", f'Invalid value: "{below}": must be a relative path, without ".."'))
    for part in ("limits", "requests"):
        _quantities((container.get("resources") or {}).get(part) or {}, f"{field}.resources.{part}", causes)


def _claim(spec: dict[str, Any], causes: Causes) -> None:
    if not spec.get("accessModes"):
        causes.append(("spec.accessModes", "Required value: at least 1 access mode is required"))
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        causes.append(("spec.resources[storage]", "Required value"))
    _quantities(requests, "spec.resources.requests", causes)


def _quantities(values: dict[str, Any], field: str, causes: Causes) -> None:
    for key, value in values.items():
        try:
            if value is not None:
                quantity(value)
        except ValueError as error:
            causes.append((f"{field}[{key}]", f"Invalid value: {error}"))


def fill_in(plural: str, namespace: str, obj: Object) -> Object:
    """The object as the server keeps it: metadata complete, write-only fields folded, defaults of the API set."""
    metadata = obj.setdefault("metadata", {}) or {}
    obj["metadata"] = metadata
    given = metadata.get("namespace")
    if KINDS[plural].namespaced:
        if given not in (None, "", namespace):
            raise bad_request(
                f"the namespace of the provided object does not match the namespace sent on the request ({given}, {namespace})"
            )
        metadata["namespace"] = namespace
    for field in ("selfLink", "managedFields", "uid", "resourceVersion", "creationTimestamp"):
        metadata.pop(field, None)
    if plural == "secrets":
        fold_string_data(obj)
        obj.setdefault("type", "Opaque")
    if plural == "persistentvolumeclaims":
        spec = obj.get("spec") or {}
        spec.setdefault("volumeMode", "Filesystem")
        obj["status"] = {"phase": "Pending"}
    if plural == "namespaces":
        obj["status"] = {"phase": "Active"}
    if plural == "pods":
        _pod_defaults(obj.get("spec") or {})
        obj["status"] = {"phase": "Pending", "qosClass": "Burstable"}
    return obj


def fold_string_data(secret: Object) -> None:
    from base64 import b64encode

    for key, text in (secret.pop("stringData", None) or {}).items():
        secret["data"] = (secret.get("data") or {}) | {key: b64encode(text.encode()).decode()}


def _pod_defaults(spec: dict[str, Any]) -> None:
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("enableServiceLinks", True)
    for container in (spec.get("initContainers") or []) + (spec.get("containers") or []):
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        container.setdefault("terminationMessagePolicy", "File")
        container.setdefault("imagePullPolicy", "IfNotPresent")
        container.setdefault("resources", {})
