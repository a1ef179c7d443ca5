"""JSON-RPC to a chain: batches over web3's HTTP provider, the next server where one does not answer, time limits. No URL in an error.

An RPC URL may hold a key, so an error names a server by its place in the list.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2d.facts import Unavailable

log = logging.getLogger(__name__)

Call = tuple[str, list[Any]]


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
        self._providers: dict[int, Any] = {}
        self._lock = threading.Lock()
        self.round_trips = 0

    def batch(self, calls: Sequence[Call]) -> list[Answer]:
        """The answers to ``calls``, in their order, in one round trip.

        :raises Unavailable: no server answers.
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
        raise Unavailable(f"chain {self.chain_id}: no RPC server answers; try again later ({'; '.join(reasons) or 'none is set'})")

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
        provider = self._provider(server)
        self.round_trips += 1
        try:
            responses = provider.make_batch_request(calls)
        except Exception as e:  # requests' and the decoder's own kinds, all with the URL in their texts
            raise _ServerFailed(_why(e)) from None
        if not isinstance(responses, list) or len(responses) != len(calls):
            raise _ServerFailed("it takes no batches of requests, or refuses this one")
        return [_answer(method, response) for (method, _), response in zip(calls, responses, strict=True)]

    def _provider(self, server: int) -> Any:
        with self._lock:
            if server not in self._providers:
                from web3 import HTTPProvider

                kwargs = {"timeout": (self.seconds, self.seconds), "allow_redirects": False}
                self._providers[server] = HTTPProvider(self.urls[server], request_kwargs=kwargs, exception_retry_configuration=None)
            return self._providers[server]


def _answer(method: str, response: Any) -> Answer:
    if not isinstance(response, dict):
        raise _ServerFailed("its answer is no JSON-RPC")
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


def _why(error: Exception) -> str:
    import requests

    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"HTTP status {error.response.status_code}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return f"no JSON-RPC ({type(error).__name__})"
