"""The filter stage: decides which files of the algorithm may leave, and writes the list that publish keeps to.

It fails closed: without /data/filter/release.json nothing of /data/outputs is published, and any error leaves none.
"""

import hashlib
import heapq
import json
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from c2d_stages.content import LARGE, PartDigests
from c2d_stages.fields import Field
from c2d_stages.stage import CONTROL, Paths, StageError, StageLog, shown
from c2d_stages.tree import NotRegular, chunks, new_buffer, open_folder, open_regular, refusal
from c2d_stages.unixfs import FileCid

WITHHELD_LINES = 1000  # named one by one; the rest is a number
PATH_BYTES = 900  # of a path below /data: an S3 key has 1,024 bytes, and the job's prefix is a part of it
ENTRIES_PER_FILE = 10  # names looked at, for each file that may be released: a million tiny files must not cost minutes or memory
ALGORITHM_LOG = "logs/algorithm.log"


@dataclass(frozen=True)
class Limits:
    """files, totalBytes, fileBytes: of what is released from outputs (bytes: apparent size). depth: folders below outputs.
    nameBytes: of one name. logBytes: of all of logs; the beginning of algorithm.log comes first."""

    files: int
    totalBytes: int
    fileBytes: int
    depth: int
    nameBytes: int
    logBytes: int

    @classmethod
    def from_field(cls, limits: Field) -> "Limits":
        return cls(*(limits.get(name).integer(0) for name in ("files", "totalBytes", "fileBytes", "depth", "nameBytes", "logBytes")))


@dataclass
class Room:
    """What may still be released of one folder. `bytes_name`: the limit that its total size has in stage.json."""

    files: int
    bytes: int
    file_bytes: int
    bytes_name: str


@dataclass
class Release:
    """The verdict so far."""

    limits: Limits
    log: StageLog
    entries: int  # names that may still be looked at
    files: list[dict[str, Any]] = field(default_factory=list)
    withheld: list[dict[str, str]] = field(default_factory=list)
    withheld_count: int = 0
    buffer: memoryview = field(default_factory=new_buffer)

    def withhold(self, path: bytes, reason: str, count: int = 1) -> None:
        if self.withheld_count < WITHHELD_LINES:
            self.withheld.append({"path": shown(path)[:1000], "reason": reason})
            self.log.line(f"withheld {shown(path)[:1000]}: {reason}")
        self.withheld_count += count

    def as_json(self) -> bytes:
        # By code point, as publish and every reader sorts texts; outputs before logs, as in Ocean's result list.
        files = sorted(self.files, key=lambda file: (not file["path"].startswith("outputs/"), file["path"]))
        withheld = list(self.withheld)
        if self.withheld_count > len(withheld):
            withheld.append({"path": "", "reason": f"{self.withheld_count - len(withheld)} more are withheld"})
        return json.dumps({"version": 1, "files": files, "withheld": withheld}, ensure_ascii=False).encode()


def name_problem(name: bytes, path: bytes, limits: Limits) -> str | None:
    """What is wrong with a name, or None."""
    if len(name) > limits.nameBytes:
        return f"the name has {len(name)} bytes; {limits.nameBytes} are allowed (limits.nameBytes)"
    if len(path) > PATH_BYTES:
        return f"the path has {len(path)} bytes; {PATH_BYTES} are allowed"
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        return "the name is not valid UTF-8"
    if CONTROL.search(text):
        return "the name has control characters"
    return None


def smallest_names(folder: int, count: int) -> tuple[list[bytes], int]:
    """The first `count` names of a folder in sorted order, and how many others there are; in memory for `count`, whatever its size."""
    total = 0

    def names() -> Iterator[bytes]:
        nonlocal total
        with os.scandir(folder) as entries:
            for entry in entries:
                total += 1
                yield os.fsencode(entry.name)

    # At least one, for nsmallest(0) would not count the others.
    found = heapq.nsmallest(max(count, 1), names())[: max(count, 0)]
    return found, total - len(found)


