"""The publish stage: brings what the filter released, and the logs, to the job's stores; the manifest makes it visible, all or nothing."""

import hashlib
import json
import mimetypes
import os
import re
import time
from dataclasses import dataclass
from typing import Any

from c2d_stages.confidential import Encryption
from c2d_stages.content import BytesContent, FileContent, digest_of, part_bytes
from c2d_stages.fields import Field
from c2d_stages.stage import CONTROL, Paths, StageError, StageLog
from c2d_stages.stores import Item, Progress, Run, Store, store_from_field
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
    parts: list[str] | None
    cid: str | None

    @classmethod
    def from_field(cls, file: Field) -> "Released":
        kind = file.get("type").choice(tuple(FOLDERS))
        path = file.get("path").text()
        names = path.split("/")
        if len(names) < 2 or names[0] != FOLDERS[kind] or any(name in ("", ".", "..") for name in names) or CONTROL.search(path):
            raise file.get("path").wrong(f"must be a plain path below {FOLDERS[kind]}/")
        if not SHA256.fullmatch(file.get("sha256").text()):
            raise file.get("sha256").wrong("must be 64 hex digits")
        size, parts = file.get("size").integer(0), None
        if file.get("parts").value is not None:
            parts = [digest.text() for digest in file.get("parts").items()]
            if len(parts) != -(-size // part_bytes(size)):
                raise file.get("parts").wrong("must have a digest for each part")
        cid = None if file.get("cid").value is None else file.get("cid").text()
        return cls(path, size, file.get("sha256").text(), kind, file.get("cutFrom").value is not None, parts, cid)


@dataclass(frozen=True)
class PublishInput:
    """stage.json of publish. adminLogs: the store of the admin logs. seconds: of the whole stage; retrySeconds: that one request may fail
    in a row; logBytes: of each log."""

    job: str
    filtered: bool
    store: Store
    adminLogs: Store
    encryption: Encryption | None
    logBytes: int
    seconds: int
    retrySeconds: int
    connections: int

    @classmethod
    def from_json(cls, value: dict[str, Any], paths: Paths) -> "PublishInput":
        top = Field("", value)
        store = store_from_field(top.get("store"), paths)
        return cls(
            top.get("job").text(),
            top.get("release").choice(("filtered", "logs")) == "filtered",
            store,
            store if top.get("adminLogs").value is None else store_from_field(top.get("adminLogs"), paths),
            Encryption.from_field(top.get("encryption")),
            top.get("limits").get("logBytes").integer(0),
            top.get("limits").get("seconds").integer(),
            top.get("limits").get("retrySeconds").integer(0, default=600),
            top.get("limits").get("connections").integer(1, default=8),
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


def item(path: str, kind: str, content: BytesContent | FileContent) -> Item:
    return Item(f"data/{path}", f"data/{path}", kind, content_type(path), content.size, str(content.sha256), content)


def released_item(file: Released, data: int) -> Item:
    """A file of the filter's list. Raises StageError when it is already seen not to be what the filter saw."""
    content = FileContent(data, file.path, file.size, file.sha256, file.parts, file.cid)
    try:
        with regular_below(data, file.path) as (_, found):
            if found.st_size != file.size and not (file.cut and found.st_size > file.size):
                raise content.changed()
    except (NotRegular, FileNotFoundError, NotADirectoryError):
        raise content.changed() from None
    return item(file.path, file.type, content)


def log_item(path: str, kind: str, data: int, most: int) -> Item | None:
    """A log that no filter judged, up to `most` bytes. None where it is missing or is no regular file."""
    try:
        with regular_below(data, path) as (fd, found):
            size = min(found.st_size, most)
            digest, read = hashlib.sha256(), 0
            for chunk in chunks(fd, size, new_buffer()):
                digest.update(chunk)
                read += len(chunk)
    except (NotRegular, FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return item(path, kind, FileContent(data, path, read, digest.hexdigest()))


def collect(wanted: PublishInput, data: int, log: StageLog) -> tuple[list[Item], list[dict[str, str]]]:
    """Everything that is to be published, in the order of the result list, and what is withheld. Closes the log, which is the last."""
    released, withheld = read_release(data) if wanted.filtered else ([], [{"path": "outputs", "reason": NO_FILTER}])
    items = [released_item(file, data) for file in released]
    logs = [] if wanted.filtered else [("logs/algorithm.log", "algorithmLog")]
    logs += [(f"adminlogs/{name}", kind) for name, kind in ADMIN_LOGS.items()]
    items += [found for path, kind in logs if (found := log_item(path, kind, data, wanted.logBytes))]
    log.line(f"{len(items) + 1} files, this log is the last; {len(withheld)} withheld" + ("" if wanted.filtered else f": {NO_FILTER}"))
    own = "".join(log.text or ()).encode()
    log.close()
    return [*items, item("adminlogs/publish.log", "publishLog", BytesContent(own))], withheld


def entry(index: int, item: Item, told: dict[str, Any]) -> dict[str, Any]:
    """A file's line in the manifest; `told`: what its store says of it."""
    how = {}
    if item.encrypted:
        stored = {"path": item.path, "size": item.content.size, "sha256": digest_of(item.content)}
        how = {"encrypted": item.encrypted, "stored": stored}
    return {
        "index": index,
        "path": item.name,
        "filename": item.name.split("/", 2)[2],
        "size": item.size,
        "sha256": item.sha256,
        "type": item.type,
        "contentType": content_type(item.name),
        **how,
        **told,
    }


def answer(manifest: bytes) -> dict[str, Any]:
    files = json.loads(manifest)["files"]
    return {"files": len(files), "bytes": sum(file["size"] for file in files), "manifestSha256": hashlib.sha256(manifest).hexdigest()}


def is_admin_log(item: Item) -> bool:
    return item.name.startswith("data/adminlogs/")


def work(stage_json: dict[str, Any], paths: Paths, log: StageLog) -> dict[str, Any]:
    wanted = PublishInput.from_json(stage_json, paths)
    encryption = wanted.encryption
    earlier = wanted.store.published(wanted.job, encryption.opened if encryption else bytes)
    if earlier is not None:
        log.line("already published")
        return answer(earlier)
    run = Run(wanted.job, log, Progress(log), time.monotonic() + wanted.seconds, wanted.seconds, wanted.retrySeconds, wanted.connections)
    complete = False
    data = os.open(paths.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        items, withheld = collect(wanted, data, log)
        if encryption:
            items = [encryption.item(index, item) for index, item in enumerate(items)]
        run.progress.begin(sum(item.content.size for item in items))
        told: dict[str, dict[str, Any]] = {}
        if wanted.adminLogs is not wanted.store:
            told |= wanted.adminLogs.put([i for i in items if is_admin_log(i)], run)
            told |= wanted.store.put([i for i in items if not is_admin_log(i)], run)
        else:
            told |= wanted.store.put(items, run)
        files = [entry(index, item, told.get(item.path, {})) for index, item in enumerate(items)]
        manifest = json.dumps({"version": 1, "job": wanted.job, "files": files, "withheld": withheld}, ensure_ascii=False).encode()
        wanted.store.commit(encryption.manifest(manifest) if encryption else manifest, run)
        complete = True
        stores = {"results": wanted.store.kept(), "adminLogs": wanted.adminLogs.kept()}
        return answer(manifest) | ({"stores": stores} if any(stores.values()) else {})
    except OSError as error:
        raise StageError(f"store: the results cannot be written ({error.strerror})", "store") from None
    finally:
        os.close(data)
        if not complete:
            wanted.store.abort()
