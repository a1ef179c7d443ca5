"""What makes an order good: the rules of Ocean's Provider, one by one, with its texts; how a receipt is read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from c2d.errors import InvalidOrder
from c2d.market import orders
from c2d.market.fees import make
from c2d.market.orders import FeePaid, OrderReused, Receipt, IntendedUse, verified_order
from tests.unit import sample_market as m

TX, STARTED_TX = m.tx(1), m.tx(2)
DATATOKEN = m.address(2)
DOC = m.document(m.address(1), [m.service(m.address(1), DATATOKEN)])
USE = IntendedUse(
    serviceId="compute_1",
    serviceIndex=0,
    timeout=3600,
    datatoken=DATATOKEN,
    consumer=m.CONSUMER,
    provider=m.PROVIDER,
    environment="ocean-compute",
    now=m.NOW,
)


def receipt(tx: str = TX, **changes: Any) -> Receipt:
    return m.order_of(DOC, tx, **changes)


def said(use: IntendedUse = USE, of: Receipt | None = None, original: Receipt | None = None, deployed: bool = True, **changes: Any) -> str | None:
    """What is wrong with an order; None: nothing."""
    try:
        verified_order("development", use, of or receipt(**changes), original, deployed)
    except InvalidOrder as e:
        assert str(e).startswith("Provider development: ")
        return str(e).removeprefix("Provider development: ")
    return None


def use(**changes: Any) -> IntendedUse:
    return dataclasses.replace(USE, **changes)


def with_fee(change: dict[str, Any]) -> Receipt:
    good = receipt()
    (paid,) = good.fees
    return dataclasses.replace(good, fees=(FeePaid(paid.datatoken, dataclasses.replace(paid.fee, **change)),))


def test_a_good_order() -> None:
    order = verified_order("8996", USE, receipt(), None, True)
    assert (order.txId, order.startedTxId, order.payer, order.validUntil) == (TX, TX, m.CONSUMER, m.NOW + 3600)


def test_the_requester_may_be_consumer_or_payer_whatever_the_letters() -> None:
    assert said(consumer=m.CONSUMER.lower(), payer=m.PUBLISHER) is None
    assert said(consumer=m.PUBLISHER, payer=m.CONSUMER.upper().replace("0X", "0x")) is None


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a datatoken of another NFT": ({"deployed": False}, "The datatoken was not deployed by the asset's data NFT."),
    "a transaction that failed": ({"succeeded": False}, "order transaction failed."),
    "no fee": ({"of": dataclasses.replace(receipt(), fees=())}, f"Cannot find the event for the provider fee in tx id {TX}."),
    "a fee for another service": ({"service_id": "x"}, f"Cannot find the event for the provider fee in tx id {TX}."),
    "a fee of another contract": (
        {"of": dataclasses.replace(receipt(), fees=(FeePaid(m.address(9), receipt().fees[0].fee),))},
        f"Cannot find the event for the provider fee in tx id {TX}.",
    ),
    "a fee whose words are no JSON": (
        {"of": with_fee({"providerData": b"\xff"})},
        f"Cannot find the event for the provider fee in tx id {TX}.",
    ),
    "another environment": ({"environment": "other"}, "Mismatch between ordered c2d environment and selected one."),
    "no environment": ({"environment": None}, "Mismatch between ordered c2d environment and selected one."),
    "another provider's fee": (
        {"key": "0x" + "11" * 32},
        "The providerFeeAddress 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A in the event does not match the provider address " + m.PROVIDER,
    ),
    "a fee that nobody signed": (
        {"of": with_fee({"r": b"\0" * 32})},
        "Provider was not able to check the signed message in ProviderFees event",
    ),
    "a fee that was altered": (
        {"of": with_fee({"validUntil": m.NOW + 9999})},
        "Provider was not able to check the signed message in ProviderFees event",
    ),
    "a fee whose time is over": ({"until": m.NOW - 120}, "Ordered c2d time was exceeded, check validUntil."),
    "no order": (
        {"of": dataclasses.replace(receipt(), started=())},
        f"Cannot find the event for the order transaction with tx id {TX}.",
    ),
    "an order of another contract": (
        {"of": dataclasses.replace(receipt(), started=(dataclasses.replace(receipt().started[0], datatoken=m.address(9)),))},
        f"Cannot find the event for the order transaction with tx id {TX}.",
    ),
    "another service": (
        {"index": 1},
        "The service id in the event does not match the requested asset. requested: serviceIndex=0 event: serviceIndex=1",
    ),
    "too little": (
        {"amount": 10**18 - 1},
        f"The amount in the event is less than the amount requested. requested: amount={10**18} event: amount={10**18 - 1}",
    ),
    "an order that has expired": ({"time": m.NOW - 3601}, "The order has expired: it is valid for 3600 s and is 3601 s old."),
    "another consumer": ({"payer": m.PUBLISHER}, "sender of order transaction is not the consumer/payer."),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refuses(what: str) -> None:
    changes, expected = REFUSED[what]
    assert said(**changes) == expected


def test_a_transaction_that_is_not_on_chain() -> None:
    with pytest.raises(InvalidOrder, match="Failed to get tx receipt for the `startOrder` transaction"):
        verified_order("8996", USE, None, None, True)


def test_a_service_without_timeout_is_ordered_for_ever() -> None:
    assert said(use(timeout=0), time=m.NOW - 10**8, until=0) is None


# -- the fee's time ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "good"), [(0, True), (60 + 90 - 1, True), (60 + 90, False)])
def test_the_time_from_the_fees_making_to_its_payment_is_added_with_a_margin(late: int, good: bool) -> None:
    until = m.NOW - late
    assert (said(until=until, made=m.NOW - 1060, time=m.NOW - 1000) is None) is good


def test_a_fee_that_does_not_tell_when_it_was_made_ends_when_it_says() -> None:
    assert said(until=m.NOW - 1, made="soon") == "Ordered c2d time was exceeded, check validUntil."
    assert said(until=m.NOW + 1, made="soon") is None


def test_a_fee_from_the_future_adds_no_negative_time() -> None:
    assert said(until=m.NOW - 89, made=m.NOW + 10**6) is None
    assert said(until=m.NOW - 90, made=m.NOW + 10**6) == "Ordered c2d time was exceeded, check validUntil."


def test_an_algorithms_fee_never_ends() -> None:
    assert said(use(environment=None), environment=None, until=1) is None


def test_an_order_whose_fee_is_over_may_be_used_on() -> None:
    assert said(use(expired_fee_ok=True), until=1) is None


def test_another_providers_fee_is_that_providers_to_judge_but_for_its_signature() -> None:
    theirs = use(provider=None)
    assert said(theirs, key="0x" + "11" * 32) is None
    assert said(theirs, of=with_fee({"r": b"\0" * 32})) == "Provider was not able to check the signed message in ProviderFees event"
    bare = make("0x" + "11" * 32, m.OCEAN, 0, environment=None, datatoken=DATATOKEN, service_id="", valid_until=0, now=0)
    other = dataclasses.replace(receipt(), fees=(FeePaid(DATATOKEN, bare),))
    assert said(use(provider=None, environment=None), of=other) is not None  # it names another service


# -- an order that is used on --------------------------------------------------------------------------------------------------------


def reused(at: int = m.NOW - 10) -> Receipt:
    return dataclasses.replace(receipt(), started=(), reused=(OrderReused(DATATOKEN, STARTED_TX, at),), timestamp=at)


def test_an_order_that_is_used_on_counts_from_then_and_was_paid_for_before() -> None:
    order = verified_order("8996", USE, reused(), receipt(STARTED_TX, time=m.NOW - 3610), True)
    assert (order.txId, order.startedTxId) == (TX, STARTED_TX)
    assert said(of=reused(m.NOW - 3601), original=receipt(STARTED_TX)) == "The order has expired: it is valid for 3600 s and is 3601 s old."


@pytest.mark.parametrize(
    ("started", "made", "since", "good"),
    [
        (-4000, -500, -400, True),  # in time
        (-4100, -500, -499, True),  # the fee was made in time, and paid at once
        (-4100, -500, -400, True),
        (-4101, -500, -400, False),  # the fee was made when the order was over
        (-5000, -1400, -700, False),  # made in time, but kept for later
        (-(10**6), -10, -5, False),  # one datatoken for ever
    ],
)
def test_an_order_that_was_over_is_not_used_on(started: int, made: int, since: int, good: bool) -> None:
    (paid,) = receipt(made=m.NOW + made).fees
    again = dataclasses.replace(reused(m.NOW + since), fees=(paid,))
    late = said(of=again, original=receipt(STARTED_TX, time=m.NOW + started))
    assert late == (None if good else "The order had already expired when it was reused: it is valid for 3600 s.")
    assert said(use(timeout=0), of=again, original=receipt(STARTED_TX, time=m.NOW + started)) is None


def test_what_is_used_on_must_be_a_good_order_itself() -> None:
    missing = "Failed to get tx receipt referenced in OrderReused."
    assert said(of=reused()) == missing
    assert said(of=reused(), original=receipt(m.tx(3))) == missing
    assert said(of=reused(), original=receipt(STARTED_TX, succeeded=False)) == "order referenced in OrderReused failed."
    assert said(of=reused(), original=receipt(STARTED_TX, payer=m.PUBLISHER)) == "sender of order transaction is not the consumer/payer."
    assert (said(of=reused(), original=receipt(STARTED_TX, index=1)) or "").startswith("The service id in the event does not match")


def test_reuse_of_another_datatoken_is_no_reuse_of_this_one() -> None:
    other = dataclasses.replace(receipt(), reused=(OrderReused(m.address(9), STARTED_TX, m.NOW),))
    assert said(of=other) is None


# -- reading -------------------------------------------------------------------------------------------------------------------------


def test_logs_that_are_no_orders_are_left_out() -> None:
    broken = {"address": DATATOKEN, "topics": [orders.topic(orders._STARTED)], "data": "0x12"}
    other = {"address": DATATOKEN, "topics": [], "data": "0x"}
    raw = {"transactionHash": TX, "status": "0x1", "blockNumber": "0x7", "logs": [broken, other, {**broken, "data": "zz"}]}
    assert orders.decode(raw) == Receipt(TX, True, 7)
    assert orders.decode({**raw, "status": "0x0", "logs": []}).succeeded is False
    assert orders.decode({"transactionHash": TX, "blockNumber": "0x7"}).succeeded is False, "before Byzantium: no pass"