def release_file(name: bytes, path: bytes, parent: int, kind: str, room: Room, release: Release, cut: bool = False) -> None:
    """Release one file or withhold it with the reason. cut: a file that is too large is released up to the limit."""
    try:
        fd, found = open_regular(name, parent, unlock=True)
    except NotRegular as error:
        return release.withhold(path, str(error))
    except OSError as error:
        return release.withhold(path, f"the file cannot be read ({error.strerror})")
    try:
        size = found.st_size
        if cut and size > room.bytes:
            size = room.bytes
        if room.files < 1:
            return release.withhold(path, f"more than {release.limits.files} files (limits.files)")
        if size > room.file_bytes:
            return release.withhold(path, f"{size} bytes; {room.file_bytes} are allowed for a file (limits.fileBytes)")
        if size > room.bytes:
            return release.withhold(path, f"{size} bytes; {room.bytes} are left of the total (limits.{room.bytes_name})")
        digest = hashlib.sha256()
        parts, cid = (PartDigests(size), FileCid()) if size > LARGE else (None, None)
        count = 0
        try:
            for chunk in chunks(fd, size, release.buffer):
                digest.update(chunk)
                if parts and cid:
                    parts.update(chunk)
                    cid.update(chunk)
                count += len(chunk)
        except OSError as error:
            return release.withhold(path, f"the file cannot be read ({error.strerror})")
        after = os.fstat(fd)
        if count != size or (after.st_size, after.st_mtime_ns, after.st_nlink) != (found.st_size, found.st_mtime_ns, 1):
            return release.withhold(path, "the file changed while it was read")
    finally:
        os.close(fd)
    entry: dict[str, Any] = {"path": path.decode(), "size": size, "sha256": digest.hexdigest(), "type": kind}
    if parts and cid:
        entry |= {"parts": parts.all(), "cid": cid.text()}
    if size < found.st_size:
        entry["cutFrom"] = found.st_size
        release.withhold(path, f"only the first {size} of {found.st_size} bytes are released (limits.{room.bytes_name})")
    release.files.append(entry)
    room.files -= 1
    room.bytes -= size


def release_folder(folder: int, path: bytes, depth: int, kind: str, room: Room, release: Release) -> None:
    """Release what a folder holds, in sorted order, and what its folders hold."""
    names, others = smallest_names(folder, release.entries)
    release.entries -= len(names)
    for name in names:
        below = path + b"/" + name
        if below == ALGORITHM_LOG.encode():
            continue  # it came first
        problem = name_problem(name, below, release.limits)
        if problem:
            release.withhold(below, problem)
            continue
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            release.withhold(below, f"the file cannot be read ({error.strerror})")
            continue
        if stat.S_ISDIR(found.st_mode):
            if depth >= release.limits.depth:
                release.withhold(below, f"a folder more than {release.limits.depth} deep (limits.depth)")
                continue
            try:
                inner = open_folder(name, folder, unlock=True)
            except OSError as error:
                release.withhold(below, f"the folder cannot be read ({error.strerror})")
                continue
            try:
                release_folder(inner, below, depth + 1, kind, room, release)
            finally:
                os.close(inner)
        elif reason := refusal(found):
            release.withhold(below, reason)
        else:
            release_file(name, below, folder, kind, room, release)
    if others:
        release.withhold(path, f"{others} more names in this folder; too many to look at", others)


def open_top(data: int, name: bytes) -> int | None:
    """/data/<name>, or None where there is none."""
    try:
        return open_folder(name, data, unlock=True)
    except FileNotFoundError:
        return None


def exists(name: bytes, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
        return True
    except FileNotFoundError:
        return False


def judge(data: str, limits: Limits, log: StageLog) -> Release:
    """Walk outputs and logs. Raises OSError when one of the two is there but cannot be listed."""
    release = Release(limits, log, entries=ENTRIES_PER_FILE * max(limits.files, 100))
    outputs_room = Room(limits.files, limits.totalBytes, limits.fileBytes, "totalBytes")
    logs_room = Room(limits.files, limits.logBytes, limits.logBytes, "logBytes")
    top = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        logs = open_top(top, b"logs")
        outputs = open_top(top, b"outputs")
        if logs is not None and exists(b"algorithm.log", logs):
            # First, so that nothing else can use up what the owner needs to understand a failure.
            release_file(b"algorithm.log", ALGORITHM_LOG.encode(), logs, "algorithmLog", logs_room, release, cut=True)
        if outputs is not None:
            release_folder(outputs, b"outputs", 0, "output", outputs_room, release)
        if logs is not None:
            release_folder(logs, b"logs", 0, "algorithmLog", logs_room, release)
    finally:
        os.close(top)
    return release


def release_files(paths: Paths) -> tuple[str, str]:
    """release.json and what it is called until it is complete."""
    place = f"{paths.data}/filter/release.json"
    return place, place + ".part"


def begin(paths: Paths) -> None:
    """Remove the list of an earlier run, before anything can go wrong. Raises OSError."""
    for old in release_files(paths):
        if os.path.lexists(old):
            os.unlink(old)


def work(stage_json: dict[str, Any], paths: Paths, log: StageLog) -> dict[str, Any]:
    place, part = release_files(paths)
    complete = False
    try:
        release = judge(paths.data, Limits.from_field(Field("", stage_json).get("limits")), log)
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(part, "xb") as file:
            file.write(release.as_json())
            file.flush()
            os.fsync(file.fileno())
        os.rename(part, place)
        size = sum(entry["size"] for entry in release.files)
        log.line(f"released {len(release.files)} files with {size} bytes, withheld {release.withheld_count}")
        complete = True
    except OSError as error:
        raise StageError(f"the outputs cannot be checked ({error.strerror}); nothing is released", "outputs") from None
    finally:
        if not complete:
            begin(paths)
    return {"released": len(release.files), "withheld": release.withheld_count, "bytes": size}
