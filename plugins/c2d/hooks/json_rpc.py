"""JSON-RPC to the nodes of a chain: batches, fail-over to the next server, time limits.

An RPC URL may contain a key, so errors name a server by its position in the list.

web3's HTTP provider is not used: importing web3 takes a second, which the first task of every job would pay.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from c2d.errors import UpstreamUnavailable
from c2d.hooks.http_client import client
from c2d.settings.provider import EVERY_CHAIN

log = logging.getLogger(__name__)

Call = tuple[str, list[Any]]
"""Method and parameters."""

ANSWER_BYTES = 32 * 2**20
CHAIN_ID_TIMEOUT = 5.0
CHAIN_ID_RETRY_SECONDS = 5.0
"""If no server told its chain id, the servers are asked again after this time."""

_chain_ids: dict[tuple[str, ...], int] = {}
_failed_at: dict[tuple[str, ...], float] = {}


class _ServerFailed(Exception):
    """A server gave no usable answer. The text says why and contains no URL."""


@dataclass(frozen=True)
class CallResult:
    """The outcome of one call in a batch: its result, or an error of this call alone, such as a revert."""

    result: Any = None
    error: str | None = None


class Rpc:
    """The RPC servers of one chain. The server that answered last is tried first.

    :param seconds: timeout for connecting and for each read.
    """

    def __init__(self, chain_id: int, urls: Sequence[str], seconds: float):
        self.chain_id, self.urls, self.seconds = chain_id, tuple(urls), seconds
        self._preferred = 0
        self._verified: set[int] = set()
        self.round_trips = 0

    def batch(self, calls: Sequence[Call]) -> list[CallResult]:
        """The results of ``calls`` in the same order, in one round trip.

        :raises UpstreamUnavailable: no server gave a usable answer.
        """
        if not calls:
            return []
        reasons = []
        for turn in range(len(self.urls)):
            server = (self._preferred + turn) % len(self.urls)
            try:
                results = self._batch_at(server, calls)
            except _ServerFailed as e:
                reasons.append(f"server {server + 1}: {e}")
                log.warning("chain %s: RPC server %s of %s: %s", self.chain_id, server + 1, len(self.urls), e)
                continue
            self._preferred = server
            return results
        raise UpstreamUnavailable(f"chain {self.chain_id}: no RPC server answers; try again later ({'; '.join(reasons) or 'none is set'})")

    def try_next(self) -> None:
        """Prefers the next server from now on, because this one may lag behind."""
        self._preferred = (self._preferred + 1) % max(1, len(self.urls))

    def check(self) -> list[str | None]:
        """For each server, why it cannot be used, or None if it can."""
        reasons: list[str | None] = []
        for server in range(len(self.urls)):
            self._verified.discard(server)
            try:
                self._batch_at(server, [("eth_blockNumber", [])])
                reasons.append(None)
            except _ServerFailed as e:
                reasons.append(str(e))
        return reasons

    def _batch_at(self, server: int, calls: Sequence[Call]) -> list[CallResult]:
        """The first batch to a server also asks for its chain id."""
        if server in self._verified:
            return self._post(server, calls)
        chain_id, *results = self._post(server, [("eth_chainId", []), *calls])
        if _number(chain_id.result) != self.chain_id:
            raise _ServerFailed("it serves another chain")
        self._verified.add(server)
        return results

    def _post(self, server: int, calls: Sequence[Call]) -> list[CallResult]:
        self.round_trips += 1
        responses = _post(self.urls[server], calls, self.seconds)
        by_id = {r.get("id"): r for r in responses if isinstance(r, dict)} if isinstance(responses, list) else {}
        if set(by_id) != set(range(len(calls))):
            raise _ServerFailed("it does not support batches, or rejected this one")
        return [_call_result(method, by_id[n]) for n, (method, _) in enumerate(calls)]


def _post(url: str, calls: Sequence[Call], seconds: float) -> Any:
    """The decoded response to a batch.

    :raises _ServerFailed: there is none.
    """
    import httpx

    requests = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, params) in enumerate(calls)]
    content = b""
    try:
        with client().stream("POST", url, json=requests, timeout=seconds) as response:
            if response.status_code != 200:
                raise _ServerFailed(f"HTTP status {response.status_code}")
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > ANSWER_BYTES:
                    raise _ServerFailed(f"its answer has more than {ANSWER_BYTES} bytes")
        return json.loads(content)
    except httpx.TimeoutException:  # the texts of httpx's errors contain the URL
        raise _ServerFailed("no answer in time") from None
    except (httpx.TransportError, httpx.InvalidURL):
        raise _ServerFailed("no connection") from None
    except (ValueError, RecursionError, httpx.HTTPError) as e:
        raise _ServerFailed(f"its answer is not JSON-RPC ({type(e).__name__})") from None


def _call_result(method: str, response: Mapping[str, Any]) -> CallResult:
    """A revert is the contract's answer, and a node may refuse a large range of eth_getLogs. Any other error is the server's fault.

    :raises _ServerFailed: it is.
    """
    error = response.get("error")
    if not error:
        return CallResult(result=response.get("result"))
    message = str(error.get("message") if isinstance(error, dict) else error)
    code = error.get("code") if isinstance(error, dict) else None
    reverted = code == 3 or "revert" in message.lower() or "invalid opcode" in message.lower()
    if method == "eth_getLogs" or (method == "eth_call" and reverted):
        return CallResult(error=message[:200])
    raise _ServerFailed(f"error {code} for {method}")


def urls_by_chain_id(urls: Mapping[int, Sequence[str]]) -> dict[int, tuple[str, ...]]:
    """The URLs of NETWORK_URL by chain id. If the setting names no chain, a node is asked which chain it serves; the answer is cached.

    Without an answer, these URLs are left out.
    """
    named = {chain: tuple(each) for chain, each in urls.items() if chain != EVERY_CHAIN}
    unnamed = tuple(urls.get(EVERY_CHAIN, ()))
    chain_id = _chain_id(unnamed) if unnamed else None
    return named if chain_id is None else {**named, chain_id: unnamed}


def _chain_id(urls: tuple[str, ...]) -> int | None:
    if urls in _chain_ids:
        return _chain_ids[urls]
    if time.monotonic() - _failed_at.get(urls, -CHAIN_ID_RETRY_SECONDS) < CHAIN_ID_RETRY_SECONDS:
        return None
    for url in urls:
        try:
            (answer,) = _post(url, [("eth_chainId", [])], CHAIN_ID_TIMEOUT)
            chain_id = _number(answer["result"])
        except (_ServerFailed, ValueError, KeyError, TypeError):
            continue
        if chain_id:
            _chain_ids[urls] = chain_id
            return chain_id
    _failed_at[urls] = time.monotonic()
    return None


def _number(result: Any) -> int | None:
    """A quantity in hexadecimal; None if it is not one."""
    try:
        return int(str(result), 16)
    except ValueError:
        return None
