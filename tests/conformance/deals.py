"""Fixtures and steps of the tests of the Provider API on a real chain: the market, its parties, ordering and starting."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from c2d.crypto import ecies
from c2d.database import connections
from local.market.chain import Chain
from local.market.fees import fee_of
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.provider_server import Market, market, serving_with

HOUR = 3600
PRICE = "0.6"  # per minute


@pytest.fixture(scope="module")
def place(chain: Chain, postgres: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    name = f"t{uuid.uuid4().hex}"
    with sa.create_engine(postgres, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool).connect() as c:
        c.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE migrated"))
    url = sa.make_url(postgres).set(database=name).render_as_string(hide_password=False)
    folder: Path = tmp_path_factory.mktemp("market")
    environments = folder / "environments.yaml"
    paid = f"{{id: paid, priceMinute: {PRICE}, maxJobDuration: {100 * HOUR}}}"
    environments.write_text(f"environments: [{paid}, {{id: free}}, {{id: confidential, encrypt_results: consumer}}]")
    variables = {
        "OPERATOR_PRIVATE_KEY": ecies.new_private_key(),
        "C2D_DATABASE_URL": url,
        "C2D_RESULTS_PATH": str(folder),
        "C2D_ENVIRONMENTS": str(environments),
    }
    with market(chain, variables) as it:
        yield it
    connections.close(url)


@pytest.fixture
def consumer(place: Market) -> Consumer:
    account = place.chain.accounts[4]
    return Consumer(place.client, account.key)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def publisher(place: Market) -> str:
    return place.chain.accounts[2].address


@pytest.fixture(scope="module")
def algorithm(place: Market, publisher: str) -> Any:
    return place.publish(publisher, ("/algo.py",), "algorithm")


@pytest.fixture(scope="module")
def dataset(place: Market, publisher: str) -> Any:
    return place.publish(publisher)


def initialize(place: Market, consumer: Consumer, datasets: list[Any], algorithm: Any, env: str = "paid", seconds: int = HOUR) -> Any:
    """The answer to initializeCompute. `datasets` and `algorithm` are assets, or their objects in the request."""
    until = int(time.time()) + seconds

    def asked(asset: Any, service: str) -> Any:
        return asset if isinstance(asset, dict) else {"documentId": asset.did, "serviceId": service}

    body = {
        "datasets": [asked(d, "compute_1") for d in datasets],
        "algorithm": asked(algorithm, "access_1"),
        "compute": {"env": env, "validUntil": until},
        "consumerAddress": consumer.address,
    }
    return place.client.post(f"{SERVICES}/initializeCompute", json=body)


def ordered(place: Market, consumer: Consumer, asset: Any, answer: dict[str, Any]) -> str:
    """Place an order as clients do: for the environment, paid by the consumer. Returns the transaction id."""
    env = place.service.settings.address
    return place.chain.buy(asset, env, fee_of(answer["providerFee"]), payer=consumer.address)


def start_body(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid", **more: Any) -> dict[str, Any]:
    body = {"environment": env, "dataset": dataset, "algorithm": algorithm, **more}
    return {**body, **consumer.signed(consumer.address, str(dataset.get("documentId")))}


def start(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid", **more: Any) -> Any:
    return place.client.post(f"{SERVICES}/compute", json=start_body(place, consumer, dataset, algorithm, env, **more))


def bought(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, env: str = "paid") -> tuple[dict[str, Any], dict[str, Any]]:
    """Order a data set and an algorithm. Returns their objects in the request to start a job."""
    answer = initialize(place, consumer, [dataset], algorithm, env)
    assert answer.status_code == 200, answer.text
    fees = answer.json()
    of_data = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": ordered(place, consumer, dataset, fees["datasets"][0])}
    of_code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": ordered(place, consumer, algorithm, fees["algorithm"])}
    return of_data, of_code


def error(answer: Any) -> tuple[int, Any]:
    assert set(answer.json()) == {"error"}, answer.text
    return answer.status_code, answer.json()["error"]


def with_settings(place: Market, tmp_path: Path, **variables: str) -> Any:
    """A client of another server of the same market, with other settings."""
    return serving_with(place, {"C2D_RESULTS_PATH": str(tmp_path), **variables})


def free_fee(place: Market, consumer: Consumer, algorithm: Any) -> Any:
    asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
    return fee_of(place.client.get(f"{SERVICES}/initialize", params=asked).json()["providerFee"])
