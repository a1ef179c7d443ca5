"""The files to publish: what the filter released, and the logs."""

import hashlib
import json
import mimetypes

from c2d.contract import LOGS, FileType, Release, ReleasedFile, Withheld, folder_of
from c2d.errors import InvalidField
from c2d.shared.records import JsonObject
from c2d_stages.common.digests import part_bytes
from c2d_stages.common.log import StageLog, has_controls
from c2d_stages.common.stage import StageError
from c2d_stages.common.untrusted_files import NotRegular, chunks, new_buffer, regular_below
from c2d_stages.publish.content import BytesContent, Content, FileContent
from c2d_stages.publish.store import Item

RELEASE = "filter/release.json"
RELEASE_BYTES = 64 << 20
NO_FILTER = "the filter stage did not succeed, so no output is released"


def collect(filtered: bool, log_bytes: int, data: int, log: StageLog) -> tuple[list[Item], tuple[Withheld, ...]]:
    """Everything to publish, in the order of the result list, and what is withheld. Closes the log, which is the last file.

    :param filtered: publish what the filter released; if not, only logs.
    :param log_bytes: the most that is published of a log that no filter has judged.
    :param data: a descriptor of /data.
    :raises StageError: the filter's list is missing or wrong, or a file is not what the filter read.
    """
    logs: list[tuple[str, FileType]] = [(f"adminlogs/{stage}.log", LOGS[stage]) for stage in ("configure", "filter")]
    if filtered:
        release = read_release(data)
        items, withheld, reason = [_released_item(file, data) for file in release.files], release.withheld, ""
    else:
        items, withheld, reason = [], (Withheld(path="outputs", reason=NO_FILTER),), f": {NO_FILTER}"
        logs.insert(0, ("logs/algorithm.log", "algorithmLog"))
    items += [item for path, kind in logs if (item := _log_item(path, kind, data, log_bytes))]
    log.line(f"{len(items) + 1} files, this log is the last; {len(withheld)} withheld{reason}")
    own = "".join(log.text or ()).encode()
    log.close()
    return [*items, _item("adminlogs/publish.log", LOGS["publish"], BytesContent(own))], withheld


def read_release(data: int) -> Release:
    """/data/filter/release.json. Raises StageError if it is missing or is not a list that the filter writes."""
    try:
        with regular_below(data, RELEASE) as (fd, status):
            if status.st_size > RELEASE_BYTES:
                raise StageError(f"{RELEASE}: is too large", RELEASE)
            text = b"".join(bytes(chunk) for chunk in chunks(fd, status.st_size, new_buffer()))
    except (OSError, NotRegular):
        raise StageError(f"{RELEASE}: is missing; nothing is published without the filter's list", RELEASE) from None
    try:
        release = Release.from_json(_object(text))
        for number, file in enumerate(release.files):
            _check(file, f"files[{number}]")
    except InvalidField as error:
        raise StageError(f"{RELEASE}: {error}", RELEASE) from None
    if len({file.path for file in release.files}) != len(release.files):
        raise StageError(f"{RELEASE}: lists a file twice", RELEASE)
    return release


def _object(text: bytes) -> JsonObject:
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise StageError(f"{RELEASE}: must be one JSON object", RELEASE) from None


def _check(file: ReleasedFile, name: str) -> None:
    """Raises InvalidField if the file is not a plain one in its folder, or its parts do not fit its size."""
    folder, *rest = file.path.split("/")
    if folder != folder_of(file.type) or not rest or any(part in ("", ".", "..") for part in rest) or has_controls(file.path):
        raise InvalidField(f"{name}.path", f"must be a plain path below {folder_of(file.type)}/")
    if file.parts is not None and len(file.parts) != -(-file.size // part_bytes(file.size)):
        raise InvalidField(f"{name}.parts", "must have a digest for each part")


def _released_item(file: ReleasedFile, data: int) -> Item:
    """A file of the filter's list. Raises StageError if it is already clear that it is not what the filter read."""
    content = FileContent(data, file.path, file.size, file.sha256, file.parts, file.cid)
    try:
        with regular_below(data, file.path) as (_, status):
            if status.st_size != file.size and not (file.cutFrom is not None and status.st_size > file.size):
                raise content.changed()
    except (NotRegular, FileNotFoundError, NotADirectoryError):
        raise content.changed() from None
    return _item(file.path, file.type, content)


def _log_item(path: str, kind: FileType, data: int, most: int) -> Item | None:
    """The first `most` bytes of a log that no filter has judged. None if it is missing or not a regular file."""
    try:
        with regular_below(data, path) as (fd, status):
            size = min(status.st_size, most)
            digest, count = hashlib.sha256(), 0
            for chunk in chunks(fd, size, new_buffer()):
                digest.update(chunk)
                count += len(chunk)
    except (NotRegular, FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    return _item(path, kind, FileContent(data, path, count, digest.hexdigest()))


def _item(path: str, kind: FileType, content: Content) -> Item:
    return Item(f"data/{path}", f"data/{path}", kind, content_type(path), content.size, str(content.sha256), content)


_TYPES = mimetypes.MimeTypes()


def content_type(path: str) -> str:
    """By the ending of the name, from Python's own table: the system's table would make manifests differ between images."""
    if path.endswith(".log"):
        return "text/plain"
    kind, coding = _TYPES.guess_type("/" + path.rsplit("/", 1)[-1])
    if coding is not None:
        compressed = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}
        return compressed.get(coding, "application/octet-stream")
    return kind or "application/octet-stream"
