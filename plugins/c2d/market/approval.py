"""What a decision approves: assets that may be used, and a compute start that may begin. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.market.ddo import Asset, Service
from c2d.market.orders import OrderKey, VerifiedOrder


@dataclass(frozen=True)
class ApprovedAsset:
    """An asset that may be used.

    :param order: None before the order is verified; in initializeCompute also without a valid order.
    :param files: the decrypted file objects, never to be logged or stored; None: another Provider hands them out.
    :param fee_paid: the order's provider fee has not expired.
    """

    asset: Asset
    service: Service
    userdata: dict[str, Any] | None
    files: tuple[dict[str, Any], ...] | None = field(repr=False)
    order: VerifiedOrder | None = None
    fee_paid: bool = False

    @property
    def order_key(self) -> OrderKey | None:
        """Identifies the order, however often it is reused; None without an order."""
        return OrderKey(self.asset.chainId, self.order.startedTxId.lower(), self.asset.did) if self.order else None


@dataclass(frozen=True)
class ApprovedCompute:
    """A compute start that may begin.

    :param algorithm: None: the consumer's raw code.
    :param container: the algorithm's: entrypoint, image, tag, checksum.
    :param agreementId: the transaction that paid the environment's fee.
    :param validUntil: end of the paid time, seconds since 1970; 0: no end.
    :param allowNetworkAccess: the owners of all data sets allow the algorithm to use the network.
    :param algorithmChecksums: sha256 (hex) of each of the algorithm's files as approved. What is fetched later must match.
    """

    datasets: tuple[ApprovedAsset, ...]
    algorithm: ApprovedAsset | None
    container: Mapping[str, str]
    agreementId: str
    validUntil: int
    allowNetworkAccess: bool
    algorithmChecksums: tuple[str, ...] = ()

    @property
    def orders(self) -> tuple[OrderKey, ...]:
        """The orders that this start uses, for C2D_ORDERS_ONCE."""
        return tuple(key for each in (*self.datasets, self.algorithm) if each and (key := each.order_key))
