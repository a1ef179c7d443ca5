"""How much one caller may ask for: bytes in a body, requests in a second."""

from __future__ import annotations

import time

BODY_BYTES = 2 * 2**20
KEYS = 10_000


class Rate:
    """A token bucket for each key, in this process.

    :param per_second: how many come back each second.
    :param at_once: how many there are at most.
    """

    def __init__(self, per_second: float, at_once: float):
        self.per_second = per_second
        self.at_once = at_once
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait(self, key: str, now: float | None = None) -> float:
        """Takes one token. Returns 0, or the seconds until there is one again."""
        now = time.monotonic() if now is None else now
        tokens, then = self._buckets.pop(key, (self.at_once, now))
        tokens = min(self.at_once, tokens + (now - then) * self.per_second)
        enough = tokens >= 1
        self._buckets[key] = (tokens - 1 if enough else tokens, now)
        if len(self._buckets) > KEYS:
            del self._buckets[next(iter(self._buckets))]  # the one that was used least recently
        return 0.0 if enough else (1 - tokens) / self.per_second
