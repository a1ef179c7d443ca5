"""The unmodified client library (@oceanprotocol/lib 3.3.0) publishes, buys and starts jobs with our Provider on a real chain.

In tests/e2e/test_market.py the jobs really run.
"""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest

from c2d.crypto.signatures import sign_hash
from local.market import ocean_js
from local.market.bridge import OceanJsError
from local.market.chain import ONE
from local.market.fees import fee_of
from local.market.ocean_js import OceanJs, Published
from tests.conformance.ocean_js.market import DATA, HOUR, NUMBERS, Job, Market, Place, price_times, provider, start


def test_a_published_asset_appears_in_the_metadata_cache(market: Market, dataset: Published) -> None:
    assert market.js.call("ProviderInstance.isValidProvider", market.js.provider_url)[0] is True
    known = market.js.known(dataset)
    assert (known["id"], known["nft"]["owner"], known["nft"]["state"]) == (dataset.did, market.publisher.address, 0)
    assert market.js.provider("checkDidFiles", dataset.did, dataset.service, market.js.provider_url)[0]["valid"] is True


def test_the_librarys_own_helpers_buy_and_download_a_file(market: Market) -> None:
    def access(ddo: dict[str, Any]) -> None:
        ddo["services"][0]["type"] = "access"
        del ddo["services"][0]["compute"]

    sold = market.dataset("sold", price="3", change=access)
    assert market.js.known(sold)["stats"]["price"] == {"value": 3, "tokenAddress": market.chain.ocean, "tokenSymbol": "Ocean"}
    signer, url = market.consumer, market.js.provider_url
    datatoken = {"$new": "Datatoken", "args": [signer, market.chain.chain_id]}
    ordered, _ = market.js.call("orderAsset", market.js.known(sold), signer, {"$config": {}}, datatoken, url)
    download = market.js.provider("getDownloadUrl", sold.did, sold.service, 0, ordered["transactionHash"], url, signer)
    assert market.js.download(download) == ("table.csv", DATA)
    with pytest.raises(OceanJsError, match="Response error"):
        market.js.download(download)


def test_a_metadata_cache_can_decrypt_several_ddos_in_one_second(market: Market, dataset: Published, algorithm: Published) -> None:
    """Aquarius uses the current second as its nonce."""
    key, address, nonce = market.stranger.key, market.stranger.address, str(int(time.time()))
    for published in (dataset, algorithm):
        body = {"transactionId": published.tx, "dataNftAddress": published.nft, "chainId": market.chain.chain_id}
        text = f"{published.tx}{address}{market.chain.chain_id}{nonce}"
        body |= {"decrypterAddress": address, "nonce": nonce, "signature": sign_hash(key, text)}
        answer = httpx.post(f"{market.js.provider_url}/api/services/decrypt", json=body)
        assert (answer.status_code, answer.text) == (201, json.dumps(published.ddo, separators=(",", ":"))), answer.text


def test_environments_have_prices(market: Market) -> None:
    assert {name: each["priceMin"] for name, each in market.environment.items()} == {"free": 0, "paid": 1}
    assert all(
        {"id", "cpuNumber", "ramGB", "diskGB", "maxJobs", "consumerAddress", "maxJobDuration"} <= set(e)
        for e in market.environment.values()
    )


def test_a_job_with_paid_orders_starts(market: Market, bought: Job) -> None:
    job = start(market, bought)
    assert job["owner"].lower() == market.consumer.address.lower()
    assert (job["inputDID"], job["algoDID"], job["status"]) == ([bought.dataset["documentId"]], bought.algorithm["documentId"], 1)
    assert job["agreementId"] in (bought.dataset["transferTxId"], bought.algorithm["transferTxId"])
    stopped = market.js.status(market.consumer.address, job["jobId"])
    assert stopped["jobId"] == job["jobId"] and stopped["stopreq"] == 1 and stopped["dateFinished"]


