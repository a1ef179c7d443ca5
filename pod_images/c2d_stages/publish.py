"""The publish stage: copies what the filter released, and the logs, to the job's store; the manifest makes it visible, all or nothing."""

import hashlib
import json
import mimetypes
import os
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from c2d_stages.fields import Field
from c2d_stages.stage import CONTROL, Paths, StageError, StageLog
from c2d_stages.stores import DirectoryStore, store_from_field
from c2d_stages.tree import NotRegular, chunks, new_buffer, regular_below

RELEASE_BYTES = 64 << 20
ADMIN_LOGS = {"configure.log": "configrationLog", "filter.log": "filteringLog"}  # (sic) Ocean's names; publish.log follows by itself
SHA256 = re.compile("[0-9a-f]{64}")
FOLDERS = {"output": "outputs", "algorithmLog": "logs"}
NO_FILTER = "the filter stage did not succeed, so no output is released"


@dataclass(frozen=True)
class Released:
    """One line of release.json."""

    path: str
    size: int
    sha256: str
    type: str
    cut: bool  # the file itself is longer

    @classmethod
    def from_field(cls, file: Field) -> "Released":
        kind = file.get("type").choice(tuple(FOLDERS))
        path = file.get("path").text()
        names = path.split("/")
        if len(names) < 2 or names[0] != FOLDERS[kind] or any(name in ("", ".", "..") for name in names) or CONTROL.search(path):
            raise file.get("path").wrong(f"must be a plain path below {FOLDERS[kind]}/")
        if not SHA256.fullmatch(file.get("sha256").text()):
            raise file.get("sha256").wrong("must be 64 hex digits")
        return cls(path, file.get("size").integer(0), file.get("sha256").text(), kind, file.get("cutFrom").value is not None)


@dataclass(frozen=True)
class PublishInput:
    """stage.json of publish. seconds: of the whole stage; logBytes: of each log."""

    job: str
    filtered: bool
    store: DirectoryStore
    logBytes: int
    seconds: int

    @classmethod
    def from_json(cls, value: dict[str, Any], paths: Paths) -> "PublishInput":
        top = Field("", value)
        return cls(
            top.get("job").text(),
            top.get("release").choice(("filtered", "logs")) == "filtered",
            store_from_field(top.get("store"), paths),
            top.get("limits").get("logBytes").integer(0),
            top.get("limits").get("seconds").integer(),
        )


def read_release(data: int) -> tuple[list[Released], list[dict[str, str]]]:
    """The files and the withheld lines of /data/filter/release.json. Raises StageError when it is missing or not what filter writes."""
    try:
        with regular_below(data, "filter/release.json") as (fd, found):
            if found.st_size > RELEASE_BYTES:
                raise StageError("filter/release.json: is too large", "filter/release.json")
            text = b"".join(bytes(chunk) for chunk in chunks(fd, found.st_size, new_buffer()))
    except (OSError, NotRegular):
        raise StageError("filter/release.json: is missing; nothing is published without the filter's list", "filter/release.json") from None
    try:
        top = Field("", json.loads(text))
    except (ValueError, RecursionError):
        raise StageError("filter/release.json: must be one JSON object", "filter/release.json") from None
    if top.get("version").value != 1:
        raise StageError("filter/release.json: version must be 1", "filter/release.json")
    files = [Released.from_field(file) for file in top.get("files").items()]
    if len({file.path for file in files}) != len(files):
        raise StageError("filter/release.json: lists a file twice", "filter/release.json")
    withheld = [{"path": str(line.get("path").value), "reason": line.get("reason").text()} for line in top.get("withheld").items()]
    return files, withheld


