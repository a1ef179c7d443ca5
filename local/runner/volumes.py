"""A pod's volumes on the host, and a way to a place in one that no symbolic link can lead astray."""

from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path
from typing import Any

from .expansion import ConfigMissing, Lookup, pod_field
from .objects import Object, Store


class VolumeNotReady(Exception):
    """A volume cannot be made yet; the message is the one of the FailedMount event."""


class UnsafePath(Exception):
    """A subPath or mount point would leave its volume."""


def lookup_in(store: Store, namespace: str) -> Lookup:
    """Secrets and ConfigMaps of a namespace as plain text, for environment variables."""

    def lookup(plural: str, name: str) -> dict[str, str] | None:
        data = file_data(store, plural, namespace, name)
        return None if data is None else {key: value.decode(errors="surrogateescape") for key, value in data.items()}

    return lookup


def file_data(store: Store, plural: str, namespace: str, name: str) -> dict[str, bytes] | None:
    obj = store.find(plural, namespace, name)
    if obj is None:
        return None
    if plural == "secrets":
        return {key: b64decode(value) for key, value in (obj.get("data") or {}).items()}
    plain = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return plain | {key: b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def write_files(volume: dict[str, Any], pod: Object, store: Store, folder: Path) -> None:
    """Fills `folder` with the files of a secret, configMap, downwardAPI or projected volume. Raises VolumeNotReady."""
    name = volume["name"]
    projected = volume.get("projected")
    sources = projected.get("sources") or [] if projected else [volume]
    default = (projected or volume.get("secret") or volume.get("configMap") or volume.get("downwardAPI") or {}).get("defaultMode", 0o644)
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources:
        for path, mode, content in _files(source, pod, store, name):
            if path.startswith("/") or ".." in path.split("/"):
                raise VolumeNotReady(f'MountVolume.SetUp failed for volume "{name}" : invalid path {path!r}')
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode or default)


def _files(source: dict[str, Any], pod: Object, store: Store, volume: str) -> list[tuple[str, int | None, bytes]]:
    namespace = pod["metadata"]["namespace"]
    for field, plural, label in (("secret", "secrets", "secret"), ("configMap", "configmaps", "configmap")):
        if ref := source.get(field):
            name = ref.get("secretName") or ref.get("name")
            data = file_data(store, plural, namespace, name)
            if data is None and not ref.get("optional"):
                raise VolumeNotReady(f'MountVolume.SetUp failed for volume "{volume}" : {label} "{name}" not found')
            data = data or {}
            if not ref.get("items"):
                return [(key, None, content) for key, content in data.items()]
            missing = [item["key"] for item in ref["items"] if item["key"] not in data]
            if missing and not ref.get("optional"):
                raise VolumeNotReady(f'MountVolume.SetUp failed for volume "{volume}" : references non-existent {label} key: {missing[0]}')
            return [(item["path"], item.get("mode"), data[item["key"]]) for item in ref["items"] if item["key"] in data]
    if ref := source.get("downwardAPI"):
        try:
            items = [item for item in ref.get("items") or [] if item.get("fieldRef")]
            return [(item["path"], item.get("mode"), pod_field(pod, item["fieldRef"]["fieldPath"]).encode()) for item in items]
        except ConfigMissing as error:
            raise VolumeNotReady(f'MountVolume.SetUp failed for volume "{volume}" : {error}') from error
    raise VolumeNotReady(f'MountVolume.SetUp failed for volume "{volume}" : the laptop runner has no source {", ".join(source)}')


def open_within(root: int | Path, path: str, make: str | None) -> int:
    """An O_PATH descriptor of `path` below `root`, going through no symbolic link. The caller closes it.

    `make`: "folder" or "file" makes what is missing; None makes nothing. Raises UnsafePath for a link or `..`, OSError otherwise.
    A descriptor, not a path, is what the mount is made from, so that a container that shares the volume cannot swap a part in between.
    """
    at = os.open(root, os.O_PATH | os.O_DIRECTORY) if isinstance(root, Path) else os.dup(root)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        try:
            if part == "..":
                raise UnsafePath(f"{path!r} must not contain '..'")
            flags = os.O_PATH | os.O_NOFOLLOW
            try:
                below = os.open(part, flags, dir_fd=at)
            except FileNotFoundError:
                if make is None:
                    raise
                if last and make == "file":
                    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=at))
                else:
                    os.mkdir(part, 0o777, dir_fd=at)
                below = os.open(part, flags, dir_fd=at)
            kind = os.fstat(below).st_mode & 0o170000
            if kind == 0o120000 or (kind not in (0o040000, 0o100000)):
                os.close(below)
                raise UnsafePath(f"{path!r}: {part!r} is a symbolic link or a special file, which the laptop runner does not mount")
        finally:
            os.close(at)
        at = below
    return at
