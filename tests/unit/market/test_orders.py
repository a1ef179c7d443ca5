"""What makes an order valid: the rules of Ocean's Provider one by one, with its texts, and how receipts are read."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from c2d.errors import InvalidOrder
from c2d.market import orders
from c2d.market.fees import make
from c2d.market.orders import FeePaid, IntendedUse, OrderReused, Receipt, verified_order
from tests.unit import sample_market as m

TX, STARTED_TX = m.tx(1), m.tx(2)
DATATOKEN = m.address(2)
DOC = m.document(m.address(1), [m.service(m.address(1), DATATOKEN)])
UNSIGNED = "Provider was not able to check the signed message in ProviderFees event"
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


def order_receipt(tx: str = TX, **changes: Any) -> Receipt:
    return m.order_of(DOC, tx, **changes)


def fault_of(
    use: IntendedUse = USE, receipt: Receipt | None = None, original: Receipt | None = None, deployed: bool = True, **changes: Any
) -> str | None:
    """What is wrong with the order in a receipt, or in one with these changes; None: nothing."""
    try:
        verified_order("development", use, receipt or order_receipt(**changes), original, deployed)
    except InvalidOrder as e:
        assert str(e).startswith("Provider development: ")
        return str(e).removeprefix("Provider development: ")
    return None


def use_with(**changes: Any) -> IntendedUse:
    return dataclasses.replace(USE, **changes)


def with_fee(change: dict[str, Any]) -> Receipt:
    valid = order_receipt()
    (paid,) = valid.fees
    return dataclasses.replace(valid, fees=(FeePaid(paid.datatoken, dataclasses.replace(paid.fee, **change)),))


def test_a_valid_order_names_its_transaction_and_its_end() -> None:
    order = verified_order("8996", USE, order_receipt(), None, True)
    assert (order.txId, order.startedTxId, order.payer, order.validUntil) == (TX, TX, m.CONSUMER, m.NOW + 3600)


def test_the_requester_may_be_the_consumer_or_the_payer_in_any_case_of_letters() -> None:
    assert fault_of(consumer=m.CONSUMER.lower(), payer=m.PUBLISHER) is None
    assert fault_of(consumer=m.PUBLISHER, payer=m.CONSUMER.upper().replace("0X", "0x")) is None


INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "a datatoken of another NFT": ({"deployed": False}, "The datatoken was not deployed by the asset's data NFT."),
    "a failed transaction": ({"succeeded": False}, "order transaction failed."),
    "no fee": ({"receipt": dataclasses.replace(order_receipt(), fees=())}, f"Cannot find the event for the provider fee in tx id {TX}."),
    "a fee for another service": ({"service_id": "x"}, f"Cannot find the event for the provider fee in tx id {TX}."),
    "a fee that another contract emitted": (
        {"receipt": dataclasses.replace(order_receipt(), fees=(FeePaid(m.address(9), order_receipt().fees[0].fee),))},
        f"Cannot find the event for the provider fee in tx id {TX}.",
    ),
    "a fee whose data are not JSON": (
        {"receipt": with_fee({"providerData": b"\xff"})},
        f"Cannot find the event for the provider fee in tx id {TX}.",
    ),
    "another environment": ({"environment": "other"}, "Mismatch between ordered c2d environment and selected one."),
    "no environment": ({"environment": None}, "Mismatch between ordered c2d environment and selected one."),
    "another provider's fee": (
        {"key": "0x" + "11" * 32},
        "The providerFeeAddress 0x19E7E376E7C213B7E7e7e46cc70A5dD086DAff2A in the event does not match the provider address " + m.PROVIDER,
    ),
    "a fee with a forged signature": (
        {"receipt": with_fee({"r": b"\0" * 32})},
        UNSIGNED,
    ),
    "an altered fee": (
        {"receipt": with_fee({"validUntil": m.NOW + 9999})},
        UNSIGNED,
    ),
    "an expired fee": ({"until": m.NOW - 120}, "Ordered c2d time was exceeded, check validUntil."),
    "no order": (
        {"receipt": dataclasses.replace(order_receipt(), started=())},
        f"Cannot find the event for the order transaction with tx id {TX}.",
    ),
    "an order that another contract emitted": (
        {
            "receipt": dataclasses.replace(
                order_receipt(), started=(dataclasses.replace(order_receipt().started[0], datatoken=m.address(9)),)
            )
        },
        f"Cannot find the event for the order transaction with tx id {TX}.",
    ),
    "another service": (
        {"index": 1},
        "The service id in the event does not match the requested asset. requested: serviceIndex=0 event: serviceIndex=1",
    ),
    "less than one datatoken": (
        {"amount": 10**18 - 1},
        f"The amount in the event is less than the amount requested. requested: amount={10**18} event: amount={10**18 - 1}",
    ),
    "an expired order": ({"time": m.NOW - 3601}, "The order has expired: it is valid for 3600 s and is 3601 s old."),
    "another consumer": ({"payer": m.PUBLISHER}, "sender of order transaction is not the consumer/payer."),
}


@pytest.mark.parametrize("what", INVALID)
def test_an_invalid_order_is_rejected_with_the_reason(what: str) -> None:
    changes, expected = INVALID[what]
    assert fault_of(**changes) == expected


def test_a_transaction_that_is_not_on_chain_is_rejected() -> None:
    with pytest.raises(InvalidOrder, match="Failed to get tx receipt for the `startOrder` transaction"):
        verified_order("8996", USE, None, None, True)


def test_orders_of_a_service_without_timeout_never_expire() -> None:
    assert fault_of(use_with(timeout=0), time=m.NOW - 10**8, until=0) is None


# -- the end of the fee ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("late", "valid"), [(0, True), (60 + 90 - 1, True), (60 + 90, False)])
def test_the_time_that_the_payment_took_is_added_with_a_margin(late: int, valid: bool) -> None:
    until = m.NOW - late
    assert (fault_of(until=until, made=m.NOW - 1060, time=m.NOW - 1000) is None) is valid


def test_a_fee_without_timestamp_expires_at_valid_until() -> None:
    assert fault_of(until=m.NOW - 1, made="soon") == "Ordered c2d time was exceeded, check validUntil."
    assert fault_of(until=m.NOW + 1, made="soon") is None


def test_a_fee_with_a_future_timestamp_does_not_expire_earlier() -> None:
    assert fault_of(until=m.NOW - 89, made=m.NOW + 10**6) is None
    assert fault_of(until=m.NOW - 90, made=m.NOW + 10**6) == "Ordered c2d time was exceeded, check validUntil."


def test_an_algorithms_fee_does_not_expire() -> None:
    assert fault_of(use_with(environment=None), environment=None, until=1) is None


def test_an_expired_fee_can_be_permitted_for_reuse() -> None:
    assert fault_of(use_with(expired_fee_ok=True), until=1) is None


def test_only_the_signature_of_another_providers_fee_is_checked() -> None:
    theirs = use_with(provider=None)
    assert fault_of(theirs, key="0x" + "11" * 32) is None
    assert fault_of(theirs, receipt=with_fee({"r": b"\0" * 32})) == UNSIGNED
    bare = make("0x" + "11" * 32, m.OCEAN, 0, environment=None, datatoken=DATATOKEN, service_id="", valid_until=0, now=0)
    other = dataclasses.replace(order_receipt(), fees=(FeePaid(DATATOKEN, bare),))
    assert fault_of(use_with(provider=None, environment=None), receipt=other) is not None  # it names another service


# -- reused orders ---------------------------------------------------------------------------------------------------------------


def reused(at: int = m.NOW - 10) -> Receipt:
    return dataclasses.replace(order_receipt(), started=(), reused=(OrderReused(DATATOKEN, STARTED_TX, at),), timestamp=at)


def test_a_reused_order_expires_after_its_reuse_and_names_its_start() -> None:
    order = verified_order("8996", USE, reused(), order_receipt(STARTED_TX, time=m.NOW - 3610), True)
    assert (order.txId, order.startedTxId) == (TX, STARTED_TX)
    expired = "The order has expired: it is valid for 3600 s and is 3601 s old."
    assert fault_of(receipt=reused(m.NOW - 3601), original=order_receipt(STARTED_TX)) == expired


@pytest.mark.parametrize(
    ("started", "made", "since", "valid"),
    [
        (-4000, -500, -400, True),  # before the order expired
        (-4100, -500, -499, True),  # the fee was made before that and paid at once
        (-4100, -500, -400, True),
        (-4101, -500, -400, False),  # the fee was made after that
        (-5000, -1400, -700, False),  # the fee was made before that but paid much later
        (-(10**6), -10, -5, False),  # one datatoken would pay indefinitely
    ],
)
def test_an_expired_order_cannot_be_reused(started: int, made: int, since: int, valid: bool) -> None:
    (paid,) = order_receipt(made=m.NOW + made).fees
    again = dataclasses.replace(reused(m.NOW + since), fees=(paid,))
    late = fault_of(receipt=again, original=order_receipt(STARTED_TX, time=m.NOW + started))
    assert late == (None if valid else "The order had already expired when it was reused: it is valid for 3600 s.")
    assert fault_of(use_with(timeout=0), receipt=again, original=order_receipt(STARTED_TX, time=m.NOW + started)) is None


def test_the_order_that_is_reused_must_be_valid_itself() -> None:
    missing = "Failed to get tx receipt referenced in OrderReused."
    assert fault_of(receipt=reused()) == missing
    assert fault_of(receipt=reused(), original=order_receipt(m.tx(3))) == missing
    assert fault_of(receipt=reused(), original=order_receipt(STARTED_TX, succeeded=False)) == "order referenced in OrderReused failed."
    another_payer = fault_of(receipt=reused(), original=order_receipt(STARTED_TX, payer=m.PUBLISHER))
    assert another_payer == "sender of order transaction is not the consumer/payer."
    another_service = fault_of(receipt=reused(), original=order_receipt(STARTED_TX, index=1))
    assert another_service is not None and another_service.startswith("The service id in the event does not match")


def test_the_reuse_of_another_datatokens_order_is_ignored() -> None:
    other = dataclasses.replace(order_receipt(), reused=(OrderReused(m.address(9), STARTED_TX, m.NOW),))
    assert fault_of(receipt=other) is None


# -- reading receipts ------------------------------------------------------------------------------------------------------------


def test_logs_without_a_valid_event_are_ignored() -> None:
    broken = {"address": DATATOKEN, "topics": [orders.topic(orders._STARTED)], "data": "0x12"}
    other = {"address": DATATOKEN, "topics": [], "data": "0x"}
    raw = {"transactionHash": TX, "status": "0x1", "blockNumber": "0x7", "logs": [broken, other, {**broken, "data": "zz"}]}
    assert orders.decode(raw) == Receipt(TX, True, 7)
    assert orders.decode({**raw, "status": "0x0", "logs": []}).succeeded is False
    before_byzantium = {"transactionHash": TX, "blockNumber": "0x7"}  # has no status
    assert orders.decode(before_byzantium).succeeded is False
