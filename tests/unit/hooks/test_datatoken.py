"""DatatokenHook on a real chain with Ocean's contracts: what it reads, in how many round trips, and from which connection."""

from __future__ import annotations

import hashlib
import json
from decimal import Decimal
from typing import Any

import pytest

from c2d.access.compute_access import ComputeAccess
from c2d.errors import UpstreamUnavailable
from c2d.hooks import connections, datatoken
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.json_rpc import ANSWER_BYTES
from c2d.market import orders
from c2d.market.case import OperatorRules
from c2d.market.chain_facts import ChainQuestions
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from tests.unit import sample_market as m
from tests.unit.operators.test_configure_orders import fee_for, publish
from tests.unit.rpc_server import Behaviour, answers, no_logs, server  # noqa: F401


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    for cached in (datatoken._cache, datatoken._rpc, connections._connection):
        cached.cache_clear()  # type: ignore[attr-defined]


@pytest.fixture
def hook(chain: Any) -> DatatokenHook:
    return DatatokenHook(urls={8996: [chain.url]})


@pytest.fixture(scope="module")
def asset(chain: Any) -> tuple[Any, dict[str, Any]]:
    return publish(chain, chain.accounts[1].address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken)]))


def questions(asset: Any, event: tuple[str, int] | None = None, *transactions: str, token: str = "") -> ChainQuestions:
    nfts = frozenset({(asset.nft, asset.datatoken, event)})
    return ChainQuestions(nfts, frozenset(t.lower() for t in transactions), frozenset({token} if token else ()))


def test_one_batch_reads_metadata_owner_receipts_and_decimals(chain: Any, hook: DatatokenHook, asset: Any) -> None:
    it, doc = asset
    fee = fee_for(chain, doc, "ocean-compute", 5 * 10**18)
    tx = chain.buy(it, chain.accounts[9].address, fee, payer=chain.accounts[2].address)
    again = chain.reuse_order(chain.accounts[2].address, it.datatoken, tx, fee_for(chain, doc, "ocean-compute"))
    facts = hook.facts(8996, questions(it, None, again, token=chain.usdc))
    nft = facts.nfts[it.nft.lower()]
    assert (nft.state, nft.owner, nft.metadataHash) == (0, chain.accounts[1].address, hashlib.sha256(m.text_of(doc)).digest())
    assert facts.deployed == {(it.nft.lower(), it.datatoken.lower())}
    assert facts.decimals == {chain.usdc.lower(): 6} and facts.now == chain.now()
    reused, started = facts.receipts[again.lower()], facts.receipts[tx.lower()]
    assert reused is not None and reused.reused[0].orderTxId == tx.lower()
    assert started is not None and started.started[0].amount == 10**18 and started.fees[0].fee.providerFeeAmount == 5 * 10**18
    assert started.fees[0].fee.providerData == fee[7] and orders.fees.signer(started.fees[0].fee) == m.PROVIDER  # the contract agrees


def test_the_last_metadata_event_counts_and_the_state_is_not_cached(chain: Any, hook: DatatokenHook) -> None:
    it, _ = publish(chain, chain.accounts[1].address, lambda a: m.document(a.nft, [m.service(a.nft, a.datatoken)]))
    first = chain.rpc("eth_blockNumber")
    tx = chain.set_metadata(it, b"{}", "ab" * 32)
    assert hook.facts(8996, questions(it)).nfts[it.nft.lower()].metadataHash == bytes.fromhex("ab" * 32)
    # The event that the metadata cache names is only where the search begins: an earlier event leads to the last one too.
    assert hook.facts(8996, questions(it, (tx, int(first, 16)))).nfts[it.nft.lower()].metadataHash == bytes.fromhex("ab" * 32)
    chain.set_state(it, 4)
    assert hook.facts(8996, questions(it)).nfts[it.nft.lower()].state == 4


def test_missing_metadata_contracts_and_transactions_are_none(chain: Any, hook: DatatokenHook, asset: Any) -> None:
    it, _ = asset
    bare = chain.publish(chain.accounts[1].address)
    facts = hook.facts(8996, questions(bare))
    assert (facts.nfts[bare.nft.lower()].state, facts.nfts[bare.nft.lower()].metadataHash) == (None, None)
    nobody = m.address(5)
    facts = hook.facts(8996, ChainQuestions(frozenset({(nobody, it.datatoken, None), (chain.ocean, it.datatoken, None)})))
    assert facts.deployed == frozenset() and facts.nfts[nobody.lower()].state is None and facts.nfts[chain.ocean.lower()].owner is None
    assert hook.facts(8996, ChainQuestions(frozenset({(it.nft, bare.datatoken, None)}))).deployed == frozenset()
    tx = "0x" + "11" * 32
    assert hook.facts(8996, ChainQuestions(transactions=frozenset({tx}))).receipts == {tx: None}