def test_the_fee_covers_the_whole_time_and_is_charged_once(market: Market, dataset: Published, algorithm: Published) -> None:
    offer = market.initialize([dataset.order()], algorithm.order(), "paid", hours=25)
    fees = [each["providerFee"] for each in (*offer["datasets"], offer["algorithm"])]
    amounts = sorted(int(fee["providerFeeAmount"]) for fee in fees)
    assert amounts[0] == 0 and 1499 * ONE <= amounts[1] <= 1500 * ONE
    assert {each["datatoken"] for each in (*offer["datasets"], offer["algorithm"])} == {dataset.datatoken, algorithm.datatoken}
    data = [json.loads(fee_of(fee)[-1]) for fee in fees]
    assert {each["environment"] for each in data} == {"paid"} and {each["dt"] for each in data} == {dataset.datatoken, algorithm.datatoken}


def test_a_valid_order_is_reused_and_an_expired_one_is_paid_again(
    market: Market, dataset: Published, algorithm: Published, bought: Job
) -> None:
    named = [dataset.order(bought.dataset["transferTxId"])], algorithm.order(bought.algorithm["transferTxId"])
    again = market.initialize(*named, "paid", hours=0.5)
    for each, order in ((again["datasets"][0], bought.dataset), (again["algorithm"], bought.algorithm)):
        assert each["validOrder"] == order["transferTxId"] and not each.get("providerFee")
    # longer than the time that was paid for
    longer = market.initialize(*named, "paid", hours=1.9)
    asked = [longer["datasets"][0], longer["algorithm"]]
    assert all(each["validOrder"] for each in asked) and any(int(each.get("providerFee", {}).get("providerFeeAmount", 0)) for each in asked)
    consumer = market.environment["paid"]["consumerAddress"]
    one, other = (market.js.order(market.consumer, consumer, each) for each in asked)
    assert market.chain.events(one, "ERC20Template", "OrderReused") or market.chain.events(other, "ERC20Template", "OrderReused")
    assert start(market, bought, dataset=dataset.order(one), algorithm=algorithm.order(other))["jobId"]


def test_the_last_library_version_can_stop_a_job_only_with_lenient_stop(place: Place, market: Market, bought: Job) -> None:
    """Version 3.4.6 does not sign the nonce. Everything else is as in 3.3.0."""
    consumer, did = market.consumer, bought.dataset["documentId"]

    def stop(js: OceanJs, job_id: str) -> Any:
        return js.call("ProviderInstance.computeStop", did, consumer.address, job_id, js.provider_url, consumer, did)[0]

    with ocean_js.running(market.chain, market.js.provider_url, market.cache.url, ocean_js.LAST) as last:
        job = last.start(consumer, bought.environment, bought.dataset, bought.algorithm)["jobId"]
        with pytest.raises(OceanJsError, match="Invalid signature provided"):
            stop(last, job)
        assert not last.status(consumer.address, job)["stopreq"]
    with (
        provider({**place.variables, "C2D_LENIENT_STOP": "1"}, place.runs) as url,
        ocean_js.running(market.chain, url, market.cache.url, ocean_js.LAST) as last,
    ):
        assert [(each["jobId"], each["stopreq"]) for each in stop(last, job)] == [(job, 1)]


# -- round trips --------------------------------------------------------------------------------------------------------------


def test_three_data_sets_and_an_algorithm_are_validated_in_two_round_trips(place: Place, market: Market, algorithm: Published) -> None:
    datasets = [market.dataset(f"part {n}", compute=market.trust(algorithm)) for n in range(3)]
    named, other = market.buy(datasets, algorithm, "paid")
    for warm in (False, True):
        place.rpc.reset()
        started = market.js.start(market.consumer, "paid", named[0], other, named[1:])
        assert not warm or 1 <= place.rpc.trips <= 2, place.rpc.methods
        market.js.stop(market.consumer, named[0]["documentId"], started["jobId"])


def test_initialize_compute_needs_at_most_two_round_trips(place: Place, market: Market, dataset: Published, algorithm: Published) -> None:
    place.rpc.reset()
    times = price_times(market, [dataset], algorithm, "paid", market.chain.now() + HOUR)
    assert place.rpc.trips <= 2 * len(times)
    p95, median = (f"{times[int(len(times) * part)] * 1000:.0f} ms" for part in (0.95, 0.5))
    NUMBERS.append(f"initializeCompute on anvil: p95 {p95}, median {median}, {place.rpc.trips / len(times):.1f} round trips to the RPC")