def content_type(path: str) -> str:
    """By the name's ending, from Python's own table: the system's would make manifests differ between images."""
    if path.endswith(".log"):
        return "text/plain"
    kind, coding = _TYPES.guess_type("/" + path.rsplit("/", 1)[-1])
    if coding is not None:
        return {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(
            coding, "application/octet-stream"
        )
    return kind or "application/octet-stream"


_TYPES = mimetypes.MimeTypes()


class Publication:
    """The files of one run, in the order of the result list."""

    def __init__(self, wanted: PublishInput, data: int):
        self.wanted, self.data = wanted, data
        self.files: list[dict[str, Any]] = []
        self._buffer = new_buffer()
        self._deadline = time.monotonic() + wanted.seconds

    def put(self, path: str, kind: str, content: Iterator[memoryview], size: int) -> tuple[int, str]:
        """Copy one file to the store while it is hashed; returns what was copied: size and sha256."""
        digest = hashlib.sha256()
        count = 0

        def checked() -> Iterator[memoryview]:
            nonlocal count
            for chunk in content:
                if time.monotonic() > self._deadline:
                    raise StageError(f"publishing took more than {self.wanted.seconds} s (limits.seconds)", "limits.seconds")
                digest.update(chunk)
                count += len(chunk)
                yield chunk

        kind_of_content = content_type(path)
        self.wanted.store.put(f"data/{path}", size, kind_of_content, checked())
        self.files.append(
            {
                "index": len(self.files),
                "path": f"data/{path}",
                "filename": path.split("/", 1)[1],
                "size": count,
                "sha256": digest.hexdigest(),
                "type": kind,
                "contentType": kind_of_content,
            }
        )
        return count, digest.hexdigest()

    def put_released(self, file: Released) -> None:
        """Publish a file of the filter's list. Raises StageError when it is not what the filter saw."""
        changed = StageError(f"{file.path}: is not what the filter released; nothing is published", file.path)
        try:
            with regular_below(self.data, file.path) as (fd, found):
                if found.st_size != file.size and not (file.cut and found.st_size > file.size):
                    raise changed
                copied = self.put(file.path, file.type, chunks(fd, file.size, self._buffer), file.size)
        except (NotRegular, FileNotFoundError, NotADirectoryError):
            raise changed from None
        if copied != (file.size, file.sha256):
            raise changed

    def put_log(self, path: str, kind: str) -> None:
        """Publish a log that no filter judged, up to logBytes. One that is missing or is no regular file is left out."""
        try:
            opened: AbstractContextManager[tuple[int, os.stat_result]] = regular_below(self.data, path)
            with opened as (fd, found):
                size = min(found.st_size, self.wanted.logBytes)
                self.put(path, kind, chunks(fd, size, self._buffer), size)
        except (NotRegular, FileNotFoundError, NotADirectoryError, PermissionError):
            pass

    def manifest(self, withheld: list[dict[str, str]]) -> bytes:
        value = {"version": 1, "job": self.wanted.job, "files": self.files, "withheld": withheld}
        return json.dumps(value, ensure_ascii=False).encode()


def answer(manifest: bytes) -> dict[str, Any]:
    files = json.loads(manifest)["files"]
    return {"files": len(files), "bytes": sum(file["size"] for file in files), "manifestSha256": hashlib.sha256(manifest).hexdigest()}


def published(store: DirectoryStore, job: str) -> bytes | None:
    """The manifest of an earlier run of this job, if every file is as it says. Raises StageError when the store is another job's."""
    manifest = store.manifest()
    if manifest is None:
        return None
    try:
        value = json.loads(manifest)
        owner, files = value["job"], value["files"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if owner != job:
        raise StageError("store: holds the results of another job", "store")
    buffer = new_buffer()
    try:
        for file in files:
            digest = hashlib.sha256()
            for chunk in store.read(file["path"], buffer):
                digest.update(chunk)
            if digest.hexdigest() != file["sha256"]:
                return None
    except (OSError, NotRegular, KeyError, TypeError):
        return None
    return manifest


def work(stage_json: dict[str, Any], paths: Paths, log: StageLog) -> dict[str, Any]:
    wanted = PublishInput.from_json(stage_json, paths)
    earlier = published(wanted.store, wanted.job)
    if earlier is not None:
        log.line("already published")
        return answer(earlier)
    complete = False
    data = os.open(paths.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        publication = Publication(wanted, data)
        released, withheld = read_release(data) if wanted.filtered else ([], [{"path": "outputs", "reason": NO_FILTER}])
        wanted.store.begin()
        for file in released:
            publication.put_released(file)
        if not wanted.filtered:
            publication.put_log("logs/algorithm.log", "algorithmLog")
        for name, kind in ADMIN_LOGS.items():
            publication.put_log(f"adminlogs/{name}", kind)
        log.line(
            f"{len(publication.files) + 1} files, this log is the last; {len(withheld)} withheld"
            + ("" if wanted.filtered else f": {NO_FILTER}")
        )
        own = "".join(log.text or ()).encode()
        log.close()
        publication.put("adminlogs/publish.log", "publishLog", iter([memoryview(own)]), len(own))
        manifest = publication.manifest(withheld)
        wanted.store.commit(manifest)
        complete = True
        return answer(manifest)
    except OSError as error:
        raise StageError(f"store: the results cannot be written ({error.strerror})", "store") from None
    finally:
        os.close(data)
        if not complete:
            wanted.store.abort()
