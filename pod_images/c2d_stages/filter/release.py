"""Which files of a job may leave: a walk through /data/outputs and /data/logs, which hold whatever the algorithm made."""

import hashlib
import heapq
import os
import stat
from collections.abc import Iterator
from typing import Literal, NamedTuple

from c2d.contract import FilterLimits, Release, ReleasedFile, Withheld
from c2d_stages.common.digests import LARGE, PartDigests
from c2d_stages.common.log import StageLog, has_controls, shown
from c2d_stages.common.unixfs import FileCid
from c2d_stages.common.untrusted_files import NotRegular, chunks, new_buffer, open_folder, open_regular, refusal

WITHHELD_LINES = 1000  # files named one by one; the others are only counted
PATH_BYTES = 900  # of a path below /data: an S3 key has at most 1,024 bytes, and the job's prefix is a part of it
NAMES_PER_FILE = 10  # names examined for each file that limits.files allows: a million tiny files must not cost minutes or memory
ALGORITHM_LOG = "logs/algorithm.log"

Kind = Literal["output", "algorithmLog"]


class Room:
    """What may still be released from one folder. `bytes_limit`: the name of the limit of its total size in stage.json."""

    def __init__(self, files: int, bytes: int, file_bytes: int, bytes_limit: str):
        self.files, self.bytes, self.file_bytes, self.bytes_limit = files, bytes, file_bytes, bytes_limit


class Verdict:
    """What has been decided so far."""

    def __init__(self, limits: FilterLimits, log: StageLog):
        self.limits, self.log = limits, log
        self.names_left = NAMES_PER_FILE * max(limits.files, 100)  # that may still be examined
        self.files: list[ReleasedFile] = []
        self.withheld: list[Withheld] = []
        self.withheld_count = 0
        self.buffer = new_buffer()

    def withhold(self, path: bytes, reason: str, count: int = 1) -> None:
        if self.withheld_count < WITHHELD_LINES:
            self.withheld.append(Withheld(path=shown(path)[:1000], reason=reason))
            self.log.line(f"withheld {shown(path)[:1000]}: {reason}")
        self.withheld_count += count

    def as_release(self) -> Release:
        # By code point, as publish and every reader sorts; outputs before logs, as in Ocean's result list.
        files = sorted(self.files, key=lambda file: (not file.path.startswith("outputs/"), file.path))
        withheld = list(self.withheld)
        if self.withheld_count > len(withheld):
            withheld.append(Withheld(path="", reason=f"{self.withheld_count - len(withheld)} more are withheld"))
        return Release(files=tuple(files), withheld=tuple(withheld))


def judge(data: str, limits: FilterLimits, log: StageLog) -> Verdict:
    """Walk outputs and logs below the folder `data`. Raises OSError if one of them exists but cannot be listed."""
    verdict = Verdict(limits, log)
    outputs_room = Room(limits.files, limits.totalBytes, limits.fileBytes, "totalBytes")
    logs_room = Room(limits.files, limits.logBytes, limits.logBytes, "logBytes")
    top = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        logs = _open_if_exists(b"logs", top)
        outputs = _open_if_exists(b"outputs", top)
        if logs is not None and _exists(b"algorithm.log", logs):
            # First, so that nothing else can use up the room for what the owner needs to understand a failure.
            release_file(b"algorithm.log", ALGORITHM_LOG.encode(), logs, "algorithmLog", logs_room, verdict, cut=True)
        if outputs is not None:
            release_folder(outputs, b"outputs", 0, "output", outputs_room, verdict)
        if logs is not None:
            release_folder(logs, b"logs", 0, "algorithmLog", logs_room, verdict)
    finally:
        os.close(top)
    return verdict


def release_folder(folder: int, path: bytes, depth: int, kind: Kind, room: Room, verdict: Verdict) -> None:
    """Release the files of a folder, in sorted order, and those of its folders."""
    names, others = smallest_names(folder, verdict.names_left)
    verdict.names_left -= len(names)
    for name in names:
        below = path + b"/" + name
        if below == ALGORITHM_LOG.encode():
            continue  # already released
        problem = name_problem(name, below, verdict.limits)
        if problem:
            verdict.withhold(below, problem)
            continue
        try:
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            verdict.withhold(below, f"the file cannot be read ({error.strerror})")
            continue
        if stat.S_ISDIR(status.st_mode):
            _release_subfolder(name, folder, below, depth + 1, kind, room, verdict)
        elif reason := refusal(status):
            verdict.withhold(below, reason)
        else:
            release_file(name, below, folder, kind, room, verdict)
    if others:
        verdict.withhold(path, f"{others} more names in this folder; too many to examine", others)


