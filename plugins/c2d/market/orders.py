"""An order on chain: reading it from a transaction's receipt, and verifying it by the rules of Ocean's Provider, with its error texts.

Pure: :mod:`c2d.hooks.datatoken` fetches the receipts.

A consumer's transaction emits, from the datatoken's contract, ``OrderStarted`` (or ``OrderReused``, which names the transaction that
started the order) and ``ProviderFee``, the fee that the Provider has signed for it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from c2d.crypto.signatures import checksummed
from c2d.errors import InvalidOrder
from c2d.market import fees

ONE_DATATOKEN = 10**18
BLOCK_TIME_MARGIN = 90
"""Seconds by which a block's timestamp may be off."""
LATE_PAYMENT = 600
"""Seconds that a payment may take to get on chain."""


class OrderKey(NamedTuple):
    """Identifies an order, however often it is reused.

    :param txId: the transaction that paid the datatoken, in lower case.
    """

    chainId: int
    txId: str
    did: str


@dataclass(frozen=True)
class OrderStarted:
    """The event OrderStarted: ``payer`` paid ``amount`` (wei of datatoken) so that ``consumer`` may use the service with this index."""

    datatoken: str
    consumer: str
    payer: str
    amount: int
    serviceIndex: int
    timestamp: int


@dataclass(frozen=True)
class OrderReused:
    """The event OrderReused: an earlier order is extended by a new fee.

    :param orderTxId: the transaction that started the order.
    """

    datatoken: str
    orderTxId: str
    timestamp: int


@dataclass(frozen=True)
class FeePaid:
    """The event ProviderFee."""

    datatoken: str
    fee: fees.ProviderFee


@dataclass(frozen=True)
class Receipt:
    """The receipt of a transaction, with the events of orders in it.

    :param timestamp: of its block, taken from an order event; 0: there is no such event.
    """

    txId: str
    succeeded: bool
    block: int
    timestamp: int = 0
    started: tuple[OrderStarted, ...] = ()
    reused: tuple[OrderReused, ...] = ()
    fees: tuple[FeePaid, ...] = ()


@dataclass(frozen=True)
class IntendedUse:
    """What an order must be valid for.

    :param timeout: seconds for which the service's orders are valid; 0: for ever.
    :param consumer: who asks; must be the order's consumer or payer.
    :param provider: the address that must receive the fee; None: the asset is another Provider's, which checks its own fee.
    :param environment: the compute environment that the fee must be for; None: any, and the fee does not expire (algorithms, downloads).
    :param now: seconds since 1970.
    :param expired_fee_ok: accept an order whose fee has expired; it can be reused with a new fee.
    """

    serviceId: str
    serviceIndex: int
    timeout: int
    datatoken: str
    consumer: str
    provider: str | None
    environment: str | None
    now: float
    expired_fee_ok: bool = False


@dataclass(frozen=True)
class VerifiedOrder:
    """A valid order.

    :param startedTxId: the transaction that paid the datatoken: ``txId`` itself, or the one that it reuses.
    :param ends: end of the paid time, seconds since 1970: the fee's ``validUntil``, once that has passed plus the time that the payment
        took to get on chain; 0: no end.
    :param seconds: for which the fee was made; None: the fee does not contain that.
    """

    txId: str
    startedTxId: str
    consumer: str
    payer: str
    fee: fees.ProviderFee = field(repr=False)
    ends: int
    seconds: int | None

    @property
    def validUntil(self) -> int:
        """When the fee expires, seconds since 1970; 0: never."""
        return self.fee.validUntil


def verified_order(network: str, use: IntendedUse, receipt: Receipt | None, original: Receipt | None, deployed: bool) -> VerifiedOrder:
    """The order in ``receipt``, if it is valid for ``use``.

    :param network: the chain's name, for error texts.
    :param receipt: of the transaction that the consumer named; None: it is not on chain.
    :param original: of the transaction that this one reuses, if it does.
    :param deployed: the datatoken was deployed by the asset's NFT.
    :raises InvalidOrder: the first check that fails, in the order of Ocean's Provider.
    """
    try:
        return _verified(use, receipt, original, deployed)
    except InvalidOrder as e:
        raise InvalidOrder(f"Provider {network}: {e}") from None


