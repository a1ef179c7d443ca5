"""Provider fees: their amount and their signature. That the real contract accepts it is tested in tests/unit/hooks/test_datatoken.py."""

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
        (3600, "60", m.OCEAN, 18, 3600 * 10**18),  # a vector of Ocean's Provider
        (25 * 3600, "60", m.OCEAN, 18, 25 * 3600 * 10**18),  # Ocean's Provider leaves out whole days
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
def test_the_price_of_a_start(seconds: float, price: str, token: str | None, decimals: int, amount: int) -> None:
    assert fees.amount(seconds, Decimal(price), token, decimals) == amount


def fee_with(**changes: object) -> fees.ProviderFee:
    arguments = {
        "environment": "ocean-compute",
        "datatoken": m.address(2),
        "service_id": "compute_1",
        "valid_until": 123,
        "now": 45,
        **changes,
    }
    return fees.make(m.PROVIDER_KEY, m.OCEAN, 7, **arguments)  # type: ignore[arg-type]


def test_clients_get_the_fee_as_json_with_hex() -> None:
    dumped = fee_with().dump()
    assert json.loads(bytes.fromhex(str(dumped["providerData"])[2:])) == {
        "environment": "ocean-compute",
        "timestamp": 45,
        "dt": m.address(2),
        "id": "compute_1",
    }
    assert (dumped["providerFeeAddress"], dumped["providerFeeAmount"], dumped["validUntil"]) == (m.PROVIDER, "7", 123)
    assert dumped["v"] in (27, 28) and len(str(dumped["r"])) == len(str(dumped["s"])) == 66


def test_changing_any_field_of_a_fee_invalidates_its_signature() -> None:
    fee = fee_with()
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


def test_without_a_token_the_fee_names_the_zero_address() -> None:
    fee = fees.make(m.PROVIDER_KEY, None, 0, environment=None, datatoken=m.address(2), service_id="s", valid_until=0, now=0)
    assert fee.providerFeeToken == fees.ZERO_ADDRESS and fees.signer(fee) == m.PROVIDER
