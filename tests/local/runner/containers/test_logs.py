"""A container's log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from local.runner.containers.logs import Log


def test_a_log_loses_its_oldest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "MAX", 1000)
    log = Log(tmp_path / "log")
    for number in range(200):
        log.write(f"line {number}\n".encode())
    log.write(b"end without newline")
    log.end()

    lines = asyncio.run(text(log, follow=True)).split(b"\n")
    assert lines[-2:] == [b"line 199", b"end without newline"] and 20 < len(lines) < 80
    assert asyncio.run(text(log, tail=1)) == b"end without newline"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2200


def test_a_follower_gets_whole_lines_without_times_however_they_are_written(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write(b"a begin")

    async def follow() -> bytes:
        reader = asyncio.create_task(text(log, follow=True))
        for piece in (b"ning\nb", b"\n", b"x" * 100_000, b"\nlast"):
            await asyncio.sleep(0)
            log.write(piece)
        log.end()
        return await reader

    assert asyncio.run(follow()) == b"a beginning\nb\n" + b"x" * 100_000 + b"\nlast"


def test_a_follower_that_skips_the_past_gets_the_rest_of_the_present_line(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.write(b"old\nhalf of a line")

    async def follow() -> bytes:
        reader = asyncio.create_task(text(log, follow=True, tail=0))
        await asyncio.sleep(0)
        log.write(b" and its end\n")
        log.end()
        return await reader

    assert asyncio.run(follow()) == b" and its end\n"


async def text(log: Log, **options: Any) -> bytes:
    return b"".join([piece async for piece in log.read(**options)])
