"""One file: downloaded in as many attempts as it takes, resumed if that is safe, and moved to its place once it is complete."""

import http.client
import os
import time
from dataclasses import dataclass

from c2d_stages.common.transfer import PermanentError, TransientError, connection_error
from c2d_stages.configure.requests import ATTEMPTS, BUFFER, TRANSPORT_ERRORS, pause_before_retry, send
from c2d_stages.configure.resume import PartialFile, volume_error
from c2d_stages.configure.session import Cancelled, Session, Subject
from c2d_stages.configure.sources import Source

PROGRESS = 1 << 20  # an attempt that brings so many new bytes is not a failure
LOG_SECONDS = 2.0


@dataclass(frozen=True)
class Download:
    """A file to download, and its place on the volume."""

    subject: Subject
    source: Source
    target: str
    mode: int

    @property
    def part(self) -> str:
        return self.target + ".part"


def fetch(download: Download, session: Session) -> int:
    """Download a file to its place and return its size. Raises StageError, or Cancelled if another download failed."""
    progress = Progress(download, session)
    try:
        fd = os.open(download.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, download.mode)
    except OSError as error:
        raise download.subject.failed(volume_error(error)) from None
    try:
        partial = PartialFile(fd, download.source.checksum is not None)
        partial.restart()
        try:
            _attempt_until_complete(download, partial, session, progress)
        except PermanentError as error:
            raise download.subject.failed(str(error)) from None
        if partial.digest is not None and partial.digest.hexdigest() != download.source.checksum:
            raise download.subject.failed("the content does not have the sha256 that the asset promises")
    finally:
        os.close(fd)
    os.rename(download.part, download.target)
    progress.complete(partial)
    return partial.offset


def _attempt_until_complete(download: Download, partial: PartialFile, session: Session, progress: "Progress") -> None:
    """Raises PermanentError or Cancelled."""
    failures, furthest = 0, 0
    while True:
        try:
            return _attempt(download, partial, session, progress)
        except TransientError as error:
            # A server that drops every connection is fine while the file grows: limits.seconds ends that.
            failures = 1 if partial.offset >= furthest + PROGRESS else failures + 1
            furthest = max(furthest, partial.offset)
            if failures >= ATTEMPTS:
                raise PermanentError(f"{error} (given up after {ATTEMPTS} attempts)") from None
            if not partial.resumable():
                partial.restart()
            pause = pause_before_retry(error, failures)
            session.log.line(f"{download.subject.label}: {error}; again from byte {partial.offset} in {pause:g} s")
            session.sleep(pause)
        except PermanentError as error:
            if error.status is None or not download.source.may_succeed_after(error.status):
                raise
            session.log.line(f"{download.subject.label}: {error}; trying a newer request")


def _attempt(download: Download, partial: PartialFile, session: Session, progress: "Progress") -> None:
    """One request for the file or the rest of it. Raises TransientError, PermanentError or Cancelled."""
    request = download.source.request()
    asks_for_rest = request.method == "GET" and partial.resumable()
    try:
        connection, response = send(request, partial.range_headers() if asks_for_rest else {}, session)
        try:
            if partial.accept(response, asks_for_rest):
                _claim(partial.total or partial.offset, download, session)
                _read_body(response, partial, download, session, progress)
        finally:
            response.close()
            connection.close()
    except TRANSPORT_ERRORS as error:
        raise connection_error(error, session.stall_seconds) from None


def _read_body(
    response: http.client.HTTPResponse, partial: PartialFile, download: Download, session: Session, progress: "Progress"
) -> None:
    """Append the body to the file, also what arrived before an error. Raises TransientError if the body ends too early."""
    buffer = memoryview(bytearray(BUFFER))
    complete = False
    while not complete:
        filled = 0
        room = BUFFER if partial.total is None else min(BUFFER, partial.total - partial.offset)
        try:
            while filled < room and not complete:
                if session.cancelled.is_set():
                    raise Cancelled
                count = _read_into(response, buffer[filled:room])
                filled += count
                complete = count == 0
        finally:
            _claim(max(partial.offset + filled, partial.total or 0), download, session)
            partial.append(buffer[:filled])
            progress.update(partial)
        complete = complete or partial.offset == partial.total
    if partial.total is not None and partial.offset < partial.total:
        raise TransientError(f"the connection ended after {partial.offset} of {partial.total} bytes")


def _claim(size: int, download: Download, session: Session) -> None:
    if not session.budget.claim(download.subject.label, size):
        raise PermanentError(f"all files together are larger than {session.limits.totalBytes} bytes (limits.totalBytes)")


def _read_into(response: http.client.HTTPResponse, buffer: memoryview) -> int:
    """The bytes that one read of the socket gives; 0 at the end. Straight into the buffer, unless the body is chunked."""
    if response.chunked:
        data = response.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)
    # HTTPResponse.readinto() would wait for a full buffer, and lose a part of it if an error comes first.
    return response.fp.readinto1(buffer) if response.fp is not None and buffer else 0


class Progress:
    """Lines in the log about one file, at most one every LOG_SECONDS."""

    def __init__(self, download: Download, session: Session):
        self._label, self._session = download.subject.label, session
        self._started = self._last = time.monotonic()

    def update(self, partial: PartialFile) -> None:
        self._session.received[self._label] = partial.offset
        now = time.monotonic()
        if now - self._last >= LOG_SECONDS:
            self._last = now
            of = f" of {partial.total / 1e6:.1f}" if partial.total is not None else ""
            rate = partial.offset / 1e6 / (now - self._started)
            self._session.log.line(f"{self._label}: {partial.offset / 1e6:.1f}{of} MB, {rate:.0f} MB/s")

    def complete(self, partial: PartialFile) -> None:
        seconds = time.monotonic() - self._started
        self._session.log.line(f"{self._label}: complete, {partial.offset / 1e6:.1f} MB in {seconds:.1f} s")
