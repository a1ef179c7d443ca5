"""Waiting for something to happen, within one event loop."""

from __future__ import annotations

import asyncio


class Wakeup:
    """`fire` ends every `wait` that has begun. The caller looks at the state itself, before and after."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    async def wait(self) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            await future
        finally:
            self._waiting.discard(future)

    def fire(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
