"""Processes of this machine, read from /proc.

Unlike psutil's `create_time`, the start time here does not change when the clock is set, so it can be stored in a file.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psutil


def stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third one (the state) on; None if there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None


def start_time(pid: int) -> str | None:
    """When a process started, in the kernel's clock ticks. Pids are reused; a pid and a start time identify one process."""
    fields = stat(pid)
    return fields[19] if fields else None


def is_alive(pid: int, started: str | None) -> bool:
    """Whether the process with this pid and start time still runs. A zombie does not."""
    fields = stat(pid)
    return fields is not None and fields[0] not in "ZX" and started in (None, fields[19])


def all_processes() -> Iterator[tuple[int, list[str]]]:
    """The pid and the fields of :func:`stat` of every process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat(int(entry.name))):
            yield int(entry.name), fields


def children_of(parent: int) -> list[int]:
    """The pids of a process's children, without zombies."""
    return [pid for pid, fields in all_processes() if int(fields[1]) == parent and fields[0] not in "ZX"]


def session(leader: int) -> list[int]:
    """The pids of all processes in the session that `leader` started, without zombies."""
    return [pid for pid, fields in all_processes() if int(fields[3]) == leader and fields[0] not in "ZX"]


def kill_session(leader: int | None, started: str | None) -> None:
    """Send SIGKILL to every process of a session. Does nothing if the leader's pid belongs to another process by now."""
    if not leader:
        return
    fields = stat(leader)
    if fields and started not in (None, fields[19]):
        return
    for _ in range(100):  # repeated, because a member may have forked in the meantime
        members = session(leader)
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """A process, its children, their children and so on; empty if it has ended."""
    try:
        parent = psutil.Process(pid)
        return [pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def running_time(pid: int) -> timedelta:
    """How long a process has been running, in whole seconds; zero if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return timedelta(seconds=round(time.time() - psutil.Process(pid).create_time()))
    return timedelta()


def proportional_memory(pids: list[int]) -> int:
    """The memory (PSS) of some processes in bytes. Memory that several of them share counts once."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            total += psutil.Process(pid).memory_full_info().pss
    return total
