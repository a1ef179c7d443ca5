"""A container's volumeMounts, opened on the host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.runner.containers.view import Mount, is_within
from local.runner.pods.environment import expand
from local.runner.pods.folders import UnsafePath, open_within
from local.runner.quantities import limit_of, quantity

DEFAULT_SCRATCH = 1 << 30
"""Bytes of a tmpfs (an emptyDir, /tmp) if nothing limits it."""


class MountFailed(Exception):
    """A volumeMount cannot be opened. The message is that of the container's status."""


def open_mounts(
    container: dict[str, Any], spec: dict[str, Any], env: dict[str, str], folder_of: Callable[[dict[str, Any]], Path]
) -> tuple[Mount, ...]:
    """The mounts of one container, the outer ones first. The caller closes them.

    :param env: the container's variables, for subPathExpr.
    :param folder_of: where a volume lies on the host.
    :raises MountFailed: a path leads out of its volume, or does not exist in a volume that cannot be written.
    """
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    mounts: list[Mount] = []
    with contextlib.ExitStack() as opened:
        for entry in sorted(container.get("volumeMounts") or [], key=_depth):
            volume, path = volumes[entry["name"]], os.path.normpath(entry["mountPath"])
            is_writable = "emptyDir" in volume or "persistentVolumeClaim" in volume
            read_only = bool(entry.get("readOnly")) or not is_writable
            sub_path = entry.get("subPath") or expand(entry.get("subPathExpr") or "", env)
            try:
                if is_private(volume, spec):
                    mount = Mount(path, size=_size(volume, container), read_only=read_only)
                else:
                    fd = open_within(folder_of(volume), sub_path, "folder" if is_writable else None)
                    opened.callback(os.close, fd)
                    mount = Mount(path, fd=fd, read_only=read_only)
                _make_mount_point(mount, mounts)
            except (UnsafePath, OSError) as error:
                raise MountFailed(f"failed to prepare subPath for volumeMount {entry['name']!r}: {error}") from error
            mounts.append(mount)
        opened.pop_all()  # they stay open
    return tuple(mounts)


def is_private(volume: dict[str, Any], spec: dict[str, Any]) -> bool:
    """Whether an emptyDir can be a tmpfs of one container: a single mount uses it, all of it. Others are folders whose size is watched."""
    if volume.get("emptyDir") is None:
        return False
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    uses = [mount for container in containers for mount in container.get("volumeMounts") or [] if mount["name"] == volume["name"]]
    return len(uses) == 1 and not uses[0].get("subPath") and not uses[0].get("subPathExpr")


def scratch_size(container: dict[str, Any]) -> int:
    """Bytes of a tmpfs for which only the container's ephemeral-storage sets a limit."""
    limit = limit_of(container, "ephemeral-storage")
    return DEFAULT_SCRATCH if limit is None else limit


def _size(volume: dict[str, Any], container: dict[str, Any]) -> int:
    limit = volume["emptyDir"].get("sizeLimit")
    return quantity(limit) if limit is not None else scratch_size(container)


def _depth(entry: dict[str, Any]) -> int:
    return os.path.normpath(str(entry["mountPath"])).count("/")


def _make_mount_point(mount: Mount, outer: list[Mount]) -> None:
    """Make the place for a mount that lies within another one. bubblewrap would follow links that a container has put there."""
    parents = [other for other in outer if other.fd is not None and is_within(mount.path, other.path) and not other.read_only]
    if not parents:
        return
    parent = max(parents, key=lambda other: len(other.path))
    assert parent.fd is not None
    is_folder = mount.fd is None or Path(f"/proc/self/fd/{mount.fd}").is_dir()
    os.close(open_within(parent.fd, os.path.relpath(mount.path, parent.path), "folder" if is_folder else "file"))