def _verified(use: IntendedUse, receipt: Receipt | None, original: Receipt | None, deployed: bool) -> VerifiedOrder:
    if not deployed:
        raise InvalidOrder("The datatoken was not deployed by the asset's data NFT.")
    if receipt is None:
        raise InvalidOrder("Failed to get tx receipt for the `startOrder` transaction.")
    if not receipt.succeeded:
        raise InvalidOrder("order transaction failed.")
    fee = _verified_fee(use, receipt)
    reuse = next((r for r in receipt.reused if _same(r.datatoken, use.datatoken)), None)
    start = _reused_start(reuse, original) if reuse else receipt
    event = _start_event(use, start)
    age = use.now - (reuse or event).timestamp
    if use.timeout and age > use.timeout:
        raise InvalidOrder(f"The order has expired: it is valid for {use.timeout} s and is {int(age)} s old.")
    if use.timeout and reuse and _reused_too_late(event.timestamp + use.timeout, reuse.timestamp, fee):
        raise InvalidOrder(f"The order had already expired when it was reused: it is valid for {use.timeout} s.")
    if not any(_same(use.consumer, address) for address in (event.consumer, event.payer)):
        raise InvalidOrder("sender of order transaction is not the consumer/payer.")
    return VerifiedOrder(receipt.txId, start.txId, event.consumer, event.payer, fee, _ends(fee, receipt, use.now), _seconds(fee))


def _verified_fee(use: IntendedUse, receipt: Receipt) -> fees.ProviderFee:
    """The fee that was paid for this service. Its Provider must have signed it, and it must not have expired."""
    fee = next((paid.fee for paid in receipt.fees if _same(paid.datatoken, use.datatoken) and _is_for(paid.fee, use)), None)
    if fee is None:
        raise InvalidOrder(f"Cannot find the event for the provider fee in tx id {receipt.txId}.")
    if use.environment is not None and fee_data(fee).get("environment") != use.environment:
        raise InvalidOrder("Mismatch between ordered c2d environment and selected one.")
    if use.provider is not None and not _same(fee.providerFeeAddress, use.provider):
        raise InvalidOrder(
            f"The providerFeeAddress {fee.providerFeeAddress} in the event does not match the provider address {use.provider}"
        )
    if not _same(fees.signer(fee) or "", fee.providerFeeAddress):
        raise InvalidOrder("Provider was not able to check the signed message in ProviderFees event")
    if not use.expired_fee_ok and use.environment is not None and 0 < _ends(fee, receipt, use.now) <= use.now:
        raise InvalidOrder("Ordered c2d time was exceeded, check validUntil.")
    return fee


def _is_for(fee: fees.ProviderFee, use: IntendedUse) -> bool:
    data = fee_data(fee)
    if use.provider is None and "dt" not in data:
        return True  # other Providers may put anything into providerData
    return _same(str(data.get("dt")), use.datatoken) and str(data.get("id")) == use.serviceId


def _reused_start(reuse: OrderReused, original: Receipt | None) -> Receipt:
    if original is None or not _same(original.txId, reuse.orderTxId):
        raise InvalidOrder("Failed to get tx receipt referenced in OrderReused.")
    if not original.succeeded:
        raise InvalidOrder("order referenced in OrderReused failed.")
    return original


def _start_event(use: IntendedUse, receipt: Receipt) -> OrderStarted:
    events = [e for e in receipt.started if _same(e.datatoken, use.datatoken)]
    if not events:
        raise InvalidOrder(f"Cannot find the event for the order transaction with tx id {receipt.txId}.")
    # One transaction may order several services of one datatoken: take the event of the requested service.
    event = next((e for e in events if e.serviceIndex == use.serviceIndex), events[0])
    if event.serviceIndex != use.serviceIndex:
        raise InvalidOrder(
            "The service id in the event does not match the requested asset. "
            f"requested: serviceIndex={use.serviceIndex} event: serviceIndex={event.serviceIndex}"
        )
    if event.amount < ONE_DATATOKEN:
        raise InvalidOrder(
            f"The amount in the event is less than the amount requested. requested: amount={ONE_DATATOKEN} event: amount={event.amount}"
        )
    return event


