"""The HTTP client for servers that the operator's settings name. What strangers name is fetched with :mod:`c2d.hooks.guarded_http`."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


@functools.cache
def client() -> httpx.Client:
    """The process's only client, because creating one takes tens of milliseconds. It follows no redirects."""
    import httpx

    return httpx.Client(follow_redirects=False, limits=httpx.Limits(max_connections=50))
