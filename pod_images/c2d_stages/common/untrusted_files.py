"""Opening files that untrusted code made: relative to folders that are already open, never through a link, never blocking."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

BUFFER = 1 << 20
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

KINDS = {
    stat.S_IFLNK: "a symbolic link is not released; write a regular file",
    stat.S_IFIFO: "a FIFO is not released; write a regular file",
    stat.S_IFSOCK: "a socket is not released; write a regular file",
    stat.S_IFBLK: "a device is not released; write a regular file",
    stat.S_IFCHR: "a device is not released; write a regular file",
    stat.S_IFDIR: "a folder was found where a file was expected",
}


class NotRegular(Exception):
    """Not a regular file with one name. The text says what it is."""


def refusal(status: os.stat_result) -> str | None:
    """Why this is not a regular file with one link; None if it is one."""
    if not stat.S_ISREG(status.st_mode):
        return KINDS.get(stat.S_IFMT(status.st_mode), "only a regular file is released")
    if status.st_nlink != 1:
        return "a hard link (a file with more than one name) is not released; write a copy"
    return None


def _open(name: bytes, parent: int, flags: int, unlock: int) -> int:
    """openat without following a link.

    :param unlock: mode bits to add if the same user removed them; 0 changes nothing.
    """
    try:
        return os.open(name, flags | SAFE, dir_fd=parent)
    except PermissionError:
        if not unlock:
            raise
    path = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        # Linux has no fchmodat that does not follow links. Through the descriptor, nobody can swap the file in between.
        if not stat.S_ISLNK(os.fstat(path).st_mode):
            os.chmod(f"/proc/self/fd/{path}", stat.S_IMODE(os.fstat(path).st_mode) | unlock)
    finally:
        os.close(path)
    return os.open(name, flags | SAFE, dir_fd=parent)


def open_folder(name: bytes, parent: int, unlock: bool = False) -> int:
    """A descriptor of a folder that is not a link. Raises OSError."""
    return _open(name, parent, os.O_RDONLY | os.O_DIRECTORY, 0o500 if unlock else 0)


def open_regular(name: bytes, parent: int, unlock: bool = False) -> tuple[int, os.stat_result]:
    """A descriptor for reading, and its status. Raises NotRegular (if possible before it opens anything) or OSError."""
    reason = refusal(os.stat(name, dir_fd=parent, follow_symlinks=False))
    if reason:
        raise NotRegular(reason)
    fd = _open(name, parent, os.O_RDONLY, 0o400 if unlock else 0)
    status = os.fstat(fd)
    reason = refusal(status)  # again: it may have changed before it was opened
    if reason:
        os.close(fd)
        raise NotRegular(reason)
    return fd, status


@contextmanager
def regular_below(root: int, path: str) -> Iterator[tuple[int, os.stat_result]]:
    """Open root/path for reading. No part of the path may be a link. Raises NotRegular or OSError."""
    *folders, name = os.fsencode(path).split(b"/")
    parent = os.dup(root)
    try:
        for folder in folders:
            below = open_folder(folder, parent)
            os.close(parent)
            parent = below
        fd, status = open_regular(name, parent)
    finally:
        os.close(parent)
    try:
        yield fd, status
    finally:
        os.close(fd)


def chunks(fd: int, size: int, buffer: memoryview) -> Iterator[memoryview]:
    """The next `size` bytes of the descriptor, or fewer if the file ends. Each piece overwrites the one before it."""
    while size > 0:
        count = os.readv(fd, [buffer[: min(size, len(buffer))]])
        if count == 0:
            return
        size -= count
        yield buffer[:count]


def new_buffer() -> memoryview:
    return memoryview(bytearray(BUFFER))
