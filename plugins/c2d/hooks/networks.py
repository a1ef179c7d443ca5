"""Which chains NETWORK_URL leads to: where it does not say, its node is asked once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from c2d.settings.provider import EVERY_CHAIN

SECONDS = 5.0
AGAIN_SECONDS = 5.0  # before nodes that did not answer are asked again
_known: dict[tuple[str, ...], int] = {}
_silent_since: dict[tuple[str, ...], float] = {}


def networks(urls: Mapping[int, Sequence[str]]) -> dict[int, tuple[str, ...]]:
    """The RPC URLs by chain id. A chain whose id is not given and whose nodes do not answer is left out, until they do."""
    found = {chain: tuple(each) for chain, each in urls.items() if chain != EVERY_CHAIN}
    unnamed = tuple(urls.get(EVERY_CHAIN, ()))
    chain = (_known.get(unnamed) or _ask(unnamed)) if unnamed else None
    return found | ({chain: unnamed} if chain else {})


def _ask(urls: tuple[str, ...]) -> int | None:
    import httpx

    if time.monotonic() - _silent_since.get(urls, -AGAIN_SECONDS) < AGAIN_SECONDS:
        return None
    question = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}
    for url in urls:
        try:
            answer = httpx.post(url, json=question, timeout=SECONDS, trust_env=False)
            _known[urls] = int(answer.json()["result"], 16)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
            continue
        return _known[urls]
    _silent_since[urls] = time.monotonic()
    return None
