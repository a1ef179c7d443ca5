"""JSON-RPC to a chain: batches, the next server where one does not answer, time limits. No URL in an error.

An RPC URL may hold a key, so an error names a server by its place in the list.

Not over web3's HTTP provider: to load web3 takes a second of each job's first task, which needs nothing else of it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2d.errors import UpstreamUnavailable
from c2d.hooks.aquarius import client

log = logging.getLogger(__name__)

Call = tuple[str, list[Any]]
ANSWER_BYTES = 32 * 2**20


class _ServerFailed(Exception):
    """A server gave no usable answer; the text says why and holds no URL."""


@dataclass(frozen=True)
class Answer:
    """Of one call of a batch: its result, or the error that belongs to this call alone (a contract that refuses)."""

    result: Any = None
    error: str | None = None


class Rpc:
    """The RPC servers of one chain, asked in turn from the one that answered last.

    :param seconds: that a server has to connect, and again for its answer.
    """

    def __init__(self, chain_id: int, urls: Sequence[str], seconds: float):
        self.chain_id, self.urls, self.seconds = chain_id, tuple(urls), seconds
        self._preferred = 0
        self._right_chain: set[int] = set()
        self.round_trips = 0

    def batch(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to ``calls``, in their order, in one round trip.

        :raises UpstreamUnavailable: no server answers.
        """
        if not calls:
            return []
        reasons = []
        for turn in range(len(self.urls)):
            server = (self._preferred + turn) % len(self.urls)
            try:
                answers = self._ask(server, calls)
            except _ServerFailed as e:
                reasons.append(f"server {server + 1}: {e}")
                log.warning("chain %s: RPC server %s of %s: %s", self.chain_id, server + 1, len(self.urls), e)
                continue
            self._preferred = server
            return answers
        raise UpstreamUnavailable(f"chain {self.chain_id}: no RPC server answers; try again later ({'; '.join(reasons) or 'none is set'})")

    def try_next(self) -> None:
        """Prefers another server from now on: this one may lag behind."""
        self._preferred = (self._preferred + 1) % max(1, len(self.urls))

    def check(self) -> list[str | None]:
        """For each server why it does not do, or None."""
        reasons: list[str | None] = []
        for server in range(len(self.urls)):
            self._right_chain.discard(server)
            try:
                self._ask(server, [("eth_blockNumber", [])])
                reasons.append(None)
            except _ServerFailed as e:
                reasons.append(str(e))
        return reasons

    def _ask(self, server: int, calls: Sequence[Call]) -> list[Answer]:
        known = server in self._right_chain
        # Which chain a server is of is asked once, along with the first questions.
        asked = list(calls) if known else [("eth_chainId", []), *calls]
        answers = self._post(server, asked)
        if not known:
            first = answers.pop(0)
            if first.error or int(str(first.result), 16) != self.chain_id:
                raise _ServerFailed("it is not of this chain")
            self._right_chain.add(server)
        return answers

    def _post(self, server: int, calls: list[Call]) -> list[Answer]:
        self.round_trips += 1
        asked = [{"jsonrpc": "2.0", "id": n, "method": method, "params": params} for n, (method, params) in enumerate(calls)]
        responses = _sent(self.urls[server], asked, self.seconds)
        by_id = {r.get("id"): r for r in responses if isinstance(r, dict)} if isinstance(responses, list) else {}
        if len(by_id) != len(calls) or set(by_id) != set(range(len(calls))):
            raise _ServerFailed("it takes no batches of requests, or refuses this one")
        return [_answer(method, by_id[n]) for n, (method, _) in enumerate(calls)]


def _sent(url: str, asked: list[dict[str, Any]], seconds: float) -> Any:
    import httpx

    content = b""
    try:
        with client().stream("POST", url, json=asked, timeout=seconds) as response:
            if response.status_code != 200:
                raise _ServerFailed(f"HTTP status {response.status_code}")
            for part in response.iter_bytes():
                content += part
                if len(content) > ANSWER_BYTES:
                    raise _ServerFailed(f"its answer has more than {ANSWER_BYTES} bytes")
        return json.loads(content)
    except httpx.TimeoutException:  # the texts of the library's errors hold the URL
        raise _ServerFailed("no answer in time") from None
    except (httpx.TransportError, httpx.InvalidURL):
        raise _ServerFailed("no connection") from None
    except (ValueError, RecursionError, httpx.HTTPError) as e:
        raise _ServerFailed(f"no JSON-RPC ({type(e).__name__})") from None


def _answer(method: str, response: dict[str, Any]) -> Answer:
    error = response.get("error")
    if not error:
        return Answer(result=response.get("result"))
    message = str(error.get("message") if isinstance(error, dict) else error)
    code = error.get("code") if isinstance(error, dict) else None
    # A contract's refusal is an answer, and so is that the range of eth_getLogs is too large; everything else is the server's trouble.
    refused = code == 3 or "revert" in message.lower() or "invalid opcode" in message.lower()
    if method == "eth_getLogs" or (method == "eth_call" and refused):
        return Answer(error=message[:200])
    raise _ServerFailed(f"error {code} for {method}")
