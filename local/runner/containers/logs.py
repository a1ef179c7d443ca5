"""A container's log: a file of bounded size, with a time before each line, that can be read while it grows.

At 10 MiB the file is renamed to `.1` and a new one begins, so the last 10 to 20 MiB can be read. As on a real node, older lines are lost.
(The kubelet serves only the newest file, so it may have even less.)
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

from local.runner.wakeup import Wakeup

STAMP = len("2026-01-01T00:00:00.000000000Z ")
"""Bytes of the time before each line, with the space after it."""


class Log:
    """The log of one container. One writer, any number of readers."""

    MAX = 10 << 20

    def __init__(self, path: Path, ended: bool = False) -> None:
        """Begin a new log, or with `ended` open one that an earlier run of the runner has written."""
        self._path = path
        self._rotated = path.with_name(path.name + ".1")
        self._wakeup = Wakeup()
        self._rotations = 0
        self._at_line_start = True
        self._file = None if ended else path.open("wb", buffering=0)
        self._size = 0

    def write(self, chunk: bytes) -> None:
        """Append output. After the end, it is dropped."""
        if self._file is None or not chunk:
            return
        stamp = _stamp(time.time_ns())
        complete = chunk.endswith(b"\n")
        lines = chunk.removesuffix(b"\n").replace(b"\n", b"\n" + stamp)
        text = (stamp if self._at_line_start else b"") + lines + (b"\n" if complete else b"")
        self._file.write(text)
        self._size += len(text)
        self._at_line_start = complete
        if self._size >= self.MAX:
            self._rotate()
        self._wakeup.fire()

    def end(self) -> None:
        """Nothing more will be written: readers that follow the log return."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._wakeup.fire()

    def last(self, size: int, lines: int) -> bytes:
        """The end of the log without times, for terminationMessagePolicy FallbackToLogsOnError."""
        return b"".join(line[STAMP:] for line in _split(self._content())[-lines:])[-size:]

    def _rotate(self) -> None:
        assert self._file is not None
        if not self._at_line_start:
            self._file.write(b"\n")
            self._at_line_start = True
        self._file.close()
        self._path.replace(self._rotated)
        self._file = self._path.open("wb", buffering=0)
        self._size = 0
        self._rotations += 1

    def _content(self) -> bytes:
        return b"".join(path.read_bytes() for path in (self._rotated, self._path) if path.exists())

    async def read(self, follow: bool = False, since: bytes = b"", tail: int | None = None, times: bool = False) -> AsyncIterator[bytes]:
        """The text of the log, in pieces.

        :param follow: wait for more, until the container has ended.
        :param since: leave out lines from before this time (RFC 3339).
        :param tail: only this many of the last lines; what is written later is not counted.
        :param times: with the time before each line.
        """
        if not self._path.exists():
            return
        text = _Text(times)
        rotations = self._rotations
        content = self._rotated.read_bytes() if self._rotated.exists() else b""
        file = self._path.open("rb")
        try:
            content += file.read()
            lines = [line for line in _split(content) if line >= since]
            if tail is not None:
                lines = lines[max(0, len(lines) - tail) :]
            if piece := text.of(b"".join(lines)):
                yield piece
            if content and not content.endswith(b"\n"):
                text.skip = 0  # what comes next continues a line, even if that line was left out
            while follow:
                if chunk := file.read(1 << 16):
                    if piece := text.of(chunk):
                        yield piece
                elif rotations != self._rotations:
                    rotations = self._rotations
                    file.close()
                    file = self._path.open("rb")
                elif self._file is None:
                    return
                else:
                    await self._wakeup.wait()
        finally:
            file.close()


class _Text:
    """Takes the times out of a log that is read in pieces, which may end anywhere."""

    def __init__(self, times: bool) -> None:
        self._stamp = 0 if times else STAMP
        self.skip = self._stamp
        """Bytes of the present line's time that are still to come."""

    def of(self, piece: bytes) -> bytes:
        """The piece without times."""
        out = []
        for line in _split(piece):
            out.append(line[self.skip :])
            self.skip = self._stamp if line.endswith(b"\n") else max(0, self.skip - len(line))
        return b"".join(out)


def _stamp(nanoseconds: int) -> bytes:
    """The time as the kubelet writes it, RFC 3339 with nine digits, and a space."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z ".encode()


def _split(text: bytes) -> list[bytes]:
    """Lines with their newline. Not splitlines(): a carriage return (a progress bar) does not begin a new line."""
    *lines, rest = text.split(b"\n")
    return [line + b"\n" for line in lines] + ([rest] if rest else [])