class Anybody:
    replaces_credentials = False

    def __init__(self, documents: dict[str, Any]):
        self.documents = documents

    def ddos(self, dids: Any) -> dict[str, Any]:
        return {did: self.documents[did] for did in dids}

    def check_start(self, *_: Any) -> None: ...

    check_download = check_start


def test_a_start_with_three_data_sets_and_an_algorithm_takes_at_most_two_round_trips(chain: Any, hook: DatatokenHook) -> None:
    publisher, consumer = chain.accounts[1], chain.accounts[2]
    documents, txs = {}, {}
    for n in range(4):
        kind = "algorithm" if n == 3 else "dataset"
        it, doc = publish(chain, publisher.address, lambda a, kind=kind: m.document(a.nft, [m.service(a.nft, a.datatoken)], kind=kind))
        first = chain.buy(it, consumer.address, fee_for(chain, doc, "ocean-compute"))
        again = chain.reuse_order(consumer.address, it.datatoken, first, fee_for(chain, doc, "ocean-compute"))
        documents[doc["id"]], txs[doc["id"]] = doc, again
    *data, code = documents

    def asked(did: str) -> dict[str, str]:
        return {"documentId": did, "serviceId": "compute_1", "transferTxId": txs[did]}

    request = ComputeRequest(
        consumer.address,
        "ocean-compute",
        Decimal(0),
        tuple(AssetRequest.of(asked(did)) for did in data),
        AlgorithmRequest.of(asked(code)),
    )
    world = Anybody(documents)
    access = ComputeAccess(OperatorRules(lambda _: m.PROVIDER_KEY, lambda _: chain.ocean), world, hook, world, lambda *_: m.CHECKSUM)
    for _ in range(2):  # the first one warms up: it costs no further round trip
        before = hook.rpc(8996).round_trips
        assert len(access.approve_start(request).datasets) == 3
        assert hook.rpc(8996).round_trips - before == 2


# -- servers that fail --------------------------------------------------------------------------------------------------------------

LIMIT = {"error": {"code": -32005, "message": "limit exceeded"}}
FAILS: dict[str, tuple[Behaviour, str]] = {
    "HTTP status 503": (lambda asked: (503, {}), "HTTP status 503"),
    "too many requests": (lambda asked: (429, {}), "HTTP status 429"),
    "HTML instead of JSON": (lambda asked: (200, b"<html>"), "is not JSON-RPC"),
    "no batches": (lambda asked: (200, {"jsonrpc": "2.0", "error": {"code": -32600, "message": "no batch"}}), "does not support batches"),
    "too few answers": (lambda asked: (200, answers(asked)[:-1]), "does not support batches"),
    "another chain": (lambda asked: (200, answers(asked, eth_chainId={"result": "0x1"})), "serves another chain"),
    "a rate limit in each result": (lambda asked: (200, answers(asked, eth_call=LIMIT)), "error -32005 for eth_call"),
    "ids of other calls": (lambda asked: (200, [{**a, "id": 7000 + n} for n, a in enumerate(answers(asked))]), "does not support batches"),
    "one id twice": (lambda asked: (200, [*answers(asked)[:-1], answers(asked)[0]]), "does not support batches"),
    "an endless answer": (lambda asked: (200, b" " * (ANSWER_BYTES + 1)), "has more than"),
    "a redirect": (lambda asked: (302, {}), ""),
}


@pytest.mark.parametrize("failure", FAILS)
def test_a_server_that_fails_is_skipped_and_its_answer_never_counts(
    failure: str, server: Any, chain: Any, asset: Any, caplog: pytest.LogCaptureFixture
) -> None:
    behave, reason = FAILS[failure]
    it, doc = asset
    url = server(behave)
    facts = DatatokenHook(urls={8996: [url, chain.url]}).facts(8996, questions(it))
    assert facts.nfts[it.nft.lower()].metadataHash == hashlib.sha256(m.text_of(doc)).digest()
    with pytest.raises(UpstreamUnavailable, match="chain 8996: no RPC server answers; try again later") as e:
        DatatokenHook(urls={8996: [url]}).facts(8996, questions(it))
    assert reason in str(e.value)
    assert "TOPSECRET" not in str(e.value) + caplog.text and "127.0.0.1" not in str(e.value) and e.value.__cause__ is None


def test_another_server_is_asked_for_a_receipt_that_the_first_does_not_have_yet(
    server: Any, chain: Any, asset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datatoken, "RECEIPT_PAUSE", 0)
    it, doc = asset
    tx = chain.buy(it, chain.accounts[2].address, fee_for(chain, doc, "ocean-compute"))

    def lags(asked: list[dict[str, Any]]) -> tuple[int, Any]:
        block = {"result": {"number": "0x1", "timestamp": "0x1"}}
        return 200, answers(asked, eth_getBlockByNumber=block)

    hook = DatatokenHook(urls={8996: [server(lags), chain.url]})
    receipt = hook.facts(8996, ChainQuestions(transactions=frozenset({tx.lower()}))).receipts[tx.lower()]
    assert receipt is not None and receipt.started


