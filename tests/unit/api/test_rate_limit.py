from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from c2d.api.common.rate_limit import MAX_KEYS, RateLimit
from c2d.api.operator_service.app import create_app
from c2d.crypto import ecies
from c2d.crypto.signatures import address_of
from c2d.errors import ApiError
from c2d.settings import installation
from tests.conformance.provider import API, KEY, Provider


def test_a_burst_is_allowed_and_then_a_steady_rate() -> None:
    limit = RateLimit(per_second=2, burst=3)
    assert [limit.wait("a", 0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert limit.wait("b", 0) == 0
    assert [limit.wait("a", 0.5), limit.wait("a", 0.5)] == [0, 0.5]
    assert [limit.wait("a", 100) for _ in range(4)] == [0, 0, 0, 0.5]


def test_a_key_without_a_token_gets_429_and_the_time_to_wait() -> None:
    limit = RateLimit(per_second=0.1, burst=1)
    limit.take("a")
    with pytest.raises(ApiError, match="too many requests; try again in") as e:
        limit.take("a")
    assert e.value.status == 429 and e.value.headers == {"Retry-After": "10"}


def test_a_flood_of_keys_uses_bounded_memory() -> None:
    limit = RateLimit(1, 1)
    for n in range(MAX_KEYS + 100):
        limit.wait(str(n), 0)
    assert len(limit._buckets) == MAX_KEYS


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


def test_a_signer_that_sends_too_many_requests_gets_429_with_retry_after(client: TestClient) -> None:
    answers = [client.get(f"{API}/compute", params=Provider().signed()) for _ in range(12)]
    refused = [a for a in answers if a.status_code == 429]
    assert [a.status_code for a in answers[:6]] == [200] * 6 and refused
    assert refused[0].headers["retry-after"] == "1" and refused[0].json()["error"].startswith("too many requests")


def test_an_owner_that_starts_too_many_jobs_does_not_slow_another_owner(client: TestClient) -> None:
    codes = [
        client.post(f"{API}/compute", json=Provider(owner="0x" + o * 40).start_body(f"0x{n}")).status_code for n, o in enumerate("aab")
    ]
    assert codes == [200, 429, 200]
