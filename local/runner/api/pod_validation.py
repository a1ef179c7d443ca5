"""What the API server rejects in a pod's spec, and what this runner cannot run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from local.runner.quantities import quantity

Cause = tuple[str, str]
"""(field, what is wrong with it)."""
VOLUME_TYPES = ("emptyDir", "persistentVolumeClaim", "secret", "configMap")
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_VARIABLE = re.compile(r"[ -<>-~]+")


def pod_causes(spec: dict[str, Any]) -> Iterator[Cause]:
    """Everything that is wrong with a pod's spec."""
    if spec.get("restartPolicy", "Always") != "Never":
        yield "spec.restartPolicy", 'Unsupported value: the laptop runner only runs pods with restartPolicy "Never"'
    if not spec.get("containers"):
        yield "spec.containers", "Required value"
    for field, least in (("activeDeadlineSeconds", 1), ("terminationGracePeriodSeconds", 0)):
        value = spec.get(field)
        if value is not None and (not isinstance(value, int) or value < least):
            yield f"spec.{field}", f"Invalid value: {value}: must be a whole number of seconds, at least {least}"
    volumes = spec.get("volumes") or []
    yield from _name_causes(volumes, "spec.volumes")
    for index, volume in enumerate(volumes):
        yield from _volume_causes(volume, f"spec.volumes[{index}]")
    volume_names = {volume.get("name") for volume in volumes}
    yield from _name_causes([*(spec.get("initContainers") or []), *(spec.get("containers") or [])], "spec.containers")
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or []):
            field = f"spec.{group}[{index}]"
            yield from _container_causes(container, field)
            yield from _mount_causes(container.get("volumeMounts") or [], f"{field}.volumeMounts", volume_names)


def quantity_causes(quantities: dict[str, Any], field: str) -> Iterator[Cause]:
    """The quantities among `quantities` that cannot be parsed."""
    for name, value in quantities.items():
        try:
            quantity(value)
        except ValueError as error:
            yield f"{field}[{name}]", f"Invalid value: {error}"


def _name_causes(named: Iterable[dict[str, Any]], field: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, item in enumerate(named):
        name = item.get("name") or ""
        if not _DNS_LABEL.fullmatch(name):
            yield f"{field}[{index}].name", f'Invalid value: "{name}": must be a lowercase RFC 1123 label'
        if name in seen:
            yield f"{field}[{index}].name", f'Duplicate value: "{name}"'
        seen.add(name)


def _volume_causes(volume: dict[str, Any], field: str) -> Iterator[Cause]:
    if not any(volume.get(volume_type) is not None for volume_type in VOLUME_TYPES):
        yield field, f"Unsupported value: the laptop runner has volumes of type {', '.join(VOLUME_TYPES)}"
    limit = (volume.get("emptyDir") or {}).get("sizeLimit")
    if limit is not None:
        yield from quantity_causes({"sizeLimit": limit}, f"{field}.emptyDir")
    for source in (volume.get("secret") or {}, volume.get("configMap") or {}):
        for index, item in enumerate(source.get("items") or []):
            if not _is_safe_relative(item.get("path") or ""):
                yield f"{field}.items[{index}].path", f'Invalid value: "{item.get("path")}": must be a relative path, without ".."'


def _container_causes(container: dict[str, Any], field: str) -> Iterator[Cause]:
    if not container.get("image"):
        yield f"{field}.image", "Required value"
    if container.get("restartPolicy"):
        yield f"{field}.restartPolicy", "Unsupported value: the laptop runner has no sidecar containers"
    for index, variable in enumerate(container.get("env") or []):
        at = f"{field}.env[{index}]"
        if not _VARIABLE.fullmatch(variable.get("name") or ""):
            yield f"{at}.name", f'Invalid value: "{variable.get("name")}": must be printable ASCII without "="'
        if not isinstance(variable.get("value", ""), str | None):
            yield f"{at}.value", "Invalid value: must be a string"
        if variable.get("value") and variable.get("valueFrom"):
            yield f"{at}.valueFrom", "Invalid value: may not be specified when `value` is not empty"
    for part in ("command", "args"):
        if not all(isinstance(word, str) for word in container.get(part) or []):
            yield f"{field}.{part}", "Invalid value: must be a list of strings"
    for part in ("limits", "requests"):
        yield from quantity_causes((container.get("resources") or {}).get(part) or {}, f"{field}.resources.{part}")


def _mount_causes(mounts: list[dict[str, Any]], field: str, volume_names: set[Any]) -> Iterator[Cause]:
    paths: set[str] = set()
    for index, mount in enumerate(mounts):
        at, path = f"{field}[{index}]", mount.get("mountPath") or ""
        if mount.get("name") not in volume_names:
            yield f"{at}.name", f'Not found: "{mount.get("name")}"'
        if not path.startswith("/") or ".." in path.split("/"):
            yield f"{at}.mountPath", f'Invalid value: "{path}": must be absolute, without ".."'
        if path in paths:
            yield f"{at}.mountPath", f'Invalid value: "{path}": must be unique'
        paths.add(path)
        if mount.get("subPath") and not _is_safe_relative(mount["subPath"]):
            yield f"{at}.subPath", f'Invalid value: "{mount["subPath"]}": must be a relative path, without ".."'


def _is_safe_relative(path: str) -> bool:
    return path != "" and not path.startswith("/") and ".." not in path.split("/")
