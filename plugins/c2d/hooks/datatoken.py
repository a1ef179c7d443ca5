"""DatatokenHook: what a chain says of NFTs, datatokens and orders, in few round trips."""

from __future__ import annotations

import functools
import time
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from airflow.sdk.bases.hook import BaseHook

from c2d import provider_info
from c2d.crypto.signatures import checksummed
from c2d.errors import UpstreamUnavailable
from c2d.hooks.json_rpc import Answer, Call, Rpc
from c2d.market import orders
from c2d.market.chain_facts import ChainFacts, ChainQuestions, NftFacts
from c2d.market.orders import Receipt
from c2d.settings import installation
from c2d.settings.provider import EVERY_CHAIN

CONN_ID = "ocean_default"
CONNECTION_SECONDS = 60
"""A changed connection holds after this time."""
FINAL_BLOCKS = 64
"""A receipt this deep below the latest block is kept: its chain will not go back on it."""
RECEIPTS_KEPT = 4096
RECEIPT_TRIES, RECEIPT_PAUSE = 3, 0.4
"""A server may not have seen yet what another one has confirmed to the consumer."""

METADATA_EVENTS = (
    "MetadataCreated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)",
    "MetadataUpdated(address,uint8,string,bytes,bytes,bytes32,uint256,uint256)",
)


