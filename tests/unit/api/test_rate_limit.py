from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from c2d.api.common.rate_limit import MAX_KEYS, RateLimit
from c2d.api.operator_service.app import create_app
from c2d.crypto import ecies
from c2d.crypto.signatures import address_of
from c2d.settings import installation
from tests.conformance.provider import API, KEY, Provider


def test_so_many_at_once_then_so_many_a_second() -> None:
    rate = RateLimit(2, 3)
    assert [rate.wait("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.wait("b", 0) == 0
    assert [rate.wait("a", 0.5), rate.wait("a", 0.5)] == [0, 0.5]
    assert [rate.wait("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_flood_of_names_takes_no_memory() -> None:
    rate = RateLimit(1, 1)
    for n in range(MAX_KEYS + 100):
        rate.wait(str(n), 0)
    assert len(rate._buckets) == MAX_KEYS


@pytest.fixture
def client(database_url: str) -> Iterator[TestClient]:
    variables = {
        "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
        "C2D_DATABASE_URL": database_url,
        "ALLOWED_PROVIDERS": address_of(KEY),
        "C2D_STARTS_PER_SECOND": "0.1",
        "C2D_REQUESTS_PER_SECOND": "3",
    }

    with TestClient(create_app(installation.read(variables), work=False)) as c:
        yield c


def test_a_signer_that_asks_too_often_is_told_when_to_come_again(client: TestClient) -> None:
    answers = [client.get(f"{API}/compute", params=Provider().signed()) for _ in range(12)]
    refused = [a for a in answers if a.status_code == 429]
    assert [a.status_code for a in answers[:6]] == [200] * 6 and refused
    assert refused[0].headers["retry-after"] == "1" and refused[0].json()["error"].startswith("too many requests")


def test_an_owner_that_starts_too_often_is_refused_and_another_is_not(client: TestClient) -> None:
    codes = [
        client.post(f"{API}/compute", json=Provider(owner="0x" + o * 40).start_body(f"0x{n}")).status_code for n, o in enumerate("aab")
    ]
    assert codes == [200, 429, 200]
