"""Wakes every coroutine that waits for a change. One event loop only."""

from __future__ import annotations

import asyncio


class Wakeup:
    """`fire` ends every `wait` in progress. Callers check the state they wait for themselves, before and after."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Wait for the next `fire`."""
        await self._event.wait()

    def fire(self) -> None:
        """Wake all that wait now; later calls of `wait` need another `fire`."""
        self._event.set()
        self._event = asyncio.Event()
