"""What ends a pod from outside its containers: its deadline, and the disk space that it takes."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.runner.containers import usage
from local.runner.pods.mounts import is_private
from local.runner.quantities import limit_of, quantity

DISK_POLL = 1.0
"""Seconds between two looks at a pod's disk space."""
KEEP_FREE = 512 << 20
"""Bytes that pods must leave free on the file system of the state directory. (The kubelet keeps a tenth.)"""


@dataclass(frozen=True)
class DiskLimit:
    """A folder that may take so many bytes, and what the pod's status says when it takes more."""

    folder: Path
    size: int
    message: str


async def deadline(seconds: Callable[[], int | None]) -> None:
    """Return when the pod's activeDeadlineSeconds have passed. A patch can shorten them, so they are read again and again."""
    begun = time.monotonic()
    while (left := (seconds() or math.inf) - (time.monotonic() - begun)) > 0:
        await asyncio.sleep(min(left, 1))


def disk_limits(spec: dict[str, Any], folder: Path) -> list[DiskLimit]:
    """The limits that a pod's spec sets on what lies in the pod's folder. A tmpfs has its limit from the kernel."""
    limits: list[DiskLimit] = []
    storage = [limit_of(container, "ephemeral-storage") for container in spec["containers"]]
    if None not in storage:
        total = sum(size or 0 for size in storage)
        limits.append(DiskLimit(folder, total, f"Pod ephemeral local storage usage exceeds the total limit of containers {total}. "))
    for volume in spec.get("volumes") or []:
        size = (volume.get("emptyDir") or {}).get("sizeLimit")
        if size is not None and not is_private(volume, spec):
            message = f'Usage of EmptyDir volume "{volume["name"]}" exceeds the limit "{size}". '
            limits.append(DiskLimit(folder / "volumes" / volume["name"], quantity(size), message))
    return limits


async def disk_exceeded(limits: list[DiskLimit], state: Path) -> str:
    """Return when a limit is exceeded or the file system of `state` is nearly full, with the message for the pod's status."""
    pause = DISK_POLL
    while True:
        await asyncio.sleep(pause)
        begun = time.monotonic()
        for limit in limits:
            if await asyncio.to_thread(usage.disk, limit.folder, limit.size) > limit.size:
                return limit.message
        file_system = os.statvfs(state)
        if file_system.f_bavail * file_system.f_frsize < KEEP_FREE:
            return "The node was low on resource: ephemeral-storage. "
        pause = max(DISK_POLL, 10 * (time.monotonic() - begun))
