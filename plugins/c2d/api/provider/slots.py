"""A limit on how much is done at once in this process."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from c2d.errors import ApiError


class Slots:
    """A number of slots for work that holds a thread of the API server.

    :param busy: the error's text if none is free.
    """

    def __init__(self, count: int, busy: str):
        self._free = threading.BoundedSemaphore(count)
        self._busy = busy

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Hold a slot until the context ends.

        :raises ApiError: none is free: 429, with Retry-After.
        """
        if not self._free.acquire(blocking=False):
            raise ApiError(429, self._busy, {"Retry-After": "2"})
        try:
            yield
        finally:
            self._free.release()
