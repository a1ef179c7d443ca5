"""One Provider in one market for all tests of this folder. A test that changes an asset publishes its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.market.chain import Chain
from local.market.ocean_js import Published
from tests.conformance.conftest import Runs
from tests.conformance.ocean_js import market as parts
from tests.conformance.ocean_js.market import Job, Market, Place
from tests.conftest import copied


@pytest.fixture(scope="package")
def place(chain: Chain, postgres: str, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with copied(postgres, migrated) as url, parts.place(chain, url, tmp_path_factory.mktemp("place"), Runs()) as it:
        yield it


@pytest.fixture(scope="package")
def market(place: Place) -> Market:
    return place.market


@pytest.fixture(scope="package")
def algorithm(market: Market) -> Published:
    return market.algorithm()


@pytest.fixture(scope="package")
def dataset(market: Market, algorithm: Published) -> Published:
    return market.dataset(compute=market.trust(algorithm))


@pytest.fixture(scope="package")
def bought(market: Market, dataset: Published, algorithm: Published) -> Job:
    """Valid orders of a data set and an algorithm, for an hour in the environment with a price."""
    (one,), other = market.buy([dataset], algorithm, "paid")
    return Job(one, other, "paid")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if parts.NUMBERS:
        terminalreporter.section("conformance numbers")
        for line in parts.NUMBERS:
            terminalreporter.write_line(line)
