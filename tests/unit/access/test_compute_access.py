"""ComputeAccess collects the facts for starts, initializeComputes and downloads, and asks the policy servers last."""

from __future__ import annotations

import pytest

from c2d.errors import AccessDenied
from tests.unit import sample_market as m
from tests.unit.sample_market import Market, market


def test_paid_time_is_measured_by_a_chain_that_is_ahead_of_our_clock() -> None:
    it = market()
    it.change_order(until=m.NOW + 100, made=m.NOW - 60)
    assert it.denial() is None
    access = it.world.access()
    access.now = lambda: m.NOW - 10_000
    it.world.now = m.NOW + 300
    with pytest.raises(AccessDenied, match="order_invalid"):
        access.approve_start(it.request)


def test_a_job_that_waited_is_decided_as_of_its_request() -> None:
    it = market()
    it.world.now = m.NOW + 7200
    assert it.denial() == ("dataset.serviceId", "order_invalid")
    assert it.world.access().approve_start(it.request, at=m.NOW).validUntil == m.NOW + 3600


def test_a_policy_server_replaces_allow_and_deny_lists() -> None:
    it = market()
    it.data["credentials"] = {"deny": [{"type": "address", "values": [m.CONSUMER]}]}
    it.world.replaces_credentials = True
    assert it.denial() is None


# -- initializeCompute -------------------------------------------------------------------------------------------------------------


def initialize(it: Market) -> list[tuple[bool, bool]]:
    """For each asset: whether its order is valid, and whether the order's fee has not expired."""
    datasets, algorithm = it.world.access().approve_initialize(it.request)
    return [(asset.order is not None, asset.fee_paid) for asset in (*datasets, *([algorithm] if algorithm else []))]


def test_initialize_needs_no_orders() -> None:
    it = market()
    it.change_dataset_request(transferTxId=None)
    it.change_algorithm_request(transferTxId=None)
    assert initialize(it) == [(False, False), (False, False)]


def test_initialize_distinguishes_valid_orders_from_expired_fees_and_invalid_orders() -> None:
    it = market()
    it.change_algorithm_order(environment="ocean-compute")
    assert initialize(it) == [(True, True), (True, True)]
    it.change_order(until=m.NOW - 1)
    it.change_algorithm_order(environment="other")
    assert initialize(it) == [(True, False), (False, False)]
    it.change_order(time=m.NOW - 3601)
    assert initialize(it)[0] == (False, False)


def test_initialize_denies_what_a_start_would_deny() -> None:
    it = market()
    it.trust_algorithm(did="did:op:ff")
    with pytest.raises(AccessDenied, match="dataset: not_trusted_algo"):
        initialize(it)


# -- downloads ---------------------------------------------------------------------------------------------------------------------


def test_an_access_service_is_approved_with_and_without_its_order() -> None:
    it = market()
    access = it.world.access()
    unordered = access.approve_download(it.data["id"], "access_1", m.CONSUMER, None)
    assert unordered.files == (m.URL,) and unordered.order is None
    order = access.approve_download(it.data["id"], "access_1", m.CONSUMER, m.tx(3)).order
    assert order is not None and order.txId == m.tx(3)


@pytest.mark.parametrize(
    ("did", "service", "consumer", "tx", "expected"),
    [
        ("did:op:ff", "access_1", m.CONSUMER, None, ("documentId", "did_not_found")),
        (market().data["id"], "x", m.CONSUMER, None, ("serviceId", "not_found")),
        (market().data["id"], "access_1", m.CONSUMER, m.tx(9), ("", "order_invalid")),
        (market().data["id"], "access_1", m.address(5), m.tx(3), ("", "order_invalid")),
    ],
)
def test_a_download_is_denied(did: str, service: str, consumer: str, tx: str | None, expected: tuple[str, str]) -> None:
    with pytest.raises(AccessDenied) as e:
        market().world.access().approve_download(did, service, consumer, tx)
    assert (e.value.resource, e.value.message) == expected


def test_a_disabled_or_malformed_asset_is_not_downloaded() -> None:
    it = market()
    it.world.states[it.data["nftAddress"]] = 4
    with pytest.raises(AccessDenied, match="Asset is not consumable"):
        it.world.access().approve_download(it.data["id"], "access_1", m.CONSUMER, None)
    it.data["chainId"] = "8996"
    with pytest.raises(AccessDenied, match="Asset malformed or disabled"):
        it.world.access().approve_download(it.data["id"], "access_1", m.CONSUMER, None)
