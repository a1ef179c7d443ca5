"""What an order on chain says, and whether it is good for a use: the rules of Ocean's Provider.

Pure: :mod:`c2d.hooks.datatoken` reads the chain.

A consumer's transaction emits, from the datatoken's contract, ``OrderStarted`` (or ``OrderReused``, which names the transaction that
started it) and ``ProviderFee``, the fee that the Provider had signed for it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.crypto.signatures import checksummed
from c2d.errors import InvalidOrder
from c2d.market import fees

ONE_DATATOKEN = 10**18
BLOCK_TIME_MARGIN = 90
"""Seconds by which a block's time may be off."""
LATE_PAYMENT = 600
"""Seconds that the chain may take with a payment."""


@dataclass(frozen=True)
class OrderStarted:
    """Somebody (``payer``) paid ``amount`` (wei of datatoken) for ``consumer`` to use the service with this index."""

    datatoken: str
    consumer: str
    payer: str
    amount: int
    serviceIndex: int
    timestamp: int


@dataclass(frozen=True)
class OrderReused:
    """A former order is used on, with a new fee."""

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
    """A transaction on chain. ``timestamp`` is its block's, as its own order event says (0: it has none)."""

    txId: str
    succeeded: bool
    block: int
    timestamp: int = 0
    started: tuple[OrderStarted, ...] = ()
    reused: tuple[OrderReused, ...] = ()
    fees: tuple[FeePaid, ...] = ()


@dataclass(frozen=True)
class Use:
    """What an order is to be good for.

    :param consumer: who asks; must be the order's consumer or payer.
    :param provider: whose fee it must be (address); None: another Provider's asset, which checks its own fee.
    :param environment: the compute environment that the fee must have been made for; None: not compared, and the fee never expires
        (an algorithm's).
    :param now: seconds since 1970.
    :param expired_fee_ok: an order whose fee's time is over is good (it may be used on with a new fee).
    """

    did: str
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
    """A good order. ``startedTxId`` is the transaction that paid the datatoken: ``txId`` itself, or the one that it used on.

    :param ends: when the paid time ends: the fee's ``validUntil``; once that is over, with the time that the chain took; 0: it has no end.
    :param seconds: that the fee was made for; None: it does not say.
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
        return self.fee.validUntil


def check(network: str, use: Use, receipt: Receipt | None, original: Receipt | None, deployed: bool) -> VerifiedOrder:
    """The order in ``receipt``, if it is good for ``use``.

    :param network: the chain's name, for texts.
    :param receipt: of the transaction that the consumer named; None: it is not on chain.
    :param original: of the transaction that it uses on, where it does.
    :param deployed: the asset's NFT says that the datatoken is its own.
    :raises InvalidOrder: in the order of the Provider's checks.
    """
    try:
        return _checked(use, receipt, original, deployed)
    except InvalidOrder as e:
        raise InvalidOrder(f"Provider {network}: {e}") from None


def _checked(use: Use, receipt: Receipt | None, original: Receipt | None, deployed: bool) -> VerifiedOrder:
    if not deployed:
        raise InvalidOrder("The datatoken was not deployed by the asset's data NFT.")
    if receipt is None:
        raise InvalidOrder("Failed to get tx receipt for the `startOrder` transaction.")
    if not receipt.succeeded:
        raise InvalidOrder("order transaction failed.")
    fee = _fee(use, receipt)
    reused = [r for r in receipt.reused if _same(r.datatoken, use.datatoken)]
    started, since = receipt, None
    if reused:
        since = reused[0].timestamp
        if original is None or not _same(original.txId, reused[0].orderTxId):
            raise InvalidOrder("Failed to get tx receipt referenced in OrderReused.")
        if not original.succeeded:
            raise InvalidOrder("order referenced in OrderReused failed.")
        started = original
    event = _started(use, started)
    age = use.now - (event.timestamp if since is None else since)
    if use.timeout and age > use.timeout:
        raise InvalidOrder(f"The order has expired: it is good for {use.timeout} s and {int(age)} s old.")
    if use.timeout and since is not None and _used_on_late(event.timestamp + use.timeout, since, fee):
        raise InvalidOrder(f"The order had expired when it was used on: it is good for {use.timeout} s.")
    if not any(_same(use.consumer, who) for who in (event.consumer, event.payer)):
        raise InvalidOrder("sender of order transaction is not the consumer/payer.")
    return VerifiedOrder(receipt.txId, started.txId, event.consumer, event.payer, fee, _ends(fee, receipt, use.now), _seconds(fee))


def _fee(use: Use, receipt: Receipt) -> fees.ProviderFee:
    """The fee that was paid for this service; that its Provider signed it, and that its time is not over."""
    found = [paid.fee for paid in receipt.fees if _same(paid.datatoken, use.datatoken) and _is_for(paid.fee, use)]
    if not found:
        raise InvalidOrder(f"Cannot find the event for the provider fee in tx id {receipt.txId}.")
    fee = found[0]
    data = fee_data(fee)
    if use.environment is not None and data.get("environment") != use.environment:
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


def _used_on_late(expires: int, since: int, fee: fees.ProviderFee) -> bool:
    """Whether an order was over when it was used on: else one datatoken would pay for ever (the incumbent takes it). The Provider makes a
    fee for an order only while that is good, and the chain may take a while with it.
    """
    made = _made(fee)
    in_time = made is not None and made <= expires and since - made <= LATE_PAYMENT
    return since > expires and not in_time


def _is_for(fee: fees.ProviderFee, use: Use) -> bool:
    data = fee_data(fee)
    if use.provider is None and "dt" not in data:
        return True  # another Provider's own words
    return _same(str(data.get("dt")), use.datatoken) and str(data.get("id")) == use.serviceId


def _made(fee: fees.ProviderFee) -> int | None:
    made = fee_data(fee).get("timestamp")
    return made if isinstance(made, int) and not isinstance(made, bool) else None


def _seconds(fee: fees.ProviderFee) -> int | None:
    made = _made(fee)
    return fee.validUntil - made if fee.validUntil and made is not None and fee.validUntil > made else None


def _ends(fee: fees.ProviderFee, receipt: Receipt, now: float) -> int:
    """The time between the fee's making and its payment was the chain's, not the consumer's: it is added at the end, with a margin."""
    made = _made(fee)
    if not fee.validUntil or now < fee.validUntil or made is None or not receipt.timestamp:
        return fee.validUntil
    return fee.validUntil + max(0, receipt.timestamp - made) + BLOCK_TIME_MARGIN


