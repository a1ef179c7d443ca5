"""A container's log: one file with a time in front of each line, bounded, readable while it is being written.

At 10 MiB the file is put aside (`.1`) and a new one begun, so that always the last 10 to 20 MiB can be read: older lines are lost,
as on a real node. (The kubelet serves only the newest file, so it may keep less.)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from .wakeup import Wakeup

STAMP = len("2026-01-01T00:00:00.000000000Z ")


def stamp(nanoseconds: int) -> bytes:
    """RFC 3339 with nine digits, as the kubelet writes it, and a space."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z ".encode()


class Log:
    """The log of one container. One writer, any number of readers."""

    MAX = 10 << 20

    def __init__(self, path: Path, ended: bool = False) -> None:
        self.path = path
        self.old = path.with_name(path.name + ".1")
        self.ended = ended
        self._wakeup = Wakeup()
        self._generation = 0
        self._at_line_start = True
        self._file = None if ended else path.open("wb", buffering=0)
        self._size = 0

    def write(self, chunk: bytes) -> None:
        if self._file is None or not chunk:
            return
        mark = stamp(time.time_ns())
        complete = chunk.endswith(b"\n")
        body = chunk[:-1] if complete else chunk
        text = (mark if self._at_line_start else b"") + body.replace(b"\n", b"\n" + mark) + (b"\n" if complete else b"")
        self._file.write(text)
        self._size += len(text)
        self._at_line_start = complete
        if self._size >= self.MAX:
            self._rotate()
        self._wakeup.fire()

    def end(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        self.ended = True
        self._wakeup.fire()

    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_size for path in (self.old, self.path) if path.exists())

    def last(self, size: int, lines: int) -> bytes:
        """The end of the log without times, for terminationMessagePolicy FallbackToLogsOnError."""
        text = b"".join(line[STAMP:] for line in _lines(self._content())[-lines:])
        return text[-size:]

    def _rotate(self) -> None:
        assert self._file is not None
        if not self._at_line_start:
            self._file.write(b"\n")
            self._at_line_start = True
        self._file.close()
        self.path.replace(self.old)
        self._file = self.path.open("wb", buffering=0)
        self._size = 0
        self._generation += 1

    def _content(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self.old, self.path) if path.exists())

    async def read(self, follow: bool = False, since: bytes = b"", tail: int | None = None, times: bool = False) -> AsyncIterator[bytes]:
        """The log's text in pieces of whole lines. `since`: a stamp; only lines from then on. `tail`: only so many of the last lines.

        With `follow`, until the container has ended and all it wrote has been given out.
        """
        generation = self._generation
        file = self.path.open("rb") if self.path.exists() else None
        try:
            content = (self.old.read_bytes() if self.old.exists() else b"") + (file.read() if file else b"")
            lines = [line for line in _lines(content) if line >= since]
            rest = b""
            if follow and not self.ended and lines and not lines[-1].endswith(b"\n"):
                rest = lines.pop()
            if tail is not None:
                lines = lines[len(lines) - min(tail, len(lines)) :]
            if lines:
                yield b"".join(lines if times else [line[STAMP:] for line in lines])
            within_line = False  # a piece of the present line is out already, so what comes next has no stamp
            while follow and file is not None:
                chunk = file.read(1 << 16)
                if chunk:
                    lines = _lines(rest + chunk)
                    rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
                    out = []
                    for line in lines:
                        out.append(line if times or within_line else line[STAMP:])
                        within_line = False
                    if len(rest) > 1 << 16:
                        out.append(rest if times or within_line else rest[STAMP:])
                        rest, within_line = b"", True
                    if out:
                        yield b"".join(out)
                elif generation != self._generation:
                    generation = self._generation
                    file.close()
                    file = self.path.open("rb")
                elif self.ended:
                    if rest:
                        yield rest if times or within_line else rest[STAMP:]
                    return
                else:
                    await self._wakeup.wait()
        finally:
            if file is not None:
                file.close()


def _lines(text: bytes) -> list[bytes]:
    """Lines with their newline. Not splitlines: a carriage return (a progress bar) does not begin a new, stamped line."""
    *whole, rest = text.split(b"\n")
    return [line + b"\n" for line in whole] + ([rest] if rest else [])
