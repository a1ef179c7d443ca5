"""Reads NFTs, datatokens and orders from a chain, in few round trips."""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk.bases.hook import BaseHook

from c2d.crypto.signatures import checksummed
from c2d.errors import UpstreamUnavailable
from c2d.hooks.connections import connection
from c2d.hooks.json_rpc import Call, CallResult, Rpc
from c2d.market import orders
from c2d.market.chain_facts import ChainFacts, ChainQuestions, NftFacts
from c2d.market.orders import Receipt
from c2d.settings import installation
from c2d.settings.provider import EVERY_CHAIN, ProviderSettings

CONN_ID = "ocean_default"
FINAL_BLOCKS = 64
"""A receipt this many blocks below the latest one is cached: no reorganization of the chain will change it."""
CACHED_RECEIPTS = 4096
RECEIPT_TRIES, RECEIPT_PAUSE = 3, 0.4
"""Attempts, and seconds between them: one RPC server may not have seen yet what another one has confirmed to the consumer."""

METADATA_EVENTS = (
    "MetadataCreated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)",
    "MetadataUpdated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)",
)

Results = Mapping[tuple[str, ...], CallResult]
"""The results of a batch by what was asked for, such as ``("metadata", nft)``."""


class DatatokenHook(BaseHook):
    """Reads Ocean's contracts. The RPC URLs come from the Airflow connection (type ``ocean``, extra: a JSON object of one URL or a list by
    chain id). If there is no such connection, they come from the setting NETWORK_URL.

    Facts that cannot change are asked for once per process: that an NFT deployed a datatoken, a token's decimals, receipts in final
    blocks.

    :param urls: used instead of NETWORK_URL.
    :param seconds: timeout of an RPC server for connecting and for each read.
    """

    conn_name_attr = "ocean_conn_id"
    default_conn_name = CONN_ID
    conn_type = "ocean"
    hook_name = "Ocean (EVM chains)"

    def __init__(
        self,
        ocean_conn_id: str = CONN_ID,
        *,
        urls: Mapping[int, Sequence[str]] | None = None,
        seconds: float = 5,
        logger_name: str | None = None,
    ):
        super().__init__(logger_name=logger_name)
        self.ocean_conn_id, self.seconds, self._urls = ocean_conn_id, seconds, urls

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        """The answers, in one round trip, or in two if an order is reused.

        :raises c2d.errors.UpstreamUnavailable: no RPC server of the chain gave a usable answer.
        """
        try:
            return self._facts(chain_id, questions)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise UpstreamUnavailable(
                f"chain {chain_id}: an RPC server's answer cannot be read ({type(e).__name__}); try again later"
            ) from None

    def _facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        rpc, cache = self.rpc(chain_id), _cache(chain_id)
        transactions = {tx.lower() for tx in questions.transactions}
        tokens = {token.lower() for token in questions.tokens}
        calls: dict[tuple[str, ...], Call] = {("block",): ("eth_getBlockByNumber", ["latest", False])}
        for nft, datatoken, event in questions.nfts:
            calls |= _nft_calls(nft, datatoken, event, cache)
        calls |= {("receipt", tx): _receipt_call(tx) for tx in transactions if tx not in cache.receipts}
        calls |= {("decimals", token): _contract_call(token, "decimals()") for token in tokens if token not in cache.decimals}
        results: Results = dict(zip(calls, rpc.batch(list(calls.values())), strict=True))

        block = results[("block",)].result
        receipts = {tx: cache.receipts.get(tx) or _receipt(results[("receipt", tx)]) for tx in transactions}
        receipts |= self._retried_receipts(rpc, [tx for tx, receipt in receipts.items() if receipt is None])
        receipts |= _original_receipts(rpc, receipts, cache)

        cache.add_final(receipts, int(block["number"], 16))
        cache.deployed |= {(nft.lower(), dt.lower()) for nft, dt, _ in questions.nfts if _is_true(results.get(("deployed", nft, dt)))}
        for token in tokens - set(cache.decimals):
            if (decimals := _uint256(results[("decimals", token)])) is not None:
                cache.decimals[token] = decimals
        return ChainFacts(
            now=int(block["timestamp"], 16),
            nfts={nft.lower(): _nft_facts(nft, event, results) for nft, _, event in questions.nfts},
            deployed=frozenset((n.lower(), d.lower()) for n, d, _ in questions.nfts if (n.lower(), d.lower()) in cache.deployed),
            receipts=receipts,
            decimals={token: cache.decimals.get(token) for token in tokens},
        )

    def call(self, chain_id: int, address: str, abi: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        """The result of a contract's view function (a file of type smartcontract).

        :raises c2d.errors.UpstreamUnavailable: no RPC server of the chain gave a usable answer.
        :raises ValueError: the contract reverts, or arguments or result do not fit the ABI.
        """
        from web3 import Web3

        contract = Web3().eth.contract(address=Web3.to_checksum_address(address), abi=[dict(abi)])
        try:
            typed = {
                p["name"]: Web3.to_checksum_address(arguments[p["name"]]) if p.get("type") == "address" else arguments[p["name"]]
                for p in abi["inputs"]
            }
            function = contract.functions[abi["name"]](**typed)
            data = contract.encode_abi(abi["name"], kwargs=typed)
        except Exception as e:  # web3 has many kinds
            raise ValueError(f"the arguments do not fit the contract's function ({type(e).__name__})") from None
        (answer,) = self.rpc(chain_id).batch([("eth_call", [{"to": address, "data": data}, "latest"])])
        if answer.error or not answer.result or answer.result == "0x":
            raise ValueError("the contract refuses the call")
        try:
            outputs = function.abi["outputs"]
            decoded = Web3().codec.decode([_abi_type(o) for o in outputs], bytes.fromhex(answer.result[2:]))
        except Exception as e:
            raise ValueError(f"the contract's answer does not fit its ABI ({type(e).__name__})") from None
        return decoded[0] if len(decoded) == 1 else list(decoded)

    def test_connection(self) -> tuple[bool, str]:
        """For the test button in Airflow's UI: asks each RPC server for its chain id."""
        urls = self.urls()
        if not urls:
            return False, "no RPC URL: extra must be a JSON object by chain id, or NETWORK_URL must be set"
        texts, ok = [], True
        for chain_id in sorted(urls):
            if chain_id == EVERY_CHAIN:
                texts.append("NETWORK_URL names no chain, so its servers cannot be tested here")
                continue
            for server, reason in enumerate(self.rpc(chain_id).check(), 1):
                texts.append(f"chain {chain_id}, server {server}: {reason or 'answers'}")
                ok = ok and reason is None
        return ok, "; ".join(texts)

    def urls(self) -> Mapping[int, Sequence[str]]:
        """The RPC URLs by chain id.

        :raises c2d.errors.UpstreamUnavailable: the connection's extra is malformed.
        """
        if (defined := connection(self.ocean_conn_id)) is not None:
            try:
                return ProviderSettings(NETWORK_URL=defined.extra_dejson).NETWORK_URL
            except ValueError:
                raise UpstreamUnavailable(f"connection {self.ocean_conn_id}: extra must be a JSON object of RPC URLs by chain id") from None
        return installation.load().provider.NETWORK_URL if self._urls is None else self._urls

    def rpc(self, chain_id: int) -> Rpc:
        """The RPC servers of a chain.

        :raises c2d.errors.UpstreamUnavailable: none is configured.
        """
        urls = self.urls()
        urls_of_chain = urls.get(chain_id) or urls.get(EVERY_CHAIN)
        if not urls_of_chain:
            raise UpstreamUnavailable(
                f"chain {chain_id}: no RPC server is set for it (NETWORK_URL, or the connection {self.ocean_conn_id})"
            )
        return _rpc(chain_id, tuple(urls_of_chain), self.seconds)

    def _retried_receipts(self, rpc: Rpc, transactions: Iterable[str]) -> dict[str, Receipt | None]:
        """The receipts of transactions that the first RPC server did not know, asked of the other servers too."""
        receipts: dict[str, Receipt | None] = {}
        missing = sorted(transactions)
        for _ in range(RECEIPT_TRIES - 1):
            if not missing:
                break
            time.sleep(RECEIPT_PAUSE)
            rpc.try_next()
            receipts |= _receipts(rpc, missing)
            missing = [tx for tx in missing if receipts[tx] is None]
        return receipts


class _ChainCache:
    """Facts of a chain that cannot change."""

    def __init__(self) -> None:
        self.deployed: set[tuple[str, str]] = set()
        self.decimals: dict[str, int] = {}
        self.receipts: OrderedDict[str, Receipt] = OrderedDict()

    def add_final(self, receipts: Mapping[str, Receipt | None], latest_block: int) -> None:
        """Adds the receipts that are FINAL_BLOCKS deep, and drops the oldest if there are too many."""
        self.receipts.update({tx: r for tx, r in receipts.items() if r and r.block <= latest_block - FINAL_BLOCKS})
        while len(self.receipts) > CACHED_RECEIPTS:
            self.receipts.popitem(last=False)


@functools.cache
def _cache(chain_id: int) -> _ChainCache:
    return _ChainCache()


@functools.lru_cache(maxsize=64)
def _rpc(chain_id: int, urls: tuple[str, ...], seconds: float) -> Rpc:
    return Rpc(chain_id, urls, seconds)


def _original_receipts(rpc: Rpc, receipts: Mapping[str, Receipt | None], cache: _ChainCache) -> dict[str, Receipt | None]:
    """The receipts of the transactions that started the reused orders in ``receipts``."""
    originals = {tx for tx in orders.originals(receipts.values()) if tx not in receipts}
    cached = {tx: cache.receipts[tx] for tx in originals if tx in cache.receipts}
    return _receipts(rpc, sorted(originals - set(cached))) | cached


def _receipts(rpc: Rpc, transactions: Sequence[str]) -> dict[str, Receipt | None]:
    results = rpc.batch([_receipt_call(tx) for tx in transactions])
    return {tx: _receipt(result) for tx, result in zip(transactions, results, strict=True)}


# -- calls -------------------------------------------------------------------------------------------------------------------------


def _nft_calls(nft: str, datatoken: str, event: tuple[str, int] | None, cache: _ChainCache) -> dict[tuple[str, ...], Call]:
    """:param event: transaction and block of a metadata event, if one is known: later events are in that block or after it."""
    since = hex(event[1]) if event else "0x0"
    topics = [[orders.topic(e) for e in METADATA_EVENTS]]
    calls: dict[tuple[str, ...], Call] = {
        ("metadata", nft): _contract_call(nft, "getMetaData()"),
        ("owner", nft): _contract_call(nft, "ownerOf(uint256)", "0" * 63 + "1"),
        ("logs", nft): ("eth_getLogs", [{"address": nft, "fromBlock": since, "toBlock": "latest", "topics": topics}]),
    }
    if event:
        calls[("event", nft)] = _receipt_call(event[0])  # in case the server refuses eth_getLogs over that many blocks
    if (nft.lower(), datatoken.lower()) not in cache.deployed:
        calls[("deployed", nft, datatoken)] = _contract_call(nft, "isDeployed(address)", datatoken[2:].lower().rjust(64, "0"))
    return calls


def _contract_call(address: str, function: str, arguments: str = "") -> Call:
    return "eth_call", [{"to": address, "data": orders.topic(function)[:10] + arguments}, "latest"]


def _receipt_call(tx: str) -> Call:
    return "eth_getTransactionReceipt", [tx]


# -- results -----------------------------------------------------------------------------------------------------------------------


def _nft_facts(nft: str, event: tuple[str, int] | None, results: Results) -> NftFacts:
    state = None
    if (metadata := _decoded(results[("metadata", nft)], "string", "string", "uint8", "bool")) and metadata[3]:
        state = metadata[2]
    owner = _decoded(results[("owner", nft)], "address")
    logs = results[("logs", nft)]
    entries = logs.result
    if logs.error:
        entries = (results[("event", nft)].result or {}).get("logs") if event else None
    searched = not logs.error or event is not None
    return NftFacts(state, checksummed(owner[0]) if owner else None, _metadata_hash(nft, entries or []), searched)


def _metadata_hash(nft: str, logs: Sequence[Mapping[str, Any]]) -> bytes | None:
    """The hash in the NFT's last metadata event."""
    topics = {orders.topic(e) for e in METADATA_EVENTS}
    own = [entry for entry in logs if str(entry["address"]).lower() == nft.lower() and entry["topics"] and entry["topics"][0] in topics]
    if not own:
        return None
    last = max(own, key=lambda entry: (int(entry["blockNumber"], 16), int(entry["logIndex"], 16)))
    event = _decoded(CallResult(last["data"]), "uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256")
    return event[4] if event else None


def _receipt(result: CallResult) -> Receipt | None:
    return orders.decode(result.result) if result.result else None


def _decoded(result: CallResult, *types: str) -> tuple[Any, ...] | None:
    """The values that a contract returned; None if the contract does not exist or returned something else."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    if result.error or not isinstance(result.result, str):
        return None
    try:
        return tuple(decode(types, bytes.fromhex(result.result.removeprefix("0x"))))
    except (DecodingError, ValueError, OverflowError):
        return None


def _is_true(result: CallResult | None) -> bool:
    return result is not None and _decoded(result, "bool") == (True,)


def _uint256(result: CallResult) -> int | None:
    values = _decoded(result, "uint256")
    return values[0] if values else None


def _abi_type(output: Mapping[str, Any]) -> str:
    from eth_utils.abi import collapse_if_tuple

    return str(collapse_if_tuple(dict(output)))
