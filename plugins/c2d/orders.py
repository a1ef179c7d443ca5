"""What an order on chain says, and whether it is good for a use: the rules of Ocean's Provider.

Pure: :mod:`c2d.hooks.datatoken` reads the chain.

A consumer's transaction emits, from the datatoken's contract, ``OrderStarted`` (or ``OrderReused``, which names the transaction that
started it) and ``ProviderFee``, the fee that the Provider had signed for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c2d import fees

ONE_DATATOKEN = 10**18
BLOCK_TIME_MARGIN = 90
"""Seconds by which a block's time may be off."""


class BadOrder(ValueError):
    """The order is not good for this use; the text says why (Provider's wording). Clients only see ``order_invalid``."""


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
class Order:
    """A good order. ``startedTxId`` is the transaction that paid the datatoken: ``txId`` itself, or the one that it used on."""

    txId: str
    startedTxId: str
    consumer: str
    payer: str
    fee: fees.ProviderFee = field(repr=False)

    @property
    def validUntil(self) -> int:
        return self.fee.validUntil


def check(network: str, use: Use, receipt: Receipt | None, original: Receipt | None, deployed: bool) -> Order:
    """The order in ``receipt``, if it is good for ``use``.

    :param network: the chain's name, for texts.
    :param receipt: of the transaction that the consumer named; None: it is not on chain.
    :param original: of the transaction that it uses on, where it does.
    :param deployed: the asset's NFT says that the datatoken is its own.
    :raises BadOrder: in the order of the Provider's checks.
    """
    raise NotImplementedError


def decode(raw: Mapping[str, Any]) -> Receipt:
    """A receipt as JSON-RPC gives it."""
    raise NotImplementedError


def originals(receipts: Sequence[Receipt | None]) -> list[str]:
    """The transactions that these use on."""
    return [r.orderTxId for receipt in receipts if receipt for r in receipt.reused]


def fee_data(fee: fees.ProviderFee) -> dict[str, Any]:
    """``providerData`` as a JSON object; {} where it is none."""
    try:
        data = json.loads(fee.providerData)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