def _release_subfolder(name: bytes, parent: int, path: bytes, depth: int, kind: Kind, room: Room, verdict: Verdict) -> None:
    if depth > verdict.limits.depth:
        return verdict.withhold(path, f"a folder more than {verdict.limits.depth} deep (limits.depth)")
    try:
        folder = open_folder(name, parent, unlock=True)
    except OSError as error:
        return verdict.withhold(path, f"the folder cannot be read ({error.strerror})")
    try:
        release_folder(folder, path, depth, kind, room, verdict)
    finally:
        os.close(folder)


def release_file(name: bytes, path: bytes, parent: int, kind: Kind, room: Room, verdict: Verdict, cut: bool = False) -> None:
    """Release one file, or withhold it with the reason.

    :param cut: release the beginning of a file that is too large.
    """
    try:
        fd, status = open_regular(name, parent, unlock=True)
    except NotRegular as error:
        return verdict.withhold(path, str(error))
    except OSError as error:
        return verdict.withhold(path, f"the file cannot be read ({error.strerror})")
    try:
        size = min(status.st_size, room.bytes) if cut else status.st_size
        problem = _size_problem(size, room, verdict.limits)
        if problem:
            return verdict.withhold(path, problem)
        try:
            digests = _digests(fd, size, verdict.buffer)
        except OSError as error:
            return verdict.withhold(path, f"the file cannot be read ({error.strerror})")
        after = os.fstat(fd)
        if digests is None or (after.st_size, after.st_mtime_ns, after.st_nlink) != (status.st_size, status.st_mtime_ns, 1):
            return verdict.withhold(path, "the file changed while it was read")
    finally:
        os.close(fd)
    cut_from = status.st_size if size < status.st_size else None
    if cut_from is not None:
        verdict.withhold(path, f"only the first {size} of {cut_from} bytes are released (limits.{room.bytes_limit})")
    verdict.files.append(
        ReleasedFile(
            path=path.decode(), size=size, sha256=digests.sha256, type=kind, parts=digests.parts, cid=digests.cid, cutFrom=cut_from
        )
    )
    room.files -= 1
    room.bytes -= size


def _size_problem(size: int, room: Room, limits: FilterLimits) -> str | None:
    """Why there is no room for a file of this size; None if there is."""
    if room.files < 1:
        return f"more than {limits.files} files (limits.files)"
    if size > room.file_bytes:
        return f"{size} bytes; {room.file_bytes} are allowed for a file (limits.fileBytes)"
    if size > room.bytes:
        return f"{size} bytes; {room.bytes} are left of the total (limits.{room.bytes_limit})"
    return None


class Digests(NamedTuple):
    """sha256: of a file. parts, cid: of a large file only."""

    sha256: str
    parts: tuple[str, ...] | None
    cid: str | None


def _digests(fd: int, size: int, buffer: memoryview) -> Digests | None:
    """The digests of the first `size` bytes; None if the file ends before. Raises OSError."""
    digest, count = hashlib.sha256(), 0
    parts, cid = (PartDigests(size), FileCid()) if size > LARGE else (None, None)
    for chunk in chunks(fd, size, buffer):
        digest.update(chunk)
        if parts and cid:
            parts.update(chunk)
            cid.update(chunk)
        count += len(chunk)
    if count != size:
        return None
    return Digests(digest.hexdigest(), tuple(parts.all()) if parts else None, cid.text() if cid else None)


def name_problem(name: bytes, path: bytes, limits: FilterLimits) -> str | None:
    """What is wrong with a name; None if nothing is."""
    if len(name) > limits.nameBytes:
        return f"the name has {len(name)} bytes; {limits.nameBytes} are allowed (limits.nameBytes)"
    if len(path) > PATH_BYTES:
        return f"the path has {len(path)} bytes; {PATH_BYTES} are allowed"
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not valid UTF-8"
    if has_controls(text):
        return "the name has control characters"
    return None


def smallest_names(folder: int, count: int) -> tuple[list[bytes], int]:
    """The first `count` names of a folder in sorted order, and how many others exist. Holds `count` names in memory."""
    total = 0

    def names() -> Iterator[bytes]:
        nonlocal total
        with os.scandir(folder) as entries:
            for entry in entries:
                total += 1
                yield os.fsencode(entry.name)

    # At least one, for nsmallest(0) would not read the names that are counted.
    smallest = heapq.nsmallest(max(count, 1), names())[: max(count, 0)]
    return smallest, total - len(smallest)


def _open_if_exists(name: bytes, parent: int) -> int | None:
    try:
        return open_folder(name, parent, unlock=True)
    except FileNotFoundError:
        return None


def _exists(name: bytes, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False