def test_if_a_server_serves_no_logs_the_event_that_the_metadata_cache_names_is_read(server: Any, chain: Any, asset: Any) -> None:
    it, doc = asset
    tx = chain.set_metadata(it, m.text_of(doc), hashlib.sha256(m.text_of(doc)).hexdigest())
    block = int(chain.rpc("eth_getTransactionReceipt", tx)["blockNumber"], 16)

    hook = DatatokenHook(urls={8996: [server(no_logs(chain))]})
    published = hashlib.sha256(m.text_of(doc)).digest()
    assert hook.facts(8996, questions(it, (tx.lower(), block))).nfts[it.nft.lower()].metadataHash == published
    without = hook.facts(8996, questions(it)).nfts[it.nft.lower()]
    assert (without.metadataHash, without.asked) == (None, False), "without it the events could not be searched"


@pytest.mark.parametrize("result", [None, [], "x", {}, {"number": "x", "timestamp": "0x1"}, 5])
def test_a_malformed_block_makes_the_chain_unavailable(result: Any, server: Any) -> None:
    url = server(lambda asked: (200, answers(asked, eth_getBlockByNumber={"result": result})))
    with pytest.raises(UpstreamUnavailable, match="chain 8996: an RPC server's answer cannot be read"):
        DatatokenHook(urls={8996: [url]}).facts(8996, ChainQuestions())


def test_a_chain_without_configured_servers_is_unavailable(chain: Any) -> None:
    with pytest.raises(UpstreamUnavailable, match="chain 5: no RPC server is set for it"):
        DatatokenHook(urls={8996: [chain.url]}).facts(5, ChainQuestions())
    assert DatatokenHook(urls={0: [chain.url]}).facts(8996, ChainQuestions()).now == chain.now()


# -- view functions ------------------------------------------------------------------------------------------------------------------

ABI = {
    "type": "function",
    "name": "isDeployed",
    "stateMutability": "view",
    "inputs": [{"name": "datatoken", "type": "address"}],
    "outputs": [{"name": "", "type": "bool"}],
}


def test_call_returns_the_result_of_a_view_function(chain: Any, hook: DatatokenHook, asset: Any) -> None:
    it, _ = asset
    assert hook.call(8996, it.nft, ABI, {"datatoken": it.datatoken.lower()}) is True
    several = {
        **ABI,
        "name": "getMetaData",
        "inputs": [],
        "outputs": [{"name": "", "type": t} for t in ("string", "string", "uint8", "bool")],
    }
    assert hook.call(8996, it.nft, several, {}) == ["", "", 0, True]
    for arguments, address, why in (
        ({"datatoken": "x"}, it.nft, "the arguments do not fit"),
        ({"datatoken": it.nft}, chain.ocean, "the contract refuses the call"),
        ({"datatoken": it.nft}, m.address(5), "the contract refuses the call"),
    ):
        with pytest.raises(ValueError, match=why):
            hook.call(8996, address, ABI, arguments)


# -- the connection ------------------------------------------------------------------------------------------------------------------


def define(monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]) -> None:
    connections._connection.cache_clear()
    monkeypatch.setenv("AIRFLOW_CONN_OCEAN_DEFAULT", json.dumps({"conn_type": "ocean", "extra": extra}))


def test_the_test_button_asks_every_server_of_the_connection(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, {"8996": [chain.url, "http://127.0.0.1:1/TOPSECRET"], "1": chain.url})
    assert DatatokenHook().test_connection() == (
        False,
        "chain 1, server 1: it serves another chain; chain 8996, server 1: answers; chain 8996, server 2: no connection",
    )
    define(monkeypatch, {"8996": chain.url})
    assert DatatokenHook().test_connection() == (True, "chain 8996, server 1: answers")


def test_the_connection_comes_before_the_setting(chain: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, {"8996": chain.url})
    assert DatatokenHook(urls={8996: ["http://127.0.0.1:1"]}).facts(8996, ChainQuestions()).now == chain.now()


def test_without_a_connection_the_setting_is_used(chain: Any) -> None:
    assert DatatokenHook(urls={}).test_connection()[0] is False
    assert DatatokenHook(urls={8996: [chain.url]}).test_connection()[0] is True


def test_a_malformed_connection_makes_the_chain_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, {"x": "TOPSECRET"})
    with pytest.raises(UpstreamUnavailable, match="connection ocean_default: extra must be a JSON object of RPC URLs by chain id") as e:
        DatatokenHook().facts(8996, ChainQuestions())
    assert "TOPSECRET" not in str(e.value)