def _reused_too_late(expires: int, reused: int, fee: fees.ProviderFee) -> bool:
    """Whether an order had already expired when it was reused. Otherwise one payment could be reused indefinitely, as Ocean's Provider
    permits. A Provider makes a fee only while the order is valid, and the payment may take a while to get on chain.
    """
    made = _made(fee)
    in_time = made is not None and made <= expires and reused - made <= LATE_PAYMENT
    return reused > expires and not in_time


def _made(fee: fees.ProviderFee) -> int | None:
    made = fee_data(fee).get("timestamp")
    return made if isinstance(made, int) and not isinstance(made, bool) else None


def _seconds(fee: fees.ProviderFee) -> int | None:
    made = _made(fee)
    return fee.validUntil - made if fee.validUntil and made is not None and fee.validUntil > made else None


def _ends(fee: fees.ProviderFee, receipt: Receipt, now: float) -> int:
    """When the paid time ends. The consumer could not use the time that the payment took to get on chain: add it, and a margin."""
    made = _made(fee)
    if not fee.validUntil or now < fee.validUntil or made is None or not receipt.timestamp:
        return fee.validUntil
    return fee.validUntil + max(0, receipt.timestamp - made) + BLOCK_TIME_MARGIN


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


# -- reading -----------------------------------------------------------------------------------------------------------------------

_STARTED = "OrderStarted(address,address,uint256,uint256,uint256,address,uint256)"
_REUSED = "OrderReused(bytes32,address,uint256,uint256)"
_FEE = "ProviderFee(address,address,uint256,bytes,uint8,bytes32,bytes32,uint256)"


@functools.cache
def topic(event: str) -> str:
    """The first topic of an event's logs: 0x and the keccak of the event's signature in hex."""
    from eth_hash.auto import keccak

    return "0x" + keccak(event.encode()).hex()


def decode(raw: Mapping[str, Any]) -> Receipt:
    """A receipt in JSON-RPC's form. Logs of other events, and logs whose data do not match their topic, are left out."""
    started: list[OrderStarted] = []
    reused: list[OrderReused] = []
    paid: list[FeePaid] = []
    for log in raw.get("logs") or ():
        topics = [str(t).lower() for t in log.get("topics") or ()]
        try:
            if topics[:1] == [topic(_STARTED)]:
                payer, amount, index, time, _ = _data(log, "address", "uint256", "uint256", "uint256", "uint256")
                started.append(OrderStarted(log["address"], _address(topics[1]), payer, amount, index, time))
            elif topics[:1] == [topic(_REUSED)]:
                tx, _caller, time, _ = _data(log, "bytes32", "address", "uint256", "uint256")
                reused.append(OrderReused(log["address"], "0x" + tx.hex(), time))
            elif topics[:1] == [topic(_FEE)]:
                amount, data, v, r, s, until = _data(log, "uint256", "bytes", "uint8", "bytes32", "bytes32", "uint256")
                fee = fees.ProviderFee(_address(topics[1]), _address(topics[2]), amount, data, v, r, s, until)
                paid.append(FeePaid(log["address"], fee))
        except (IndexError, KeyError, ValueError, TypeError, OverflowError):
            continue
    return Receipt(
        txId=str(raw["transactionHash"]).lower(),
        succeeded=int(raw.get("status") or "0x0", 16) == 1,
        block=int(raw["blockNumber"], 16),
        timestamp=next(iter([e.timestamp for e in started] + [e.timestamp for e in reused]), 0),
        started=tuple(started),
        reused=tuple(reused),
        fees=tuple(paid),
    )


def _data(log: Mapping[str, Any], *types: str) -> tuple[Any, ...]:
    from eth_abi.abi import decode as abi_decode
    from eth_abi.exceptions import DecodingError

    try:
        return tuple(abi_decode(types, bytes.fromhex(str(log["data"]).removeprefix("0x"))))
    except DecodingError:
        raise ValueError("the log's data are not the event's") from None


def _address(topic: str) -> str:
    return checksummed(topic[-40:])


def originals(receipts: Iterable[Receipt | None]) -> frozenset[str]:
    """The transactions that started the orders that these receipts reuse."""
    return frozenset(r.orderTxId.lower() for receipt in receipts if receipt for r in receipt.reused)


def fee_data(fee: fees.ProviderFee) -> dict[str, Any]:
    """``providerData`` as a JSON object; {} if it is anything else."""
    try:
        data = json.loads(fee.providerData)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
