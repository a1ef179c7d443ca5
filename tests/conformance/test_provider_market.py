"""The Provider API on a real chain with Ocean's contracts: pricing, ordering and starting jobs, and rejected requests."""

from __future__ import annotations

import dataclasses
import json
import re
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from c2d.crypto import ecies
from c2d.database.queries import JobFilter
from c2d.database.tables import jobs
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.deals import (  # noqa: F401
    HOUR,
    algorithm,
    bought,
    consumer,
    dataset,
    error,
    free_fee,
    initialize,
    ordered,
    place,
    publisher,
    start,
    start_body,
    with_settings,
)
from tests.conformance.provider_server import Market

# -- the complete flow ----------------------------------------------------------------------------------------------------


def test_a_consumer_can_order_start_watch_and_stop_a_job_and_reuse_the_order(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any
) -> None:
    answer = initialize(place, consumer, [dataset], algorithm)
    assert answer.status_code == 200, answer.text
    fees = answer.json()
    (of_data,) = fees["datasets"]
    assert of_data["datatoken"] == dataset.datatoken and fees["algorithm"]["datatoken"] == algorithm.datatoken
    paid = int(of_data["providerFee"]["providerFeeAmount"])
    assert isinstance(of_data["providerFee"]["providerFeeAmount"], str)
    assert 0.99 < paid / (0.6 * 60 * 10**18) <= 1 and fees["algorithm"]["providerFee"]["providerFeeAmount"] == "0"

    data_tx, code_tx = ordered(place, consumer, dataset, of_data), ordered(place, consumer, algorithm, fees["algorithm"])
    named = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": data_tx, "userdata": {"from": 3}}
    code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": code_tx, "algocustomdata": {"k": 1}}
    answer = start(place, consumer, named, code)
    assert answer.status_code == 200, answer.text
    (job,) = answer.json()
    assert (job["status"], job["statusText"], job["owner"], job["agreementId"]) == (1, "Warming up", consumer.address, data_tx)
    assert job["inputDID"] == [dataset.did] and job["algoDID"] == algorithm.did

    with place.service.jobs.queue.engine.connect() as c:
        conf = c.execute(sa.select(jobs.c.conf).where(jobs.c.jobId == job["jobId"])).scalar_one()
    assert conf["inputs"] == [{"id": dataset.did, "order": {"txId": data_tx, "serviceId": "compute_1", "userdata": {"from": 3}}}]
    assert conf["algorithm"]["order"] == {"txId": code_tx, "serviceId": "access_1"} and conf["algorithm"]["algocustomdata"] == {"k": 1}
    assert HOUR - 60 < conf["maxJobDuration"] <= HOUR  # the time that was paid for
    assert place.files.url not in json.dumps(conf)

    seen = place.client.get(f"{SERVICES}/compute", params={"consumerAddress": consumer.address, "jobId": job["jobId"]}).json()
    assert [j["jobId"] for j in seen] == [job["jobId"]]
    asked = {**consumer.signed(consumer.address, job["jobId"], dataset.did), "jobId": job["jobId"], "documentId": dataset.did}
    (stopped,) = place.client.put(f"{SERVICES}/compute", json=asked).json()
    assert stopped["stopreq"] == 1 and stopped["status"] == 70

    # The orders also cover a shorter job, so nothing has to be paid.
    again = initialize(place, consumer, [named], code, seconds=HOUR // 2).json()
    assert again == {"datasets": [{"validOrder": data_tx}], "algorithm": {"validOrder": code_tx}}
    assert start(place, consumer, named, code).status_code == 200

    # A longer job costs a new fee, which is paid by reusing the order.
    longer = initialize(place, consumer, [named], code, seconds=26 * HOUR).json()
    assert longer["datasets"][0]["validOrder"] == data_tx
    amount = int(longer["datasets"][0]["providerFee"]["providerFeeAmount"])
    assert 0.99 < amount / (0.6 * 60 * 26 * 10**18) <= 1, "whole days count"


def test_an_order_that_is_valid_for_one_job_is_no_longer_valid_once_used(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path
) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm)
    with with_settings(place, tmp_path, C2D_ORDERS_ONCE="1") as client:
        there = dataclasses.replace(place, client=client)

        def valid_orders() -> list[bool]:
            answer = initialize(there, consumer, [of_data], of_code, seconds=HOUR // 2)
            return ["validOrder" in each for each in (*answer.json()["datasets"], answer.json()["algorithm"])]

        assert valid_orders() == [True, True]
        started = start(there, consumer, of_data, of_code)
        assert started.status_code == 200, started.text
        assert valid_orders() == [False, False]
        client.put(f"{SERVICES}/compute", json=consumer.signed(consumer.address))
        again = start(there, consumer, of_data, of_code)
        assert re.fullmatch("order: the order of did:op:[0-9a-f]{64} has been used for another job; order it again", error(again)[1])


def test_a_free_environment_costs_nothing(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    fees = initialize(place, consumer, [dataset], algorithm, "free").json()
    assert fees["datasets"][0]["providerFee"]["providerFeeAmount"] == fees["algorithm"]["providerFee"]["providerFeeAmount"] == "0"
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    (job,) = start(place, consumer, of_data, of_code, "free").json()
    assert job["status"] == 1


def test_raw_code_runs_if_the_data_set_allows_it(place: Market, consumer: Consumer, dataset: Any) -> None:
    container = {"image": "node", "tag": "10", "checksum": "sha256:" + "8221d20c" * 8, "entrypoint": "node $ALGO"}
    raw = {"meta": {"rawcode": "console.log('raw code')", "container": container}}
    fees = initialize(place, consumer, [dataset], raw, "free").json()
    assert set(fees) == {"datasets"}
    of_data = {"documentId": dataset.did, "serviceId": "compute_1", "transferTxId": ordered(place, consumer, dataset, fees["datasets"][0])}
    (job,) = start(place, consumer, of_data, raw, "free").json()
    assert job["algoDID"] == "raw"


def test_a_start_works_only_once_and_only_with_the_consumers_signature(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any
) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm)
    body = start_body(place, consumer, of_data, of_code)
    thief = Consumer(place.client, place.chain.accounts[5].key)  # type: ignore[arg-type]
    refused = place.client.post(f"{SERVICES}/compute", json={**body, **thief.signed(thief.address, "did:op:other")})
    assert refused.json()["errors"] == {"signature": ["Invalid signature provided. Please check the nonce or documentId."]}
    # a valid signature, but another consumer's order
    assert error(start(place, thief, of_data, of_code)) == (400, {"dataset.serviceId": "order_invalid"})
    assert place.client.post(f"{SERVICES}/compute", json=body).status_code == 200
    replayed = place.client.post(f"{SERVICES}/compute", json={**body, "consumerAddress": consumer.address.lower()})
    assert "errors" in replayed.json()
    # An order can be used for one job at a time.
    assert error(start(place, consumer, of_data, of_code)) == (400, "`agreementId` already in use for other job.")


def test_a_start_is_rejected_in_the_providers_words(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm)

    def refused(data: Any = of_data, code: Any = of_code, env: str = "paid", **more: Any) -> Any:
        return error(start(place, consumer, data, code, env, **more))

    assert refused(env="nowhere") == (400, "Compute environment does not exist")
    assert refused(additionalDatasets="x") == (400, {"additional_input": "invalid"})
    assert refused({**of_data, "documentId": "did:op:" + "0" * 64}) == (400, {"dataset.documentId": "did_not_found"})
    assert refused({**of_data, "serviceId": "other"}) == (400, {"dataset.serviceId": "not_found"})
    assert refused({**of_data, "transferTxId": "0x" + "0" * 64}) == (400, {"dataset.serviceId": "order_invalid"})
    assert refused({**of_data, "transferTxId": of_code["transferTxId"]}) == (400, {"dataset.serviceId": "order_invalid"})
    assert refused(env="free") == (400, {"dataset.serviceId": "order_invalid"})
    assert refused(code={**of_code, "documentId": dataset.did}) == (400, {"algorithm": "not_algo"})
    assert refused(code={**of_code, "transferTxId": of_data["transferTxId"]}) == (400, {"algorithm": "in_use_or_not_on_chain"})
    assert refused(additionalDatasets=[{"documentId": dataset.did}])[1] == {"datasets[1].transferTxId": "missing"}
    unpaid = place.chain.buy(algorithm, place.service.settings.address, free_fee(place, consumer, algorithm), payer=consumer.address)
    assert refused(output="[1]", code={**of_code, "transferTxId": unpaid}) == (400, {"output": "invalid"})


def test_results_are_encrypted_to_the_key_that_signed_the_start(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    data, code = bought(place, consumer, dataset, algorithm, "confidential")

    def key_of(job: dict[str, Any]) -> str:
        with place.service.jobs.queue.engine.connect() as c:
            conf = c.execute(sa.select(jobs.c.conf).where(jobs.c.jobId == job["jobId"])).scalar_one()
        asked = {**consumer.signed(consumer.address, job["jobId"], dataset.did), "jobId": job["jobId"], "documentId": dataset.did}
        assert place.client.put(f"{SERVICES}/compute", json=asked).status_code == 200
        return str(conf["output"]["publicKey"])

    (job,) = start(place, consumer, data, code, "confidential").json()
    assert key_of(job) == ecies.public_key(consumer.key)
    other = ecies.public_key("0x" + "44" * 32)
    (job,) = start(place, consumer, data, code, "confidential", output={"publicKey": other}).json()
    assert key_of(job) == other
    expiring = {**consumer.signed(consumer.address, who="address"), "expiration": int(time.time()) + 600}
    token = place.client.get(f"{SERVICES}/createAuthToken", params=expiring).json()["token"]
    body = {"environment": "confidential", "dataset": data, "algorithm": code, "consumerAddress": consumer.address}
    answer = place.client.post(f"{SERVICES}/compute", json={**body, "nonce": consumer.next_nonce()}, headers={"AuthToken": token})
    assert answer.status_code == 400 and "output.publicKey: is required" in answer.text, answer.text


def test_initialize_compute_is_rejected_in_the_providers_words(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    assert error(initialize(place, consumer, [dataset], algorithm, seconds=-5)) == (400, "The validUntil value is not correct.")
    assert error(initialize(place, consumer, [dataset], algorithm, env="nowhere")) == (400, "Compute environment does not exist")
    code_as_data = {"documentId": dataset.did, "serviceId": "compute_1"}
    assert error(initialize(place, consumer, [dataset], code_as_data)) == (400, "DID is not a valid algorithm")
    unknown = {"documentId": "did:op:" + "0" * 64, "serviceId": "x"}
    assert error(initialize(place, consumer, [unknown], algorithm)) == (400, {"datasets[0].documentId": "did_not_found"})
    assert error(initialize(place, consumer, [dataset, unknown], algorithm)) == (400, {"datasets[1].documentId": "did_not_found"})
    body = {"datasets": {"documentId": "x"}, "algorithm": {"meta": {"x": 1}}, "consumerAddress": consumer.address}
    body |= {"compute": {"env": "paid", "validUntil": int(time.time()) + 60}}
    assert error(place.client.post(f"{SERVICES}/initializeCompute", json=body)) == (400, {"datasets": "invalid"})


def test_a_queued_job_starts_with_the_orders_of_its_request(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    (job,) = start(place, consumer, of_data, of_code, "free").json()
    jobs = place.service.jobs
    while job["jobId"] not in place.runs.started:
        assert jobs.queue.release_next("free", 100, place.runs.start)
    (row,) = jobs.queries.see(place.service.caller.sees, JobFilter(jobId=job["jobId"]))
    assert row.provider == place.service.settings.address.lower()
    assert place.runs.started[job["jobId"]]["inputs"][0]["order"]["txId"] == of_data["transferTxId"]
