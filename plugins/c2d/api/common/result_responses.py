"""Responses with a job's results: one file, or all of them as one archive. Range and If-Range are supported."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

from starlette.responses import Response

from c2d.api.common.errors import error_response
from c2d.api.common.streamed_response import Chunks, StreamedResponse
from c2d.contract import ManifestEntry
from c2d.results.archive import Archive
from c2d.results.entries import downloadable
from c2d.results.reader import Reader

Read = Callable[[int, int], Chunks]
"""``read(start, end)``: the content from byte ``start`` to byte ``end``, which is not included."""


def file_response(reader: Reader, file: ManifestEntry, headers: Mapping[str, str]) -> Response:
    """A response with one file of the job's manifest.

    :param headers: the request's.
    """
    result = downloadable(file)
    name, content_type = result.filename.rsplit("/", 1)[-1], result.contentType or "application/octet-stream"
    return _response(functools.partial(reader.read, file), name, result.size, result.sha256, content_type, headers)


def archive_response(reader: Reader, headers: Mapping[str, str]) -> Response:
    """A response with all files of the job as one tar archive."""
    archive = Archive(reader)
    return _response(archive.read, f"{reader.row.jobId}.tar", archive.size, archive.sha256, "application/x-tar", headers)


def _response(read: Read, name: str, size: int, etag: str, content_type: str, request_headers: Mapping[str, str]) -> Response:
    headers = {
        "Content-Disposition": content_disposition(name),
        "Content-Type": content_type + ("; charset=utf-8" if content_type.startswith("text/") else ""),
        "ETag": f'"{etag}"',
        "Accept-Ranges": "bytes",
        # This keeps Airflow's gzip middleware off: a compressed part of a file has no length and cannot be resumed.
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    part = byte_range(request_headers.get("range", ""), size)
    if part is None or request_headers.get("if-range") not in (None, headers["ETag"]):
        return StreamedResponse(read(0, size), 200, {**headers, "Content-Length": str(size)})
    start, end = part
    if start >= end:
        return error_response(416, "Range: cannot be satisfied", {"Content-Range": f"bytes */{size}"})
    part_headers = {"Content-Length": str(end - start), "Content-Range": f"bytes {start}-{end - 1}/{size}"}
    return StreamedResponse(read(start, end), 206, {**headers, **part_headers})


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The part (start, end) that a Range header asks for; ``end`` is not included. An empty part cannot be satisfied.

    None: the whole content. That also answers several ranges, and headers that are not a range (RFC 9110, 14.2).
    """
    match = re.fullmatch(r"bytes=\s*([0-9]{0,19})-([0-9]{0,19})\s*", header)
    if not match or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if not first:
        return max(size - int(last), 0), size
    if last and int(last) < int(first):
        return None
    return min(int(first), size), min(int(last) + 1, size) if last else size


def content_disposition(name: str) -> str:
    """The header that names a download, as Ocean's Provider writes it; a name with special characters is quoted."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", name):
        return f"attachment;filename={name}"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment;filename=\"{plain}\";filename*=UTF-8''{quote(name, safe='')}"
