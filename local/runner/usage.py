"""What a container uses of the machine, as far as an ordinary user can measure it."""

# this module reads /proc many times a second; os is several times faster than pathlib there
from __future__ import annotations

import contextlib
import os
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")


def processes(root: int) -> list[int]:
    """A process and all that descend from it. In a PID namespace nothing can leave this tree: orphans go to its process 1."""
    found, at = [root], 0
    while at < len(found):
        try:
            for thread in os.listdir(f"/proc/{found[at]}/task"):
                with open(f"/proc/{found[at]}/task/{thread}/children") as file:
                    found += map(int, file.read().split())
        except (FileNotFoundError, ProcessLookupError):
            pass
        at += 1
    return found


def memory(pids: list[int], limit: int) -> int:
    """Bytes of memory of their own. Pages shared after a fork are counted once, but only looked at closely when `limit` seems passed."""
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
    """Tasks, as a limit on processes counts them."""
    count = 0
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            count += len(os.listdir(f"/proc/{pid}/task"))
    return count


def disk(folder: Path, enough: int) -> int:
    """Bytes that the files below a folder take, in blocks and not in length: holes cost nothing. Stops counting at `enough`."""
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
    """How often the kernel has killed something on this machine for want of memory."""
    try:
        with open("/proc/vmstat") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("oom_kill ")), 0)
    except OSError:
        return 0
