"""Rpc with servers that fail, and one real chain to fail over to."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from c2d.errors import UpstreamUnavailable
from c2d.hooks import json_rpc
from c2d.hooks.json_rpc import Call, Rpc, urls_by_chain_id
from tests.unit.rpc_server import answers, server  # noqa: F401

BLOCK_NUMBER: list[Call] = [("eth_blockNumber", [])]


def test_an_unreachable_and_a_silent_server_are_told_apart(server: Any) -> None:
    released = threading.Event()

    def silent(asked: list[dict[str, Any]]) -> tuple[int, Any]:
        released.wait(30)
        return 200, []

    with pytest.raises(UpstreamUnavailable, match=r"server 1: no connection; server 2: no answer in time"):
        Rpc(8996, ["http://127.0.0.1:1/TOPSECRET", server(silent)], 0.2).batch(BLOCK_NUMBER)
    released.set()


def test_the_server_that_answered_last_is_tried_first(server: Any, chain: Any) -> None:
    asked: list[int] = []

    def fails(calls: list[dict[str, Any]]) -> tuple[int, Any]:
        asked.append(len(calls))
        return 503, {}

    rpc = Rpc(8996, [server(fails), chain.url], 5)
    for _ in range(3):
        rpc.batch(BLOCK_NUMBER)
    assert len(asked) == 1
    rpc.try_next()
    rpc.batch(BLOCK_NUMBER)
    assert len(asked) == 2


def test_a_revert_belongs_to_its_call_alone(server: Any) -> None:
    reverted = {"error": {"code": 3, "message": "execution reverted"}}
    url = server(lambda asked: (200, answers(asked, eth_call=reverted, eth_blockNumber={"result": "0x5"})))
    call, block = Rpc(8996, [url], 5).batch([("eth_call", []), *BLOCK_NUMBER])
    assert (call.error, call.result, block.result) == ("execution reverted", None, "0x5")


def test_a_chain_whose_id_is_not_configured_is_asked_for_it(chain: Any) -> None:
    dead = "http://127.0.0.1:9"
    assert urls_by_chain_id({0: (dead, chain.url)}) == {8996: (dead, chain.url)}
    assert urls_by_chain_id({1: (dead,), 0: (chain.url,)}) == {1: (dead,), 8996: (chain.url,)}


def test_servers_that_do_not_tell_their_chain_are_left_out_and_asked_again_later(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    status = [503, 200]

    def starting(calls: list[dict[str, Any]]) -> tuple[int, Any]:
        asked.append(len(calls))
        return status[len(asked) - 1], answers(calls)

    url = server(starting)
    assert urls_by_chain_id({0: (url,)}) == urls_by_chain_id({0: (url,)}) == {}
    assert len(asked) == 1, "not asked again at once"
    monkeypatch.setattr(json_rpc, "CHAIN_ID_RETRY_SECONDS", 0)
    assert urls_by_chain_id({0: (url,)}) == urls_by_chain_id({0: (url,)}) == {8996: (url,)}
    assert len(asked) == 2, "the chain id is cached"
