"""Requests of the unmodified client library that are rejected: invalid orders, signatures, algorithms, consumers and assets."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from c2d.crypto.signatures import sign_hash
from local.market.bridge import OceanJsError
from local.market.chain import ONE, ZERO
from local.market.ddo import container_checksum
from local.market.fees import provider_fee
from local.market.ocean_js import Published
from tests.conformance.ocean_js.market import CONTAINER, DIGEST, HOUR, PROVIDER_KEY, Job, Market, Place, start


def refused(market: Market, job: Job, **changes: Any) -> Any:
    with pytest.raises(OceanJsError) as it:
        start(market, job, **changes)
    return it.value.reason


# -- orders -------------------------------------------------------------------------------------------------------------------


def test_a_data_set_without_an_order_is_rejected(market: Market, bought: Job, dataset: Published) -> None:
    assert refused(market, bought, dataset=dataset.order()) == {"dataset.transferTxId": ["The dataset.transferTxId field is required."]}
    assert refused(market, bought, dataset=dataset.order("0x" + "ab" * 32)) == {"dataset.serviceId": "order_invalid"}


def test_an_order_of_another_service_is_rejected(market: Market, bought: Job, algorithm: Published) -> None:
    def two_services(ddo: dict[str, Any]) -> None:
        ddo["services"].append({**ddo["services"][0], "id": "another", "datatokenAddress": ddo["services"][0]["datatokenAddress"]})

    two = market.dataset("two", change=two_services, compute=market.trust(algorithm))
    (first,), other = market.buy([two], algorithm, "paid")
    assert refused(market, bought, dataset={**first, "serviceId": "another"}, algorithm=other) == {"dataset.serviceId": "order_invalid"}


def test_an_order_of_another_asset_is_rejected(market: Market, bought: Job, algorithm: Published) -> None:
    another = market.dataset("another", compute=market.trust(algorithm))
    wrong = another.order(bought.dataset["transferTxId"])
    assert refused(market, bought, dataset=wrong) == {"dataset.serviceId": "order_invalid"}


def test_an_expired_order_is_rejected(market: Market, bought: Job, algorithm: Published) -> None:
    short = market.dataset("short", timeout=1, compute=market.trust(algorithm))
    (one,), other = market.buy([short], algorithm, "free")
    ordered = market.chain.now()
    while market.chain.now() < ordered + 2:
        market.chain.rpc("evm_mine")
    assert refused(market, bought, dataset=one, algorithm=other, environment="free") == {"dataset.serviceId": "order_invalid"}


def test_an_order_of_another_consumer_is_rejected(market: Market, bought: Job) -> None:
    """The order is for the environment, paid by another consumer than the one that starts the job."""
    stranger = market.stranger
    with pytest.raises(OceanJsError) as it:
        market.js.start(stranger, bought.environment, bought.dataset, bought.algorithm)
    assert it.value.reason == {"dataset.serviceId": "order_invalid"}


def test_an_order_for_another_environment_is_rejected(market: Market, dataset: Published, algorithm: Published, bought: Job) -> None:
    (one,), other = market.buy([dataset], algorithm, "free")
    assert refused(market, bought, dataset=one, algorithm=other, environment="paid") == {"dataset.serviceId": "order_invalid"}


def test_an_order_without_the_environments_fee_is_rejected(market: Market, dataset: Published, algorithm: Published, bought: Job) -> None:
    """Both orders name the environment, but neither has paid its fee."""
    one, other = (order(market, each, amount=0) for each in (dataset, algorithm))
    assert refused(market, bought, dataset=dataset.order(one), algorithm=algorithm.order(other)) == {"order": "fees_not_paid"}


def test_an_order_whose_fee_has_expired_is_rejected(market: Market, dataset: Published, algorithm: Published, bought: Job) -> None:
    paid_until = market.chain.now() - HOUR
    one = order(market, dataset, amount=ONE, valid_until=paid_until)
    other = order(market, algorithm, amount=0, valid_until=paid_until)
    assert refused(market, bought, dataset=dataset.order(one), algorithm=algorithm.order(other)) == {"dataset.serviceId": "order_invalid"}


def test_the_time_until_the_fee_is_on_the_chain_is_not_charged(
    market: Market, dataset: Published, algorithm: Published, bought: Job
) -> None:
    """The consumer does not lose the time between the request for the price and the block."""
    now = market.chain.now()
    one = order(market, dataset, amount=2 * ONE, valid_until=now - 30, timestamp=now - 120)
    other = order(market, algorithm, amount=0, valid_until=now - 30, timestamp=now - 120)
    assert start(market, bought, dataset=dataset.order(one), algorithm=algorithm.order(other))["jobId"]


def test_a_fee_of_another_provider_is_rejected(market: Market, dataset: Published, bought: Job) -> None:
    one = order(market, dataset, key="0x" + "77" * 32, amount=ONE)
    assert refused(market, bought, dataset=dataset.order(one)) == {"dataset.serviceId": "order_invalid"}


def order(market: Market, published: Published, *, key: str = PROVIDER_KEY, amount: int, valid_until: int = 0, **data: Any) -> str:
    """Place an order with a signed fee of any content, which our Provider would not sign. Returns the transaction id."""
    valid_until = valid_until or market.chain.now() + HOUR
    data = {"environment": "paid", "timestamp": market.chain.now(), "id": published.service, **data}
    fee = provider_fee(
        key, published.datatoken, amount=amount, token=market.chain.ocean if amount else ZERO, valid_until=valid_until, **data
    )
    chain, consumer = market.chain, market.consumer.address
    chain.send(published.owner.address, "ERC20Template", published.datatoken, "mint", consumer, ONE)
    if amount:
        chain.approve(chain.ocean, consumer, published.datatoken, amount)
    return chain.start_order(consumer, published.datatoken, market.environment["paid"]["consumerAddress"], fee)


# -- signatures ---------------------------------------------------------------------------------------------------------------

SIGNATURE = {"signature": ["Invalid signature provided. Please check the nonce or documentId."]}


def test_a_signature_of_another_account_is_rejected(market: Market, bought: Job) -> None:
    job = start(market, bought)
    with pytest.raises(OceanJsError) as it:
        market.js.call(
            "ProviderInstance.computeStop",
            bought.dataset["documentId"],
            market.consumer.address,
            job["jobId"],
            market.js.provider_url,
            market.stranger,
        )
    assert it.value.reason == SIGNATURE


def test_a_replayed_request_is_rejected(market: Market, bought: Job) -> None:
    """The library does not do this, but anyone who has seen its request can."""
    consumer, did, url = market.consumer, bought.dataset["documentId"], market.js.provider_url + "/api/services"
    nonce = str(int(httpx.get(f"{url}/nonce?userAddress={consumer.address}").json()["nonce"]) + 1)
    body = {"consumerAddress": consumer.address, "nonce": nonce, "signature": sign_hash(consumer.key, f"{consumer.address}{did}{nonce}")}
    body |= {"environment": bought.environment, "dataset": bought.dataset, "algorithm": bought.algorithm}
    started = httpx.post(f"{url}/compute", json=body, timeout=30)
    assert started.status_code == 200, started.text
    market.js.stop(consumer, did, started.json()[0]["jobId"])
    for address in (consumer.address, consumer.address.lower()):
        again = httpx.post(f"{url}/compute", json={**body, "consumerAddress": address}, timeout=30)
        assert again.status_code == 400, again.text
        assert set(again.json()["errors"]) <= {"nonce", "signature"}


def test_a_result_of_another_consumer_is_not_given_out(market: Market, bought: Job) -> None:
    job = start(market, bought)
    url = market.js.provider("getComputeResultUrl", market.js.provider_url, market.stranger, job["jobId"], 0)
    answer = httpx.get(url)
    assert answer.status_code in (400, 404) and job["jobId"] in answer.text
    forged = re.sub("consumerAddress=0x[0-9a-fA-F]+", f"consumerAddress={market.consumer.address}", url)
    assert httpx.get(forged).json()["errors"] == SIGNATURE


# -- algorithms ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "message"),
    [
        ({"did": "did:op:" + "00" * 32}, "not_trusted_algo"),
        ({"filesChecksum": "00" * 32}, "algorithm_file_checksum_mismatch"),
        (
            {"containerSectionChecksum": container_checksum({**CONTAINER, "entrypoint": "sh -c $ALGO"})},
            "algorithm_container_checksum_mismatch",
        ),
    ],
    ids=["by DID", "file checksum", "container checksum"],
)
def test_an_algorithm_that_is_not_trusted_is_rejected(
    market: Market, algorithm: Published, bought: Job, compute: dict[str, str], message: str
) -> None:
    picky = market.dataset("picky", compute=market.trust(algorithm, **compute))
    assert refused(market, bought, dataset=picky.order("0x" + "01" * 32)) == {"dataset": message}


def test_an_algorithm_of_an_untrusted_publisher_is_rejected(market: Market, bought: Job) -> None:
    theirs = market.dataset("theirs", compute={"publisherTrustedAlgorithmPublishers": [market.other_publisher.address]})
    assert refused(market, bought, dataset=theirs.order("0x" + "01" * 32)) == {"dataset": "not_trusted_algo_publisher"}


def test_an_algorithm_whose_file_has_changed_is_rejected(place: Place, market: Market, bought: Job) -> None:
    """The file differs from the one that the data owner has reviewed."""
    place.contents["/once.py"] = b"print(1)\n"
    changing = market.algorithm("/once.py")
    picky = market.dataset("picky", compute=market.trust(changing))
    (one,), other = market.buy([picky], changing, "paid")
    place.contents["/once.py"] = b"print(open('/data/inputs').read())\n"
    assert refused(market, bought, dataset=one, algorithm=other) == {"dataset": "algorithm_file_checksum_mismatch"}


def test_raw_code_is_rejected_if_the_data_set_does_not_allow_it(market: Market, bought: Job) -> None:
    raw = {"meta": {"rawcode": "print('hello there')", "container": {**CONTAINER, "checksum": DIGEST}}}
    assert refused(market, bought, algorithm=raw) == {"dataset": "no_raw_algo_allowed"}


# -- consumers and assets -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "listed", "code"),
    [("deny", "consumer", "CREDENTIAL_IN_DENY_LIST"), ("allow", "stranger", "CREDENTIAL_NOT_IN_ALLOW_LIST")],
)
def test_a_consumer_without_permission_is_rejected(
    market: Market, algorithm: Published, bought: Job, who: str, listed: str, code: str
) -> None:
    def credentials(ddo: dict[str, Any]) -> None:
        ddo["credentials"] = {"allow": [], "deny": [], who: [{"type": "address", "values": [getattr(market, listed).address]}]}

    closed = market.dataset("closed", change=credentials, compute=market.trust(algorithm))
    denied = {"dataset": f"Error: Access to asset {closed.did} was denied with code: ConsumableCodes.{code}."}
    assert refused(market, bought, dataset=closed.order("0x" + "01" * 32)) == denied


@pytest.mark.parametrize("state", [1, 2, 3, 4], ids=["end of life", "deprecated", "revoked", "ordering disabled"])
def test_an_asset_that_is_no_longer_offered_is_rejected(market: Market, algorithm: Published, bought: Job, state: int) -> None:
    asset = market.dataset("leaving", compute=market.trust(algorithm))
    (one,), other = market.buy([asset], algorithm, "paid")
    market.js._tx("Nft.setMetadataState", market.publisher, asset.nft, market.publisher.address, state)
    reason = refused(market, bought, dataset=one, algorithm=other)
    assert set(reason) == {"dataset"} and re.search(
        "Asset malformed or disabled|Asset is not consumable|ASSET_DISABLED", reason["dataset"]
    ), reason


def test_a_ddo_that_differs_from_the_one_on_the_chain_has_no_effect(
    market: Market, algorithm: Published, bought: Job, dataset: Published
) -> None:
    """The metadata cache returns a changed DDO."""
    asset = market.dataset("honest", compute=market.trust(algorithm))
    (one,), other = market.buy([asset], algorithm, "paid")
    market.cache.assets[asset.did]["services"][0]["compute"] |= {"allowRawAlgorithm": True}
    raw = {"meta": {"rawcode": "print('hello there')", "container": CONTAINER}}
    reason = refused(market, bought, dataset=one, algorithm=raw)
    assert "no_raw_algo_allowed" not in str(reason) and "order" not in str(reason), reason
    market.cache.assets[asset.did]["services"][0]["compute"] |= {"allowRawAlgorithm": False}
    assert start(market, bought, dataset=one, algorithm=other)["jobId"]
