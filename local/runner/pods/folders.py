"""Folders that containers share: opening a path in one without following its links, and removing one that a container has locked."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal


class UnsafePath(Exception):
    """A path leads out of its folder, or to something that cannot be mounted."""


def open_within(root: int | Path, path: str, make: Literal["folder", "file"] | None) -> int:
    """An O_PATH descriptor of `path` below the folder `root`, reached through no symbolic link. The caller closes it.

    The container is given this descriptor, not the path, so that another container of the same volume cannot swap a part of the path in
    between. `make` says what to make of a last part that is missing; the folders before it are made too.

    :raises UnsafePath: a part is `..`, a symbolic link or a special file.
    """
    at = os.open(root, os.O_PATH | os.O_DIRECTORY) if isinstance(root, Path) else os.dup(root)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for index, part in enumerate(parts):
        try:
            if part == "..":
                raise UnsafePath(f"{path!r} must not contain '..'")
            is_last = index == len(parts) - 1
            below = _open_part(at, part, make if is_last or make is None else "folder")
        finally:
            os.close(at)
        mode = os.fstat(below).st_mode
        if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
            os.close(below)
            raise UnsafePath(f"{path!r}: {part!r} is a symbolic link or a special file, which the laptop runner does not mount")
        at = below
    return at


def _open_part(folder: int, name: str, make: str | None) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        if make is None:
            raise
    if make == "file":
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=folder))
    else:
        os.mkdir(name, 0o777, dir_fd=folder)
    return os.open(name, flags, dir_fd=folder)


def remove_tree(path: Path) -> None:
    """Remove a folder and all below it, with or without rights to it; nothing if there is none. Never follows a symbolic link."""

    def open_up(_function: Callable[..., object], name: str, _error: object) -> None:
        # either this folder cannot be listed, or nothing can be removed from its parent
        failed = Path(name)
        for folder in (failed.parent, failed):
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o700)
        if failed.is_dir() and not failed.is_symlink():
            shutil.rmtree(failed, ignore_errors=True)
        else:
            failed.unlink(missing_ok=True)

    if path.exists():
        shutil.rmtree(path, onerror=open_up)
