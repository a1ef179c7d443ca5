"""Proofs of downloads: written on the chain (USE_CHAIN_PROOF) or told to a URL (USE_HTTP_PROOF), as Ocean's Provider does."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from c2d.crypto import signatures
from c2d.market.orders import topic
from c2d.settings.provider import ProviderSettings

if TYPE_CHECKING:
    from c2d.hooks.datatoken import DatatokenHook
    from c2d.market.approval import ApprovedAsset

log = logging.getLogger(__name__)
SECONDS = 3.0  # that a download waits for it at most
ORDER_EXECUTED = "orderExecuted(bytes32,bytes,bytes,bytes,bytes,address)"


class Proofs:
    """A proof that cannot be sent is logged; the download goes on."""

    def __init__(self, own: ProviderSettings, chains: DatatokenHook):
        self.own, self.chains = own, chains
        self._one_at_a_time = threading.Lock()

    def send(self, granted: ApprovedAsset, data: Mapping[str, Any]) -> None:
        """:param data: the download's request: what the consumer signed and how."""
        key = self.own.key(granted.asset.chainId)
        if granted.order is None or key is None or not (self.own.USE_HTTP_PROOF or self.own.USE_CHAIN_PROOF):
            return
        provider_data = json.dumps({"documentId": granted.asset.did, "serviceId": granted.service.id, "timestamp": int(time.time())})
        consumer = {
            "consumerData": f"{data['documentId']}{data['nonce']}",
            "consumerSignature": str(data.get("signature") or ""),
            "consumerAddress": str(data["consumerAddress"]),
        }
        try:
            if self.own.USE_HTTP_PROOF:
                self._tell(self.own.USE_HTTP_PROOF, granted.order.txId, provider_data, consumer, key)
            else:
                self._write(granted, provider_data, consumer, key)
        except Exception as e:  # whatever the URL, the chain or web3 has against it; its text may hold a URL
            log.warning("%s: the proof of a download could not be sent (%s)", granted.asset.did, type(e).__name__)

    def _tell(self, url: str, tx: str, provider_data: str, consumer: dict[str, str], key: str) -> None:
        import httpx

        signature = signatures.sign_hash(key, provider_data)
        payload = {"orderTxId": tx, "providerData": provider_data, "providerSignature": signature, **consumer}
        httpx.post(url, json=payload, timeout=SECONDS, trust_env=False).raise_for_status()

    def _write(self, granted: ApprovedAsset, provider_data: str, consumer: dict[str, str], key: str) -> None:
        """datatoken.orderExecuted: signed by both, sent by the Provider, who pays the gas."""
        from eth_abi import encode
        from eth_account import Account
        from eth_hash.auto import keccak

        chain, token, tx = granted.asset.chainId, granted.service.datatokenAddress, bytes.fromhex(granted.order.txId[2:])  # type: ignore[union-attr]
        data = provider_data.encode()
        values = [
            tx,
            data,
            bytes.fromhex(signatures.sign_digest(key, keccak(tx + data))[2:]),
            consumer["consumerData"].encode(),
            bytes.fromhex(_with_27(consumer["consumerSignature"])),
            consumer["consumerAddress"],
        ]
        call = topic(ORDER_EXECUTED)[:10] + encode(["bytes32", "bytes", "bytes", "bytes", "bytes", "address"], values).hex()
        sender = signatures.address_of(key)
        asked = {"from": sender, "to": token, "data": call}
        rpc = self.chains.rpc(chain)
        with self._one_at_a_time:  # else two would take the same account nonce
            count, price, gas = rpc.batch(
                [("eth_getTransactionCount", [sender, "pending"]), ("eth_gasPrice", []), ("eth_estimateGas", [asked])]
            )
            if gas.error:
                raise ValueError("the contract refuses the proof")
            numbers = {"nonce": count.result, "gasPrice": price.result, "gas": gas.result}
            transaction = {"to": token, "data": call, "value": 0, "chainId": chain, **{n: int(v, 16) for n, v in numbers.items()}}
            raw = Account.from_key(key).sign_transaction(transaction).raw_transaction
            (sent,) = rpc.batch([("eth_sendRawTransaction", ["0x" + bytes(raw).hex()])])
        if sent.error:
            raise ValueError("the chain refuses the proof")


def _with_27(signature: str) -> str:
    """The hex of a signature as contracts take it: its last byte 27 or 28."""
    raw = bytes.fromhex(signature.removeprefix("0x"))
    return (raw[:64] + bytes([raw[64] % 27 + 27])).hex()
