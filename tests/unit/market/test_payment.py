"""Who pays for a compute start: orders, and the environment's fee in one of them."""

from __future__ import annotations

from decimal import Decimal

import pytest

from c2d.errors import UpstreamUnavailable
from c2d.market.approval import ApprovedCompute
from c2d.market.fees import ZERO_ADDRESS
from c2d.market.orders import OrderReused, Receipt
from tests.unit import sample_market as m
from tests.unit.sample_market import Market, market


@pytest.fixture
def priced() -> Market:
    """A market whose environment costs one token a second. The orders carry no fee yet."""
    it = market()
    it.change_request(priceMinute=Decimal(60))
    return it


def approve(it: Market) -> ApprovedCompute:
    return it.world.access().approve_start(it.request)


def test_any_of_the_orders_may_pay_the_fee_and_becomes_the_agreement(priced: Market) -> None:
    priced.change_algorithm_order(fee=3600 * 10**18)
    assert approve(priced).agreementId == m.tx(2)
    priced.change_algorithm_order(fee=3600 * 10**18 - 1)
    assert priced.denial() == ("order", "fees_not_paid")


def test_a_job_lasts_as_long_as_the_order_that_pays_its_fee(priced: Market) -> None:
    priced.change_order(fee=60 * 10**18, until=m.NOW + 60)
    priced.change_algorithm_order(until=m.NOW + 7200)  # carries no fee
    approved = approve(priced)
    assert (approved.agreementId, approved.validUntil) == (m.tx(1), m.NOW + 60)


def test_a_late_payment_is_given_its_time_back(priced: Market) -> None:
    late = {"made": m.NOW - 120, "until": m.NOW - 30, "time": m.NOW - 10}
    priced.change_order(fee=90 * 10**18, **late)
    priced.change_algorithm_order(**late)
    approved = approve(priced)
    assert (approved.agreementId, approved.validUntil) == (m.tx(1), m.NOW + 90)  # the 90 seconds that were paid for
    priced.change_order(fee=0, **late)
    assert priced.denial() == ("order", "fees_not_paid")


def test_a_late_payment_never_buys_more_time_than_was_paid_for(priced: Market) -> None:
    """Otherwise a fee for two seconds would buy the margin of 90 seconds, again and again."""
    late = {"made": m.NOW - 3, "until": m.NOW - 1, "time": m.NOW - 1}
    priced.change_order(fee=2 * 10**18, **late)
    priced.change_algorithm_order(**late)
    assert approve(priced).validUntil == m.NOW + 2


def test_an_order_without_end_pays_only_for_a_free_environment() -> None:
    it = market()
    it.change_order(until=0)
    it.change_algorithm_order(until=0)
    assert approve(it).validUntil == 0
    it.change_request(priceMinute=Decimal(1))
    assert it.denial() == ("order", "fees_not_paid")


def test_a_price_on_a_chain_without_fee_token_is_not_free(priced: Market) -> None:
    with pytest.raises(UpstreamUnavailable, match="PROVIDER_FEE_TOKEN must name"):
        priced.denial(fee_token=lambda chain: None)
    assert priced.denial(fee_token=lambda chain: ZERO_ADDRESS) is None


def test_a_fee_in_another_token_does_not_count(priced: Market) -> None:
    priced.change_order(fee=3600 * 10**18, token=m.address(77))
    assert priced.denial() == ("order", "fees_not_paid")


def test_a_fee_to_another_provider_does_not_count(priced: Market) -> None:
    priced.change_order(fee=3600 * 10**18, key=m.OTHER_PROVIDER_KEY)
    assert priced.denial() == ("dataset.serviceId", "order_invalid")


def test_a_fee_token_without_known_decimals_approves_nothing(priced: Market) -> None:
    priced.world.decimals = None
    with pytest.raises(UpstreamUnavailable, match="does not tell its decimals"):
        priced.denial()


def test_another_providers_access_service_is_paid_with_that_providers_fee() -> None:
    it = market()
    it.data["services"][1]["files"] = m.service(it.data["nftAddress"], m.address(3), key=m.OTHER_PROVIDER_KEY)["files"]
    it.world.receipts[m.tx(3)] = m.order_of(it.data, m.tx(3), service=1, key=m.OTHER_PROVIDER_KEY)
    it.request_access_service()
    assert approve(it).datasets[1].files is None


def test_a_transaction_with_several_orders_counts_for_each_datatoken() -> None:
    it = market()
    first, datatoken = m.tx(7), it.data["services"][0]["datatokenAddress"]
    (paid,) = m.order_of(it.data, m.tx(1)).fees
    reused = tuple(OrderReused(token, tx, m.NOW - 5) for token, tx in ((m.address(70), m.tx(8)), (datatoken, first)))
    it.world.receipts |= {m.tx(1): Receipt(m.tx(1), True, 9, m.NOW - 5, (), reused, (paid,)), first: m.order_of(it.data, first)}
    order = approve(it).datasets[0].order
    assert order is not None and order.startedTxId == first