def _started(use: Use, receipt: Receipt) -> OrderStarted:
    events = [e for e in receipt.started if _same(e.datatoken, use.datatoken)]
    if not events:
        raise InvalidOrder(f"Cannot find the event for the order transaction with tx id {receipt.txId}.")
    # One transaction may order several services of one datatoken; the one that is meant counts.
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


def _same(one: str, other: str) -> bool:
    return one.lower() == other.lower()


# -- reading -----------------------------------------------------------------------------------------------------------------------

_STARTED = "OrderStarted(address,address,uint256,uint256,uint256,address,uint256)"
_REUSED = "OrderReused(bytes32,address,uint256,uint256)"
_FEE = "ProviderFee(address,address,uint256,bytes,uint8,bytes32,bytes32,uint256)"


@functools.cache
def topic(event: str) -> str:
    """The first topic of an event's logs: keccak of its signature, 0x and hex."""
    from eth_hash.auto import keccak

    return "0x" + keccak(event.encode()).hex()


def decode(raw: Mapping[str, Any]) -> Receipt:
    """A receipt as JSON-RPC gives it. Logs that are no order's, or not of the form that their topic promises, are left out."""
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
    from eth_abi import decode as abi_decode
    from eth_abi.exceptions import DecodingError

    try:
        return tuple(abi_decode(types, bytes.fromhex(str(log["data"]).removeprefix("0x"))))
    except DecodingError:
        raise ValueError("not the event's data") from None


def _address(topic: str) -> str:
    return checksummed(topic[-40:])


def originals(receipts: Iterable[Receipt | None]) -> frozenset[str]:
    """The transactions that these use on."""
    return frozenset(r.orderTxId.lower() for receipt in receipts if receipt for r in receipt.reused)


def fee_data(fee: fees.ProviderFee) -> dict[str, Any]:
    """``providerData`` as a JSON object; {} where it is none."""
    try:
        data = json.loads(fee.providerData)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}
