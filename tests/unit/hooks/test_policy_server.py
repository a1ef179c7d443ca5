"""RBAC, the policy server and the metadata cache: what each is asked, and that silence is no yes. The servers are strangers' programs."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from c2d.access.compute_access import ComputeAccess
from c2d.crypto import signatures
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.hooks.aquarius import DDO_BYTES, AssetsHook
from c2d.hooks.policy_server import PolicyHook
from c2d.market.case import OperatorRules
from tests.unit import sample_market as m


class Server:
    """Answers what it is told to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.status, self.answer = 200, b"true"
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.silent = False
        self.released = threading.Event()
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                outer.asked.append((self.path, dict(self.headers), json.loads(body) if body else None))
                if outer.silent:
                    outer.released.wait(30)
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.answer)))
                self.send_header("Location", "/elsewhere")
                self.end_headers()
                self.wfile.write(outer.answer)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None: ...

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.released.set()
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    it = Server()
    yield it
    it.close()


def start(policies: PolicyHook) -> m.Market:
    it = m.market()
    rules = OperatorRules(lambda _: m.PROVIDER_KEY, lambda _: m.OCEAN)
    ComputeAccess(rules, it.world, it.world, policies, lambda *_: m.CHECKSUM, lambda: m.NOW).approve_start(it.request)
    return it


def test_rbac_is_told_of_a_start_in_the_providers_words(server: Server) -> None:
    it = start(PolicyHook(rbac_url=server.url, key=m.PROVIDER_KEY))
    ((_, _, told),) = server.asked
    signature = told.pop("signature")
    credentials = {"type": "address", "value": m.CONSUMER}
    dids = [{"did": it.data["id"], "serviceId": "compute_1"}]
    algos = [{"did": it.algorithm["id"], "serviceId": "algo_1"}]
    assert told == {
        "eventType": "compute",
        "component": "provider",
        "providerAddress": m.PROVIDER,
        "credentials": credentials,
        "dids": dids,
        "algos": algos,
    }
    text = "compute" + json.dumps(credentials) + json.dumps(dids) + json.dumps(algos)
    assert signatures.signer_of_hash(text, signature) == m.PROVIDER


@pytest.mark.parametrize(
    ("status", "answer"), [(200, b"false"), (200, b"1"), (200, b'"true"'), (200, b"<html>"), (403, b"true"), (302, b"true")]
)
def test_whatever_is_not_true_is_no(server: Server, status: int, answer: bytes) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(AccessDenied) as e:
        start(PolicyHook(rbac_url=server.url, key=m.PROVIDER_KEY))
    assert (e.value.resource, e.value.message) == ("RBAC", "RBAC Validation failed!")


def test_the_policy_server_is_asked_for_each_asset_and_decides_in_place_of_credentials(server: Server) -> None:
    server.answer = b""
    policies = PolicyHook(policy_url=server.url, api_key="TOPSECRET", key=m.PROVIDER_KEY)
    it = start(policies)
    assert policies.replaces_credentials and not PolicyHook().replaces_credentials
    assert [q["documentId"] for _, _, q in server.asked] == [it.data["id"], it.algorithm["id"]]
    (_, headers, question), _ = server.asked
    assert {n.lower(): v for n, v in headers.items()}["x-api-key"] == "TOPSECRET"
    assert (question["action"], question["serviceId"], question["consumerAddress"], question["nodeAddress"]) == (
        "startCompute",
        "compute_1",
        m.CONSUMER,
        m.PROVIDER,
    )
    assert question["ddo"]["id"] == it.data["id"]
    server.status = 403
    with pytest.raises(AccessDenied, match="policyServer: denied"):
        start(policies)


