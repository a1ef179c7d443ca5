"""What Linux says about processes, read from /proc."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (the state) on; None when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's clock ticks. A pid is used again, a pid with its start time is not."""
    fields = stat(pid)
    return fields[19] if fields else None


def is_alive(pid: int | None, started: str | None) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    fields = stat(pid) if pid else None
    return bool(fields) and fields[0] not in "ZX" and started in (None, fields[19])


def all_processes() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            yield int(entry.name), fields


def children_of(parent: int) -> list[int]:
    return [pid for pid, fields in all_processes() if int(fields[1]) == parent and fields[0] not in "ZX"]


def session(leader: int) -> list[int]:
    return [pid for pid, fields in all_processes() if int(fields[3]) == leader and fields[0] not in "ZX"]


def kill_session(leader: int | None, started: str | None) -> None:
    """SIGKILL to every process of a session that this stack began; nothing when the leader's pid belongs to another process by now."""
    if not leader:
        return
    fields = stat(leader)
    if fields and started not in (None, fields[19]):
        return
    for _ in range(100):  # again, for a member may have forked meanwhile
        members = session(leader)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.01)


def proportional_memory(pids: list[int]) -> int:
    """PSS of some processes in bytes: memory shared by several of them counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def descendants(parent: int) -> list[int]:
    tree: dict[int, list[int]] = {}
    for pid, fields in all_processes():
        tree.setdefault(int(fields[1]), []).append(pid)
    found, queue = [], [parent]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += tree.get(pid, [])
    return found
