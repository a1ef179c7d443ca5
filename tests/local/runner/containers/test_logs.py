"""A container's log."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from local.runner.containers.logs import Log


def test_a_log_loses_its_oldest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Log, "MAX", 1000)
    log = Log(tmp_path / "log")
    for number in range(200):
        log.write(f"line {number}\n".encode())
    log.write(b"end without newline")
    log.end()

    async def lines(**options: object) -> list[bytes]:
        return b"".join([piece async for piece in log.read(**options)]).split(b"\n")  # type: ignore[arg-type]

    kept = asyncio.run(lines(follow=True))
    assert kept[-2:] == [b"line 199", b"end without newline"] and 20 < len(kept) < 80
    assert asyncio.run(lines(tail=1)) == [b"end without newline"]
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2200
