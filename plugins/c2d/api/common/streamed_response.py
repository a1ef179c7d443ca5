"""A response whose content a thread reads from a store while it is sent, in constant memory."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from c2d.api.common.errors import error_response
from c2d.errors import ResultNotReadable

log = logging.getLogger(__name__)

READ_AHEAD_BYTES = 4 << 20
THREADS = 64
"""Downloads that are read at the same time. While a client cannot keep up, its download needs no thread."""

Chunks = Iterator[bytes]
"""A generator: closing it ends the request to the store."""


class StreamedResponse(Response):
    """A response made of chunks from a store.

    A failure before the first chunk is answered as JSON. A later failure cuts the connection, so that no client mistakes a part for the
    whole. If the client disconnects, the request to the store ends.
    """

    def __init__(self, chunks: Chunks, status: int, headers: Mapping[str, str]):
        self.chunks, self.status_code, self.background, self.body = chunks, status, None, b""
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        ahead = _ReadAhead(self.chunks)
        disconnected = asyncio.ensure_future(_disconnect(receive))
        try:
            try:
                chunk = await ahead.next()
            except ResultNotReadable as e:
                headers = {"Retry-After": "5"} if e.again else {}
                await error_response(e.status, e.text, headers)(scope, receive, send)
                return
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while chunk is not None:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
                if disconnected.done():
                    return
                chunk = await ahead.next()
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ResultNotReadable as e:
            # Without the last message the server closes the connection before the announced length.
            log.warning("a download was cut off: %s", e.text)
        finally:
            disconnected.cancel()
            ahead.close()


async def _disconnect(receive: Receive) -> None:
    """Return when the client has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, "c2d-results")


class _ReadAhead:
    """Chunks that a thread reads ahead of the client, up to READ_AHEAD_BYTES.

    The thread keeps reading for as long as the client keeps up. If READ_AHEAD_BYTES wait to be sent, the thread goes back to its pool, and
    another one goes on reading once half of them have been sent.
    """

    def __init__(self, chunks: Chunks):
        self._chunks = chunks
        self._loop, self._progress = asyncio.get_running_loop(), asyncio.Event()
        self._lock = threading.Lock()
        self._waiting: deque[bytes | Exception | None] = deque()
        self._waiting_bytes = 0
        self._has_thread = self._ended = self._closed = False

    async def next(self) -> bytes | None:
        """The next chunk; None after the last one.

        :raises Exception: what reading the chunk raised.
        """
        while True:
            self._progress.clear()
            with self._lock:
                is_there = bool(self._waiting)
                chunk = self._waiting.popleft() if is_there else None
                self._waiting_bytes -= _size(chunk)
                if not self._has_thread and not self._ended and self._waiting_bytes <= READ_AHEAD_BYTES // 2:
                    self._has_thread = True
                    _threads().submit(self._read)
            if isinstance(chunk, Exception):
                raise chunk
            if is_there:
                return chunk
            await self._progress.wait()

    def close(self) -> None:
        """End the request to the store: now, or when the thread that reads from it comes back."""
        with self._lock:
            self._closed = True
            if self._has_thread:
                return
        _threads().submit(_close, self._chunks)

    def _read(self) -> None:
        goes_on = True
        while goes_on:
            chunk: bytes | Exception | None
            try:
                chunk = next(self._chunks, None)
            except Exception as e:
                chunk = e
            with self._lock:
                self._waiting.append(chunk)
                self._waiting_bytes += _size(chunk)
                self._ended = not isinstance(chunk, bytes)
                goes_on = self._has_thread = not (self._ended or self._closed or self._waiting_bytes >= READ_AHEAD_BYTES)
                closed = self._closed
            with contextlib.suppress(RuntimeError):  # the server's event loop has ended
                self._loop.call_soon_threadsafe(self._progress.set)
        if closed:
            _close(self._chunks)


def _close(chunks: Chunks) -> None:
    if isinstance(chunks, Generator):
        chunks.close()


def _size(chunk: bytes | Exception | None) -> int:
    return len(chunk) if isinstance(chunk, bytes) else 0