def test_the_policy_server_that_replaces_the_lists_is_asked_for_a_download_too(server: Server) -> None:
    server.status = 403
    it = m.market()
    it.data["credentials"] = {"deny": [{"type": "address", "values": [m.CONSUMER]}]}
    rules = OperatorRules(lambda _: m.PROVIDER_KEY, lambda _: m.OCEAN)
    policies = PolicyHook(policy_url=server.url, key=m.PROVIDER_KEY)
    access = ComputeAccess(rules, it.world, it.world, policies, lambda *_: m.CHECKSUM, lambda: m.NOW)
    access.approve_download(it.data["id"], "access_1", m.CONSUMER, None)  # a price is no data
    assert server.asked == []
    with pytest.raises(AccessDenied, match="policyServer: denied"):
        access.approve_download(it.data["id"], "access_1", m.CONSUMER, m.tx(3), policy_server={"sessionId": "7"})
    ((_, _, question),) = server.asked
    assert (question["action"], question["policyServer"]) == ("download", {"sessionId": "7"})
    server.status = 200
    assert access.approve_download(it.data["id"], "access_1", m.CONSUMER, m.tx(3)).files


@pytest.mark.parametrize("name", ["rbac_url", "policy_url"])
def test_who_does_not_answer_has_not_said_yes(server: Server, name: str) -> None:
    server.status = 500
    for url, why in ((server.url + "/TOPSECRET", "HTTP status 500"), ("http://127.0.0.1:1/TOPSECRET", "does not answer")):
        with pytest.raises(UpstreamUnavailable, match=f"{why}.*; try again later") as e:
            start(PolicyHook(**{name: url}, key=m.PROVIDER_KEY))  # type: ignore[arg-type]
        assert "TOPSECRET" not in str(e.value) and e.value.__cause__ is None
    server.silent = True
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        start(PolicyHook(**{name: server.url}, key=m.PROVIDER_KEY, seconds=0.1))  # type: ignore[arg-type]


# -- the metadata cache ---------------------------------------------------------------------------------------------------------------

DID = m.market().data["id"]


def test_a_ddo_comes_from_the_cache_or_with_the_job(server: Server) -> None:
    server.answer = json.dumps({"id": DID, "from": "cache"}).encode()
    assert AssetsHook(server.url + "/").ddos([DID]) == {DID: {"id": DID, "from": "cache"}}
    assert server.asked[0][0] == f"/api/aquarius/assets/ddo/{DID}"
    assert AssetsHook(server.url, [{"id": DID, "from": "job"}]).ddos([DID]) == {DID: {"id": DID, "from": "job"}}
    assert AssetsHook(None).ddos([DID]) == {} and len(server.asked) == 1
    # Which event is the last one the consumer does not say.
    carried = {"id": DID, "from": "job", "event": {"tx": "0x" + "ab" * 32, "block": 0}}
    assert AssetsHook(server.url, [carried]).ddos([DID]) == {DID: {"id": DID, "from": "job"}}


def test_what_is_no_did_is_not_asked_for(server: Server) -> None:
    assert AssetsHook(server.url).ddos(["../../x", "did:op:", "did:op:a/b", "did:op:" + "a" * 200]) == {}
    assert server.asked == []


def test_an_asset_that_the_cache_does_not_know(server: Server) -> None:
    server.status = 404
    assert AssetsHook(server.url).ddos([DID]) == {}
    server.status, server.answer = 200, b"[]"
    assert AssetsHook(server.url).ddos([DID]) == {}


@pytest.mark.parametrize(
    ("status", "answer", "why"),
    [
        (500, b"", "HTTP status 500"),
        (302, b"", "HTTP status 302"),
        (200, b"<html>", "is no JSON"),
        (200, b"[" * 100_000, "is no JSON"),
        (200, b" " * (DDO_BYTES + 1), "has more than"),
    ],
)
def test_a_cache_that_fails_is_no_answer(server: Server, status: int, answer: bytes, why: str) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(UpstreamUnavailable, match=f"metadata cache: .*{why}"):
        AssetsHook(server.url + "/TOPSECRET").ddos([DID])
    server.silent = True
    with pytest.raises(UpstreamUnavailable, match="metadata cache: does not answer") as e:
        AssetsHook(server.url + "/TOPSECRET", seconds=0.1).ddos([DID])
    assert "TOPSECRET" not in str(e.value)
