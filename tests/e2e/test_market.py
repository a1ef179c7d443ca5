"""The unmodified client library buys on a real chain and starts jobs at the Provider API, with real Airflow."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local.env_files import read_env
from local.home import Home
from local.market import ocean_js
from local.market.bridge import OceanJsError
from local.market.chain import Chain
from local.market.metadata_cache import MetadataCache
from local.market.ocean_js import Published
from tests.conformance.ocean_js.market import ENTRYPOINT, HOUR, Market, price_times
from tests.e2e.client import Job, Stack, until
from tests.e2e.confs import OWNER, conf, data_set, file

ENVIRONMENT = "market"


@pytest.fixture(scope="module")
def market(stack: Stack, chain: Chain, cache: MetadataCache) -> Iterator[Market]:
    container = {"image": "c2d.test/python-data", "tag": "1", "entrypoint": ENTRYPOINT, "checksum": stack.digest}
    with ocean_js.running(chain, read_env(Home(stack.path).env_file)["PROVIDER_URL"], cache.url) as js:
        yield Market(chain, js, cache, f"http://{stack.address}:{stack.data.port}", container)


@pytest.fixture(scope="module")
def algorithm(market: Market) -> Published:
    return market.algorithm()


@pytest.fixture(scope="module")
def datasets(market: Market, algorithm: Published) -> list[Published]:
    return [market.dataset(name, compute=market.trust(algorithm)) for name in ("first", "second")]


def start(stack: Stack, market: Market, datasets: list[dict[str, Any]], algorithm: dict[str, Any]) -> Job:
    status = market.js.start(market.consumer, ENVIRONMENT, datasets[0], algorithm, datasets[1:])
    job = Job(stack, ENVIRONMENT, status["jobId"])
    stack.jobs[job.id] = job
    return job


def ended(market: Market, job: Job) -> dict[str, Any]:
    return market.js.await_status(market.consumer.address, job.id, lambda status: bool(status["dateFinished"]), within=400)


@pytest.mark.digest
def test_bought_assets_are_computed_on_and_the_orders_are_reused(
    stack: Stack, market: Market, datasets: list[Published], algorithm: Published
) -> None:
    paid, code = market.buy(datasets, algorithm, ENVIRONMENT)
    job = start(stack, market, paid, code)
    status = ended(market, job)
    assert (status["status"], status["statusText"]) == (70, "Job finished"), status
    assert sorted(status["inputDID"]) == sorted(d.did for d in datasets) and status["algoDID"] == algorithm.did
    assert [r["type"] for r in status["results"]] == ["output", "algorithmLog", "configrationLog", "filteringLog", "publishLog"]
    assert market.js.result(market.consumer, job.id, 0) == ("where", b"from a remote file")
    job.await_end().has_ended("success", 70, "Job finished", reason="Completed")
    assert "table.csv" not in json.dumps(job.run["conf"]) and "algorithm.py" not in json.dumps(job.run["conf"])

    url = market.js.provider("getComputeResultUrl", market.js.provider_url, market.stranger, job.id, 0)
    assert httpx.get(url).status_code in (400, 404)
    with pytest.raises(OceanJsError, match="order_invalid"):
        market.js.start(market.stranger, ENVIRONMENT, paid[0], code, paid[1:])

    again = market.initialize(
        [d.order(p["transferTxId"]) for d, p in zip(datasets, paid, strict=True)], algorithm.order(code["transferTxId"]), ENVIRONMENT, 0.5
    )
    assert [each["validOrder"] for each in again["datasets"]] == [p["transferTxId"] for p in paid]
    assert not any(each.get("providerFee") for each in (*again["datasets"], again["algorithm"]))
    second = start(stack, market, paid, code)
    assert second.id != job.id and ended(market, second)["status"] == 70
    second.await_end()


@pytest.mark.digest
def test_initialize_compute_answers_quickly(stack: Stack, market: Market, datasets: list[Published], algorithm: Published) -> None:
    times = price_times(market, datasets, algorithm, ENVIRONMENT, int(time.time()) + HOUR)
    stack.numbers.append(("initializeCompute", f"median {times[30] * 1000:.0f} ms, p95 {times[57] * 1000:.0f} ms"))


@pytest.mark.digest
def test_only_the_consumer_can_stop_a_job(stack: Stack, market: Market) -> None:
    sleeper = market.algorithm("/sleeper.py")
    dataset = market.dataset("stopped", compute=market.trust(sleeper))
    (paid,), code = market.buy([dataset], sleeper, ENVIRONMENT)
    job = start(stack, market, [paid], code).await_running("algorithm")
    with pytest.raises(OceanJsError, match="signature"):
        market.js.call(
            "ProviderInstance.computeStop", dataset.did, market.consumer.address, job.id, market.js.provider_url, market.stranger
        )
    assert job.goes_on()
    market.js.stop(market.consumer, dataset.did, job.id)
    status = ended(market, job)
    assert (status["status"], status["stopreq"]) == (70, 1)
    index = next(n for n, result in enumerate(status["results"]) if result["type"] == "algorithmLog")
    assert market.js.result(market.consumer, job.id, index)[1] == b"working\n"
    job.await_end()


@pytest.mark.digest
def test_an_asset_that_is_revoked_while_the_job_waits_is_not_fetched(stack: Stack, market: Market) -> None:
    """The orders are checked again in the DAG, before any pod gets the addresses of the data."""
    sleeper = market.algorithm("/sleeper.py")
    occupying, dataset = (market.dataset(name, compute=market.trust(sleeper)) for name in ("occupying", "revoked"))
    (paid,), code = market.buy([occupying], sleeper, ENVIRONMENT)
    running = start(stack, market, [paid], code).await_running("algorithm")
    (paid,), code = market.buy([dataset], sleeper, ENVIRONMENT)
    waiting = start(stack, market, [paid], code)
    market.chain.set_state(market.asset(dataset), 3)
    market.js.stop(market.consumer, occupying.did, running.id)
    assert ended(market, waiting)["status"] == 31
    waiting.await_end()
    assert waiting.pods_made("algorithm") == 0
    running.await_end()


def test_no_job_starts_without_an_order(stack: Stack) -> None:
    answer = stack.trigger(ENVIRONMENT, conf(inputs=[data_set("aa", file("table.csv"))], owner=OWNER), "no-order")
    assert answer.status_code == 400 and "inputs[0].order" in answer.text, answer.text
    until(lambda: stack.api.send("GET", f"/dags/{ENVIRONMENT}/dagRuns/no-order", {}).status_code == 404, "no run")