class DatatokenHook(BaseHook):
    """Airflow connection type ``ocean``: extra is a JSON object of RPC URLs by chain id, one or a list each. Without such a connection,
    the setting NETWORK_URL holds.

    Facts that cannot change are asked for once a process: that a datatoken is an NFT's, a token's decimals, receipts of settled blocks.

    :param urls: in place of NETWORK_URL.
    :param seconds: that an RPC server has to connect, and again for its answer.
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

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        return {name.replace("-", "_"): value for name, value in provider_info.UI.items()}

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        """The answers, of one round trip, or two where an order is used on.

        :raises c2d.errors.UpstreamUnavailable: no RPC server of the chain answers.
        """
        try:
            return self._facts(chain_id, questions)
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise UpstreamUnavailable(
                f"chain {chain_id}: an RPC server's answer cannot be read ({type(e).__name__}); try again later"
            ) from None

    def _facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        rpc, known = self.rpc(chain_id), _known(chain_id)
        calls: dict[tuple[str, ...], Call] = {("block",): ("eth_getBlockByNumber", ["latest", False])}
        for nft, datatoken, event in questions.nfts:
            calls |= _of_nft(nft, datatoken, event, known)
        transactions = {tx.lower() for tx in questions.transactions}
        calls |= {("receipt", tx): _receipt(tx) for tx in transactions if tx not in known.receipts}
        tokens = {token.lower() for token in questions.tokens}
        calls |= {("decimals", token): _call(token, "decimals()") for token in tokens if token not in known.decimals}
        answers = dict(zip(calls, rpc.batch(list(calls.values())), strict=True))

        latest = int(answers[("block",)].result["number"], 16)
        wanted = {tx: known.receipts.get(tx) or _decoded(answers[("receipt", tx)]) for tx in transactions}
        wanted |= self._asked_again(rpc, [tx for tx, receipt in wanted.items() if receipt is None])
        used_on = {tx for tx in orders.originals(wanted.values()) if tx not in wanted}
        found = {tx: known.receipts[tx] for tx in used_on if tx in known.receipts}
        missing = sorted(used_on - set(found))
        found |= {tx: r for tx, a in zip(missing, rpc.batch([_receipt(tx) for tx in missing]), strict=True) if (r := _decoded(a))}
        receipts = {**wanted, **{tx: found.get(tx) for tx in used_on}}

        known.deployed |= {(nft.lower(), dt.lower()) for nft, dt, _ in questions.nfts if _true(answers.get(("deployed", nft, dt)))}
        known.decimals |= {token: n for token in tokens if (a := answers.get(("decimals", token))) and (n := _number(a)) is not None}
        known.keep({tx: r for tx, r in receipts.items() if r and r.block <= latest - FINAL_BLOCKS})
        return ChainFacts(
            now=int(answers[("block",)].result["timestamp"], 16),
            nfts={nft.lower(): _nft(nft, event, answers) for nft, _, event in questions.nfts},
            deployed=frozenset((n.lower(), d.lower()) for n, d, _ in questions.nfts if (n.lower(), d.lower()) in known.deployed),
            receipts=receipts,
            decimals={token: known.decimals.get(token) for token in tokens},
        )

    def call(self, chain_id: int, address: str, abi: Mapping[str, Any], arguments: Mapping[str, Any]) -> Any:
        """The result of a contract's view function (a file of type smartcontract).

        :raises c2d.errors.UpstreamUnavailable: no RPC server of the chain answers.
        :raises ValueError: the contract refuses the call or the arguments do not fit the ABI.
        """
        from web3 import Web3

        contract = Web3().eth.contract(address=Web3.to_checksum_address(address), abi=[dict(abi)])
        try:
            given = {
                p["name"]: Web3.to_checksum_address(arguments[p["name"]]) if p.get("type") == "address" else arguments[p["name"]]
                for p in abi["inputs"]
            }
            function = contract.functions[abi["name"]](**given)
            data = contract.encode_abi(abi["name"], kwargs=given)
        except Exception as e:  # web3's own kinds
            raise ValueError(f"the arguments do not fit the contract's function ({type(e).__name__})") from None
        (answer,) = self.rpc(chain_id).batch([("eth_call", [{"to": address, "data": data}, "latest"])])
        if answer.error or not answer.result or answer.result == "0x":
            raise ValueError("the contract refuses the call")
        try:
            outputs = function.abi["outputs"]
            decoded = Web3().codec.decode([_type(o) for o in outputs], bytes.fromhex(answer.result[2:]))
        except Exception as e:
            raise ValueError(f"the contract's answer does not fit its ABI ({type(e).__name__})") from None
        return decoded[0] if len(decoded) == 1 else list(decoded)

    def test_connection(self) -> tuple[bool, str]:
        """For the button in the UI: asks each RPC server which chain it is of."""
        urls = self.urls()
        if not urls:
            return False, "no RPC URL: extra must be a JSON object by chain id, or NETWORK_URL be set"
        texts, ok = [], True
        for chain_id in sorted(urls):
            if chain_id == EVERY_CHAIN:
                texts.append("NETWORK_URL names no chain, so it is asked when a chain is used")
                continue
            for server, why in enumerate(self.rpc(chain_id).check(), 1):
                texts.append(f"chain {chain_id}, server {server}: {why or 'answers'}")
                ok = ok and why is None
        return ok, "; ".join(texts)

    def urls(self) -> Mapping[int, Sequence[str]]:
        """The RPC URLs by chain."""
        found = _of_connection(self.ocean_conn_id, int(time.monotonic() / CONNECTION_SECONDS))
        if found is not None:
            return found
        return installation.load().provider.NETWORK_URL if self._urls is None else self._urls

    def rpc(self, chain_id: int) -> Rpc:
        """The servers of a chain.

        :raises c2d.errors.UpstreamUnavailable: there are none.
        """
        urls = self.urls()
        of_chain = urls.get(chain_id) or urls.get(EVERY_CHAIN)
        if not of_chain:
            raise UpstreamUnavailable(
                f"chain {chain_id}: no RPC server is set for it (NETWORK_URL, or the connection {self.ocean_conn_id})"
            )
        return _rpc(chain_id, tuple(of_chain), self.seconds)

    def _asked_again(self, rpc: Rpc, transactions: Iterable[str]) -> dict[str, Receipt | None]:
        found: dict[str, Receipt | None] = {}
        missing = sorted(transactions)
        for _ in range(RECEIPT_TRIES - 1):
            if not missing:
                break
            time.sleep(RECEIPT_PAUSE)
            rpc.try_next()
            found |= {tx: _decoded(a) for tx, a in zip(missing, rpc.batch([_receipt(tx) for tx in missing]), strict=True)}
            missing = [tx for tx in missing if found[tx] is None]
        return found


class _Known:
    """What is known of a chain for good."""

    def __init__(self) -> None:
        self.deployed: set[tuple[str, str]] = set()
        self.decimals: dict[str, int] = {}
        self.receipts: OrderedDict[str, Receipt] = OrderedDict()

    def keep(self, receipts: Mapping[str, Receipt]) -> None:
        self.receipts.update(receipts)
        while len(self.receipts) > RECEIPTS_KEPT:
            self.receipts.popitem(last=False)


@functools.cache
def _known(chain_id: int) -> _Known:
    return _Known()


@functools.lru_cache(maxsize=64)
def _rpc(chain_id: int, urls: tuple[str, ...], seconds: float) -> Rpc:
    return Rpc(chain_id, urls, seconds)


@functools.lru_cache(maxsize=4)
def _of_connection(conn_id: str, period: int) -> Mapping[int, Sequence[str]] | None:
    """The connection's RPC URLs; None: there is no such connection. ``period`` bounds how long the answer is kept."""
    from airflow.sdk.exceptions import AirflowNotFoundException

    from c2d.settings.provider import ProviderSettings

    try:
        extra = BaseHook.get_connection(conn_id).extra_dejson
    except AirflowNotFoundException:
        return None
    try:
        return ProviderSettings(NETWORK_URL=extra).NETWORK_URL
    except ValueError:
        raise UpstreamUnavailable(f"connection {conn_id}: extra must be a JSON object of RPC URLs by chain id") from None


