"""A job's results as HTTP answers, for every API: one file, or all of them as one archive. Range and If-Range, constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import re
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

from starlette.responses import JSONResponse, Response

from c2d.contract import ManifestEntry
from c2d.errors import ResultNotReadable
from c2d.results.archive import Archive
from c2d.results.entries import downloadable
from c2d.results.reader import Reader

log = logging.getLogger(__name__)

Read = Callable[[int, int], Iterator[bytes]]
"""``read(first, last)``: pieces of the content; closing the iterator ends the request to the store."""

AHEAD_BYTES = 4 << 20


@functools.cache
def _pool() -> ThreadPoolExecutor:
    """Stores are read by threads; a download has one while its client keeps up."""
    return ThreadPoolExecutor(64, "c2d-results")


def file_answer(reader: Reader, file: ManifestEntry, headers: Mapping[str, str]) -> Response:
    """The answer that streams a file of the job's manifest.

    :param headers: the request's.
    """
    result = downloadable(file)
    read = functools.partial(reader.read, file)
    name, kind = result.filename.rsplit("/", 1)[-1], result.contentType or "application/octet-stream"
    return _answer(read, name, result.size, result.sha256, kind, headers)


def archive_answer(reader: Reader, headers: Mapping[str, str]) -> Response:
    """The answer that streams all files of the job as one tar archive."""
    archive = Archive(reader)
    return _answer(archive.read, f"{reader.row.jobId}.tar", archive.size, archive.sha256, "application/x-tar", headers)


def _answer(read: Read, name: str, size: int, tag: str, kind: str, request: Mapping[str, str]) -> Response:
    headers = {
        "Content-Disposition": disposition(name),
        "Content-Type": kind + ("; charset=utf-8" if kind.startswith("text/") else ""),
        "ETag": f'"{tag}"',
        "Accept-Ranges": "bytes",
        # Said, so that Airflow's gzip leaves it alone: a compressed part of a file has no length and cannot be resumed.
        "Content-Encoding": "identity",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-store",
    }
    wanted = None
    if request.get("if-range") in (None, headers["ETag"]):
        wanted = byte_range(request.get("range", ""), size)
    if wanted is None:
        return Streamed(read(0, size), 200, {**headers, "Content-Length": str(size)})
    first, last = wanted
    if first >= last:
        return failure(416, "Range: cannot be satisfied", {"Content-Range": f"bytes */{size}"})
    part = {"Content-Length": str(last - first), "Content-Range": f"bytes {first}-{last - 1}/{size}"}
    return Streamed(read(first, last), 206, {**headers, **part})


def byte_range(header: str, size: int) -> tuple[int, int] | None:
    """The part that a Range header asks for, its end not included. None: all, also where it names several parts or is none (RFC 9110).

    An empty part means that it cannot be satisfied.
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


def disposition(name: str) -> str:
    """The incumbent's form, with the name quoted where it needs to be."""
    if re.fullmatch(r"[A-Za-z0-9._-]+", name):
        return f"attachment;filename={name}"
    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment;filename=\"{plain}\";filename*=UTF-8''{quote(name, safe='')}"


def failure(status: int, text: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": text}, status, dict(headers or {}))


class Streamed(Response):
    """Pieces from a store. What fails before the first one is an error in JSON; what fails later cuts the connection, so that no client
    takes a part for the whole. A client that goes away ends the request to the store.
    """

    def __init__(self, pieces: Iterator[bytes], status: int, headers: Mapping[str, str]):
        self.pieces, self.status_code, self.background, self.body = pieces, status, None, b""
        self.init_headers(headers)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        ahead = _Ahead(self.pieces)
        gone = asyncio.ensure_future(_gone(receive))
        try:
            try:
                piece = await ahead.next()
            except ResultNotReadable as e:
                headers = {"Retry-After": "5"} if e.again else {}
                await failure(e.status, e.text, headers)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while piece is not None:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
                if gone.done():
                    return
                piece = await ahead.next()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ResultNotReadable as e:
            log.warning("a download was cut off: %s", e.text)  # the server closes the connection: the answer has no end
        finally:
            gone.cancel()
            ahead.close()


async def _gone(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class _Ahead:
    """Pieces that a thread reads while those before them are sent, up to AHEAD_BYTES. A client that keeps up keeps the thread; while
    enough waits for a slow one the thread serves others.
    """

    def __init__(self, pieces: Iterator[bytes]):
        self._pieces = pieces
        self._loop, self._news = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: deque[bytes | Exception | None] = deque()
        self._bytes = 0
        self._reads = self._ended = self._closed = False

    async def next(self) -> bytes | None:
        """The next piece; None: that was all. Raises what reading it raised."""
        while True:
            self._news.clear()
            with self._lock:
                some = bool(self._waiting)
                piece = self._waiting.popleft() if some else None
                self._bytes -= len(piece) if isinstance(piece, bytes) else 0
                if not self._reads and not self._ended and self._bytes <= AHEAD_BYTES // 2:
                    self._reads = True
                    _pool().submit(self._read)
            if isinstance(piece, Exception):
                raise piece
            if some:
                return piece
            await self._news.wait()

    def close(self) -> None:
        """Ends the request to the store, once its thread has come back from there."""
        with self._lock:
            self._closed = True
            if self._reads:
                return
        _pool().submit(self._pieces.close)  # type: ignore[attr-defined]

    def _read(self) -> None:
        reads = True
        while reads:
            piece: bytes | Exception | None
            try:
                piece = next(self._pieces, None)
            except Exception as e:
                piece = e
            with self._lock:
                self._waiting.append(piece)
                self._bytes += len(piece) if isinstance(piece, bytes) else 0
                self._ended = not isinstance(piece, bytes)
                reads = self._reads = not (self._ended or self._closed or self._bytes >= AHEAD_BYTES)
                closed = self._closed
            with contextlib.suppress(RuntimeError):  # the server has ended
                self._loop.call_soon_threadsafe(self._news.set)
        if closed:
            self._pieces.close()  # type: ignore[attr-defined]
