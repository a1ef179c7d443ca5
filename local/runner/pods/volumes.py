"""A pod's volumes on the host."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from local.runner.pods.environment import Lookup
from local.runner.store.objects import Object
from local.runner.store.store import Store


class VolumeNotReady(Exception):
    """A volume cannot be made yet. The message is that of the FailedMount event."""


def claim_names(spec: dict[str, Any]) -> list[str]:
    """The claims that a pod mounts."""
    return [volume["persistentVolumeClaim"]["claimName"] for volume in spec.get("volumes") or [] if volume.get("persistentVolumeClaim")]


def make_volumes(pod: Object, store: Store, folder: Path) -> None:
    """Make the pod's volumes in `folder`, each under its name; a claim has a folder of its own elsewhere.

    :raises VolumeNotReady: a Secret or ConfigMap, or a key of it, is missing.
    """
    for volume in pod["spec"].get("volumes") or []:
        if volume.get("persistentVolumeClaim"):
            continue
        place = folder / volume["name"]
        place.mkdir(exist_ok=True)
        if volume.get("emptyDir") is not None:
            place.chmod(0o777)
        else:
            _write_files(volume, pod["metadata"]["namespace"], store, place)


def lookup_in(store: Store, namespace: str) -> Lookup:
    """The Secrets and ConfigMaps of a namespace as text, for environment variables."""

    def lookup(plural: str, name: str) -> Mapping[str, str] | None:
        data = _data(store, plural, namespace, name)
        return None if data is None else {key: value.decode(errors="surrogateescape") for key, value in data.items()}

    return lookup


def _data(store: Store, plural: str, namespace: str, name: str) -> dict[str, bytes] | None:
    obj = store.find(plural, namespace, name)
    if obj is None:
        return None
    data = obj.get("data") or {}
    if plural == "secrets":
        return {key: b64decode(value) for key, value in data.items()}
    binary = {key: b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in data.items()} | binary


def _write_files(volume: dict[str, Any], namespace: str, store: Store, folder: Path) -> None:
    source = volume.get("secret") or volume.get("configMap") or {}
    for path, mode, content in _files(volume, namespace, store):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # an earlier try may have left it read-only
        target.write_bytes(content)
        target.chmod(mode or source.get("defaultMode") or 0o644)


def _files(volume: dict[str, Any], namespace: str, store: Store) -> Iterator[tuple[str, int | None, bytes]]:
    """(path, mode, content) of each file in a volume of type secret or configMap."""
    if volume.get("secret") is not None:
        source, plural, label, name = volume["secret"], "secrets", "secret", volume["secret"].get("secretName")
    else:
        source, plural, label, name = volume["configMap"], "configmaps", "configmap", volume["configMap"].get("name")
    failed = f'MountVolume.SetUp failed for volume "{volume["name"]}" : '
    data = _data(store, plural, namespace, name)
    if data is None and not source.get("optional"):
        raise VolumeNotReady(f'{failed}{label} "{name}" not found')
    data = data or {}
    for item in source.get("items") or [{"key": key, "path": key} for key in data]:
        if item["key"] in data:
            yield item["path"], item.get("mode"), data[item["key"]]
        elif not source.get("optional"):
            raise VolumeNotReady(f"{failed}references non-existent {label} key: {item['key']}")
