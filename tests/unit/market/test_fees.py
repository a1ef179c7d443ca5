"""Provider fees: what a start costs, and that whoever checks the signature finds the Provider's (the contract does: test_datatoken.py)."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal

import pytest

from c2d.market import fees
from tests.unit import sample_market as m


@pytest.mark.parametrize(
    ("seconds", "price", "token", "decimals", "amount"),
    [
        (3600, "60", m.OCEAN, 18, 3600 * 10**18),  # the incumbent's vector
        (25 * 3600, "60", m.OCEAN, 18, 25 * 3600 * 10**18),  # the incumbent drops whole days
        (366 * 86400, "0.1", m.OCEAN, 18, 366 * 1440 * 10**17),
        (3600, "60", m.OCEAN, 6, 3600 * 10**6),
        (1, "0.000001", m.OCEAN, 6, 0),
        (61.9, "1", m.OCEAN, 18, 61 * 10**18 // 60),
        (3600, "60", None, 18, 0),
        (3600, "60", fees.ZERO_ADDRESS, 18, 0),
        (-5, "60", m.OCEAN, 18, 0),
        (10**9, "123456789.123456789", m.OCEAN, 18, 10**9 * 123456789123456789 * 10**9 // 60),
    ],
)
def test_what_a_start_costs(seconds: float, price: str, token: str | None, decimals: int, amount: int) -> None:
    assert fees.amount(seconds, Decimal(price), token, decimals) == amount


def made(**changes: object) -> fees.ProviderFee:
    given = {"environment": "ocean-compute", "datatoken": m.address(2), "service_id": "compute_1", "valid_until": 123, "now": 45, **changes}
    return fees.make(m.PROVIDER_KEY, m.OCEAN, 7, **given)  # type: ignore[arg-type]


def test_what_clients_get() -> None:
    shown = made().dump()
    assert json.loads(bytes.fromhex(str(shown["providerData"])[2:])) == {
        "environment": "ocean-compute",
        "timestamp": 45,
        "dt": m.address(2),
        "id": "compute_1",
    }
    assert (shown["providerFeeAddress"], shown["providerFeeAmount"], shown["validUntil"]) == (m.PROVIDER, "7", 123)
    assert shown["v"] in (27, 28) and len(str(shown["r"])) == len(str(shown["s"])) == 66


def test_a_fee_is_its_providers_until_a_field_is_another() -> None:
    fee = made()
    assert fees.signer(fee) == m.PROVIDER
    for change in (
        {"providerFeeAmount": 8},
        {"providerFeeToken": m.address(5)},
        {"validUntil": 124},
        {"providerData": b"{}"},
        {"s": b"\1" * 32},
        {"v": 29},
    ):
        assert fees.signer(dataclasses.replace(fee, **change)) != m.PROVIDER  # type: ignore[arg-type]


def test_without_a_token_the_fee_is_in_none() -> None:
    it = fees.make(m.PROVIDER_KEY, None, 0, environment=None, datatoken=m.address(2), service_id="s", valid_until=0, now=0)
    assert it.providerFeeToken == fees.ZERO_ADDRESS and fees.signer(it) == m.PROVIDER
