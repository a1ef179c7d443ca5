"""What a container uses of the machine, as far as an ordinary user can measure it.

This is read from /proc ten times a second for each container. psutil scans all processes of the machine to find the children of one, and
pathlib is several times slower than os here.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(root: int) -> list[int]:
    """A process and its descendants. Nothing in a PID namespace can leave this tree: orphans become children of process 1."""
    tree = [root]
    for pid in tree:  # grows meanwhile
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    tree += map(int, file.read().split())
    return tree


def memory(pids: list[int], limit: int) -> int:
    """Bytes of private memory. Pages that processes share after a fork count once; to find them is slow and only done above `limit`."""
    total = sum(_private(pid) for pid in pids)
    return total if total <= limit else sum(_proportional(pid) for pid in pids)


def _private(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/statm") as file:
            _, resident, shared = file.read().split()[:3]
        return (int(resident) - int(shared)) * PAGE
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _proportional(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            lines = (line.split() for line in file)
            return sum(int(words[1]) * 1024 for words in lines if words[0] in ("Pss_Anon:", "Pss_Shmem:"))
    except (FileNotFoundError, ProcessLookupError):
        return 0
    except PermissionError:  # the process has made itself unreadable
        return _private(pid)


def threads(pids: list[int]) -> int:
    """The number of their threads, which is what RLIMIT_NPROC counts."""
    count = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def disk(folder: Path, enough: int) -> int:
    """Bytes of the blocks that the files below a folder take; holes take none. Stops counting at `enough`."""
    total, folders = 0, [str(folder)]
    while folders and total <= enough:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    total += max(status.st_blocks * 512, 512)
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            continue
    return total


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed on this machine because memory ran out."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