# -- questions ---------------------------------------------------------------------------------------------------------------------


def _of_nft(nft: str, datatoken: str, event: tuple[str, int] | None, known: _Known) -> dict[tuple[str, ...], Call]:
    since = hex(event[1]) if event else "0x0"
    topics = [[orders.topic(e) for e in METADATA_EVENTS]]
    calls: dict[tuple[str, ...], Call] = {
        ("metadata", nft): _call(nft, "getMetaData()"),
        ("owner", nft): _call(nft, "ownerOf(uint256)", "0" * 63 + "1"),
        ("logs", nft): ("eth_getLogs", [{"address": nft, "fromBlock": since, "toBlock": "latest", "topics": topics}]),
    }
    if event:
        calls[("event", nft)] = _receipt(event[0])  # for where logs are not to be had over so many blocks
    if (nft.lower(), datatoken.lower()) not in known.deployed:
        calls[("deployed", nft, datatoken)] = _call(nft, "isDeployed(address)", datatoken[2:].lower().rjust(64, "0"))
    return calls


def _call(address: str, function: str, arguments: str = "") -> Call:
    return "eth_call", [{"to": address, "data": orders.topic(function)[:10] + arguments}, "latest"]


def _receipt(tx: str) -> Call:
    return "eth_getTransactionReceipt", [tx]


# -- answers -----------------------------------------------------------------------------------------------------------------------


def _nft(nft: str, event: tuple[str, int] | None, answers: Mapping[tuple[str, ...], Answer]) -> NftFacts:
    state = None
    if (values := _values(answers[("metadata", nft)], "string", "string", "uint8", "bool")) and values[3]:
        state = values[2]
    owner = _values(answers[("owner", nft)], "address")
    logs = answers[("logs", nft)]
    found = logs.result if not logs.error else (answers[("event", nft)].result or {}).get("logs") if event else None
    asked = not logs.error or event is not None
    return NftFacts(state, checksummed(owner[0]) if owner else None, _metadata_hash(nft, found or []), asked)


def _metadata_hash(nft: str, logs: Sequence[Mapping[str, Any]]) -> bytes | None:
    """Of the last metadata event of the NFT."""
    topics = {orders.topic(e) for e in METADATA_EVENTS}
    own = [entry for entry in logs if str(entry["address"]).lower() == nft.lower() and entry["topics"] and entry["topics"][0] in topics]
    if not own:
        return None
    last = max(own, key=lambda entry: (int(entry["blockNumber"], 16), int(entry["logIndex"], 16)))
    values = _values(Answer(last["data"]), "uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256")
    return values[4] if values else None


def _decoded(answer: Answer) -> Receipt | None:
    return orders.decode(answer.result) if answer.result else None


def _values(answer: Answer, *types: str) -> tuple[Any, ...] | None:
    """What a contract gave back; None where it gave nothing of this form (it is another contract, or none)."""
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    if answer.error or not isinstance(answer.result, str):
        return None
    try:
        return tuple(decode(types, bytes.fromhex(answer.result.removeprefix("0x"))))
    except (DecodingError, ValueError, OverflowError):
        return None


def _true(answer: Answer | None) -> bool:
    return answer is not None and _values(answer, "bool") == (True,)


def _number(answer: Answer) -> int | None:
    values = _values(answer, "uint256")
    return values[0] if values else None


def _type(output: Mapping[str, Any]) -> str:
    from eth_utils.abi import collapse_if_tuple

    return str(collapse_if_tuple(dict(output)))
