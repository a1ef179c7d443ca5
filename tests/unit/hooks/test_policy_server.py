"""What the RBAC server and the policy server are asked, and that only a clear yes grants access."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from c2d.access.compute_access import ComputeAccess
from c2d.crypto import signatures
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.hooks.policy_server import PolicyServerHook
from c2d.market.case import OperatorRules
from tests.unit import sample_market as m

if TYPE_CHECKING:
    from tests.unit.hooks.conftest import Server


def start(policies: PolicyServerHook) -> m.Market:
    it = m.market()
    rules = OperatorRules(lambda _: m.PROVIDER_KEY, lambda _: m.OCEAN)
    ComputeAccess(rules, it.world, it.world, policies, lambda *_: m.CHECKSUM, lambda: m.NOW).approve_start(it.request)
    return it


def test_the_rbac_server_gets_the_providers_request_for_a_start(server: Server) -> None:
    it = start(PolicyServerHook(rbac_url=server.url, key=m.PROVIDER_KEY))
    ((_, _, payload),) = server.asked
    signature = payload.pop("signature")
    credentials = {"type": "address", "value": m.CONSUMER}
    dids = [{"did": it.data["id"], "serviceId": "compute_1"}]
    algos = [{"did": it.algorithm["id"], "serviceId": "algo_1"}]
    assert payload == {
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
def test_every_rbac_answer_but_true_denies_access(server: Server, status: int, answer: bytes) -> None:
    server.status, server.answer = status, answer
    with pytest.raises(AccessDenied) as e:
        start(PolicyServerHook(rbac_url=server.url, key=m.PROVIDER_KEY))
    assert (e.value.resource, e.value.message) == ("RBAC", "RBAC Validation failed!")


def test_the_policy_server_is_asked_about_each_asset_and_replaces_credentials(server: Server) -> None:
    server.answer = b""
    policies = PolicyServerHook(policy_url=server.url, api_key="TOPSECRET", key=m.PROVIDER_KEY)
    it = start(policies)
    assert policies.replaces_credentials and not PolicyServerHook().replaces_credentials
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


def test_the_policy_server_is_asked_about_a_download_too(server: Server) -> None:
    server.status = 403
    it = m.market()
    it.data["credentials"] = {"deny": [{"type": "address", "values": [m.CONSUMER]}]}
    rules = OperatorRules(lambda _: m.PROVIDER_KEY, lambda _: m.OCEAN)
    policies = PolicyServerHook(policy_url=server.url, key=m.PROVIDER_KEY)
    access = ComputeAccess(rules, it.world, it.world, policies, lambda *_: m.CHECKSUM, lambda: m.NOW)
    access.approve_download(it.data["id"], "access_1", m.CONSUMER, None)  # without an order: a price is asked for, no data
    assert server.asked == []
    with pytest.raises(AccessDenied, match="policyServer: denied"):
        access.approve_download(it.data["id"], "access_1", m.CONSUMER, m.tx(3), policy_server={"sessionId": "7"})
    ((_, _, question),) = server.asked
    assert (question["action"], question["policyServer"]) == ("download", {"sessionId": "7"})
    server.status = 200
    assert access.approve_download(it.data["id"], "access_1", m.CONSUMER, m.tx(3)).files


@pytest.mark.parametrize("name", ["rbac_url", "policy_url"])
def test_no_answer_counts_as_a_denial(server: Server, name: str) -> None:
    server.status = 500
    for url, reason in ((server.url + "/TOPSECRET", "HTTP status 500"), ("http://127.0.0.1:1/TOPSECRET", "does not answer")):
        with pytest.raises(UpstreamUnavailable, match=f"{reason}.*; try again later") as e:
            start(PolicyServerHook(**{name: url}, key=m.PROVIDER_KEY))  # type: ignore[arg-type]
        assert "TOPSECRET" not in str(e.value) and e.value.__cause__ is None
    server.silent = True
    with pytest.raises(UpstreamUnavailable, match="does not answer"):
        start(PolicyServerHook(**{name: server.url}, key=m.PROVIDER_KEY, seconds=0.1))  # type: ignore[arg-type]
