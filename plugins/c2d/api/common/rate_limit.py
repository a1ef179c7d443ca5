"""How many requests one caller may send."""

from __future__ import annotations

import time

from c2d.errors import ApiError

MAX_KEYS = 10_000


class RateLimit:
    """A token bucket for each key, in this process.

    :param per_second: how many tokens come back each second.
    :param burst: how many tokens a bucket holds at most.
    """

    def __init__(self, per_second: float, burst: float):
        self.per_second = per_second
        self.burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> None:
        """Take one of the key's tokens.

        :raises ApiError: there is none: 429, with Retry-After.
        """
        if seconds := self.wait(key):
            raise ApiError(429, f"too many requests; try again in {seconds:.1f} s", {"Retry-After": str(int(seconds) + 1)})

    def wait(self, key: str, now: float | None = None) -> float:
        """Take one of the key's tokens and return 0; if there is none, return the seconds until there is one."""
        now = time.monotonic() if now is None else now
        tokens, last_used = self._buckets.pop(key, (self.burst, now))
        tokens = min(self.burst, tokens + (now - last_used) * self.per_second)
        enough = tokens >= 1
        self._buckets[key] = (tokens - 1 if enough else tokens, now)
        if len(self._buckets) > MAX_KEYS:
            del self._buckets[next(iter(self._buckets))]  # the least recently used one
        return 0.0 if enough else (1 - tokens) / self.per_second
