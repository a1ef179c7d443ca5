"""Proofs of downloads, as Ocean's Provider sends them: to the datatoken contract (USE_CHAIN_PROOF) or to a URL (USE_HTTP_PROOF)."""

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

TIMEOUT = 3.0
"""Seconds for the HTTP request; the download waits for it."""

ORDER_EXECUTED = "orderExecuted(bytes32,bytes,bytes,bytes,bytes,address)"


class DownloadProofs:
    """Sends proofs. If one cannot be sent, a warning is logged and the download continues."""

    def __init__(self, settings: ProviderSettings, chains: DatatokenHook):
        self.settings, self.chains = settings, chains
        self._one_at_a_time = threading.Lock()

    def send(self, approved: ApprovedAsset, data: Mapping[str, Any]) -> None:
        """Sends a proof if the settings ask for one and the asset was ordered.

        :param data: the download request, which contains the consumer's signature.
        """
        settings, order = self.settings, approved.order
        key = settings.key(approved.asset.chainId)
        if order is None or key is None or not (settings.USE_HTTP_PROOF or settings.USE_CHAIN_PROOF):
            return
        provider_data = json.dumps({"documentId": approved.asset.did, "serviceId": approved.service.id, "timestamp": int(time.time())})
        consumer = {
            "consumerData": f"{data['documentId']}{data['nonce']}",
            "consumerSignature": str(data.get("signature") or ""),
            "consumerAddress": str(data["consumerAddress"]),
        }
        try:
            if settings.USE_HTTP_PROOF:
                self._post(settings.USE_HTTP_PROOF, order.txId, provider_data, consumer, key)
            else:
                self._send_transaction(approved, order.txId, provider_data, consumer, key)
        except Exception as e:  # of httpx, the chain or web3; its text may contain a URL
            log.warning("%s: the proof of a download could not be sent (%s)", approved.asset.did, type(e).__name__)

    def _post(self, url: str, tx: str, provider_data: str, consumer: dict[str, str], key: str) -> None:
        import httpx

        signature = signatures.sign_hash(key, provider_data)
        payload = {"orderTxId": tx, "providerData": provider_data, "providerSignature": signature, **consumer}
        httpx.post(url, json=payload, timeout=TIMEOUT, trust_env=False).raise_for_status()

    def _send_transaction(self, approved: ApprovedAsset, tx: str, provider_data: str, consumer: dict[str, str], key: str) -> None:
        """Calls orderExecuted of the datatoken with both signatures. The Provider sends it and pays the gas."""
        from eth_abi.abi import encode
        from eth_account import Account
        from eth_hash.auto import keccak

        chain_id, datatoken = approved.asset.chainId, approved.service.datatokenAddress
        order, data = bytes.fromhex(tx[2:]), provider_data.encode()
        arguments = [
            order,
            data,
            bytes.fromhex(signatures.sign_digest(key, keccak(order + data))[2:]),
            consumer["consumerData"].encode(),
            _contract_signature(consumer["consumerSignature"]),
            consumer["consumerAddress"],
        ]
        call = topic(ORDER_EXECUTED)[:10] + encode(["bytes32", "bytes", "bytes", "bytes", "bytes", "address"], arguments).hex()
        sender = signatures.address_of(key)
        rpc = self.chains.rpc(chain_id)
        with self._one_at_a_time:  # otherwise two transactions would get the same account nonce
            nonce, gas_price, gas = rpc.batch(
                [
                    ("eth_getTransactionCount", [sender, "pending"]),
                    ("eth_gasPrice", []),
                    ("eth_estimateGas", [{"from": sender, "to": datatoken, "data": call}]),
                ]
            )
            if gas.error:
                raise ValueError("the contract rejects the proof")
            transaction = {
                "to": datatoken,
                "data": call,
                "value": 0,
                "chainId": chain_id,
                "nonce": int(nonce.result, 16),
                "gasPrice": int(gas_price.result, 16),
                "gas": int(gas.result, 16),
            }
            raw = Account.from_key(key).sign_transaction(transaction).raw_transaction
            (sent,) = rpc.batch([("eth_sendRawTransaction", ["0x" + bytes(raw).hex()])])
        if sent.error:
            raise ValueError("the chain rejects the proof")


def _contract_signature(signature: str) -> bytes:
    """A signature as contracts take it: the last byte is 27 or 28."""
    raw = bytes.fromhex(signature.removeprefix("0x"))
    return raw[:64] + bytes([raw[64] % 27 + 27])
