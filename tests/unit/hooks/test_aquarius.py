"""The metadata cache: which DDOs it is asked for, and that a failing cache is not taken for one without the asset."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from c2d.errors import UpstreamUnavailable
from c2d.hooks.aquarius import DDO_BYTES, AquariusHook
from tests.unit import sample_market as m

if TYPE_CHECKING:
    from tests.unit.hooks.conftest import Server

DID = m.market().data["id"]


def test_a_ddo_that_came_with_the_job_takes_precedence_over_the_cache(server: Server) -> None:
    server.answer = json.dumps({"id": DID, "from": "cache"}).encode()
    assert AquariusHook(server.url + "/").ddos([DID]) == {DID: {"id": DID, "from": "cache"}}
    assert server.asked[0][0] == f"/api/aquarius/assets/ddo/{DID}"
    assert AquariusHook(server.url, [{"id": DID, "from": "job"}]).ddos([DID]) == {DID: {"id": DID, "from": "job"}}
    assert AquariusHook(None).ddos([DID]) == {} and len(server.asked) == 1
    # A consumer must not choose where on the chain to look.
    carried = {"id": DID, "from": "job", "event": {"tx": "0x" + "ab" * 32, "block": 0}}
    assert AquariusHook(server.url, [carried]).ddos([DID]) == {DID: {"id": DID, "from": "job"}}


def test_malformed_dids_are_not_asked_for(server: Server) -> None:
    assert AquariusHook(server.url).ddos(["../../x", "did:op:", "did:op:a/b", "did:op:" + "a" * 200]) == {}
    assert server.asked == []


def test_an_asset_that_the_cache_does_not_know_is_left_out(server: Server) -> None:
    server.status = 404
    assert AquariusHook(server.url).ddos([DID]) == {}
    server.status, server.answer = 200, b"[]"
    assert AquariusHook(server.url).ddos([DID]) == {}


@pytest.mark.parametrize(
    ("status", "answer", "reason"),
    [
        (500, b"", "HTTP status 500"),
        (302, b"", "HTTP status 302"),
        (200, b"<html>", "is not JSON"),
        (200, b"[" * 100_000, "is not JSON"),
        (200, b" " * (DDO_BYTES + 1), "has more than"),
    ],
)
def test_a_cache_that_fails_is_unavailable(server: Server, status: int, answer: bytes, reason: str) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(UpstreamUnavailable, match=f"metadata cache: .*{reason}"):
        AquariusHook(server.url + "/TOPSECRET").ddos([DID])
    server.silent = True
    with pytest.raises(UpstreamUnavailable, match="metadata cache: does not answer") as e:
        AquariusHook(server.url + "/TOPSECRET", seconds=0.1).ddos([DID])
    assert "TOPSECRET" not in str(e.value)
