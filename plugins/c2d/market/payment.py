"""What has been paid: an asset's order, and the environment's fee, which one of the orders of a compute start must carry."""

from __future__ import annotations

import dataclasses
import logging
import math
import re
from collections.abc import Sequence
from typing import Any

from c2d.crypto import signatures
from c2d.errors import AccessDenied, InvalidOrder, UpstreamUnavailable
from c2d.jobs.patterns import TRANSACTION
from c2d.market import fees, orders
from c2d.market.approval import ApprovedAsset
from c2d.market.case import Case
from c2d.market.orders import IntendedUse, VerifiedOrder

log = logging.getLogger(__name__)


# -- orders ------------------------------------------------------------------------------------------------------------------------


def with_order(case: Case, asset: ApprovedAsset, tx: Any, environment: str | None, denial: tuple[str, str]) -> ApprovedAsset:
    """The asset with its order.

    :param tx: the transaction that the client names.
    :param environment: that the order's fee must be for; None: any, and the fee does not expire.
    :param denial: Ocean's resource and message for an order that is not valid.
    :raises AccessDenied: the order is not valid; the detail says why.
    """
    try:
        order = _verified_order(case, asset, tx, environment)
    except InvalidOrder as e:
        raise AccessDenied(*denial, str(e)) from None
    return dataclasses.replace(asset, order=order, fee_paid=True)


def with_optional_order(case: Case, asset: ApprovedAsset, tx: Any) -> ApprovedAsset:
    """For initializeCompute: the asset with the order that the client names, if it is valid apart from an expired fee."""
    if not tx:
        return asset
    try:
        order = _verified_order(case, asset, tx, case.request.environment, expired_fee_ok=True)
    except InvalidOrder as e:
        log.info("%s: %s", asset.asset.did, e)
        return asset
    return dataclasses.replace(asset, order=order, fee_paid=not order.validUntil or case.now <= order.validUntil)


def _verified_order(case: Case, asset: ApprovedAsset, tx: Any, environment: str | None, expired_fee_ok: bool = False) -> VerifiedOrder:
    chain_id, service = asset.asset.chainId, asset.service
    facts, token = case.chains[chain_id], service.datatokenAddress.lower()
    receipt = facts.receipts.get(tx.lower()) if isinstance(tx, str) and re.match(TRANSACTION, tx) else None
    reused = next((r.orderTxId.lower() for r in (receipt.reused if receipt else ()) if r.datatoken.lower() == token), None)
    key = case.rules.key(chain_id)
    use = IntendedUse(
        serviceId=service.id,
        serviceIndex=service.index,
        timeout=service.timeout,
        datatoken=service.datatokenAddress,
        consumer=case.request.consumerAddress,
        provider=signatures.address_of(key) if key and asset.files is not None else None,
        environment=environment,
        now=case.now,
        expired_fee_ok=expired_fee_ok,
    )
    return orders.verified_order(
        str(chain_id),
        use,
        receipt,
        original=facts.receipts.get(reused) if reused else None,
        deployed=(asset.asset.nftAddress.lower(), token) in facts.deployed,
    )


# -- the environment's fee ---------------------------------------------------------------------------------------------------------


def environment_payer(case: Case, assets: Sequence[ApprovedAsset]) -> VerifiedOrder:
    """The order that pays the environment's fee; of several, the one whose paid time ends last.

    :raises AccessDenied: none of the orders pays enough for its own time.
    :raises UpstreamUnavailable: the price cannot be computed.
    """
    payers = [a.order for a in assets if a.order and _pays_environment(case, a, a.order)]
    if not payers:
        raise AccessDenied("order", "fees_not_paid")
    return max(payers, key=lambda order: order.ends)


def paid_until(payer: VerifiedOrder, now: float) -> int:
    """When the job's paid time ends, seconds since 1970; 0: never.

    A late payment is given its time back (:attr:`VerifiedOrder.ends`), but never more seconds than it paid for.
    """
    return min(payer.ends, int(now) + payer.seconds) if payer.ends and payer.seconds else payer.ends


def _pays_environment(case: Case, asset: ApprovedAsset, order: VerifiedOrder) -> bool:
    """Whether the order carries a fee to this Provider, in its token, that is enough for the time until the order ends."""
    if order.ends and order.ends <= case.now:
        return False
    chain_id = asset.asset.chainId
    left = order.ends - case.now if order.ends else math.inf
    required = _required_fee(case, min(left, order.seconds or left), chain_id)
    if required == 0:
        return True
    token = case.rules.fee_token(chain_id)
    to_us_in_our_token = asset.files is not None and token is not None and order.fee.providerFeeToken.lower() == token.lower()
    return to_us_in_our_token and order.fee.providerFeeAmount >= required


def _required_fee(case: Case, seconds: float, chain_id: int) -> int:
    """The price of the environment for ``seconds``, in the token's smallest unit. No fee pays for infinite time, unless it is free."""
    token, price = case.rules.fee_token(chain_id), case.request.priceMinute
    if token is None and price:
        raise UpstreamUnavailable(fees.UNPRICED.format(chain_id))
    if token is None or token == fees.ZERO_ADDRESS or not price:
        return 0
    if math.isinf(seconds):
        return 2**256
    decimals = case.chains[chain_id].decimals.get(token.lower())
    if decimals is None:
        raise UpstreamUnavailable(f"chain {chain_id}: the fee token {token} does not tell its decimals")
    return fees.amount(seconds, price, token, decimals)
