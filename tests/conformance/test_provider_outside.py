"""The Provider API and the systems that it queries: RBAC, policy server, chains, metadata caches, other Providers; and their limits."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from c2d.access import admission
from c2d.api.provider.service import FETCH_SLOTS, QUERY_SLOTS
from c2d.database.tables import jobs
from c2d.hooks.json_rpc import urls_by_chain_id
from c2d.jobs.model import Job
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.deals import (  # noqa: F401
    algorithm,
    bought,
    consumer,
    dataset,
    error,
    free_fee,
    initialize,
    place,
    publisher,
    start,
    start_body,
    with_settings,
)
from tests.conformance.provider_server import Market
from tests.unit.sample_market import document, service


def test_the_rbac_server_can_deny_access(place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    denied = [{"RBAC": "RBAC Validation failed!"}]
    asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
    with with_settings(place, tmp_path, RBAC_SERVER_URL=f"{place.files.url}/rbac") as client:
        place.files.contents["/rbac"] = b"false"
        body = start_body(place, consumer, of_data, of_code, "free")
        assert client.post(f"{SERVICES}/compute", json=body).json()["errors"] == denied
        assert client.get(f"{SERVICES}/initialize", params=asked).json()["errors"] == denied
        assert json.loads(place.files.asked[-1][3])["eventType"] == "initialize"
        place.files.contents["/rbac"] = b"true"
        assert client.get(f"{SERVICES}/initialize", params=asked).status_code == 200
        del place.files.contents["/rbac"]
        assert client.get(f"{SERVICES}/initialize", params=asked).status_code == 400


def test_the_policy_server_gets_the_clients_data_again_when_the_job_starts(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path
) -> None:
    of_data, of_code = bought(place, consumer, dataset, algorithm, "free")
    place.files.contents["/policy"] = b""
    with with_settings(place, tmp_path, POLICY_SERVER_URL=f"{place.files.url}/policy") as client:
        body = start_body(place, consumer, of_data, of_code, "free", policyServer={"sessionId": "SESSION"})
        (started,) = client.post(f"{SERVICES}/compute", json=body).json()
        requests = [json.loads(body) for _, path, _, body in place.files.asked if path == "/policy"]
        assert [request["documentId"] for request in requests] == [dataset.did, algorithm.did]
        assert all(request["policyServer"] == {"sessionId": "SESSION"} for request in requests)
        del place.files.contents["/policy"]
        tx = place.chain.buy(algorithm, consumer.address, free_fee(place, consumer, algorithm))
        asked = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": tx, "fileIndex": 0, **consumer.signed(algorithm.did)}
        assert error(client.get(f"{SERVICES}/download", params=asked)) == (400, "policyServer: denied")
    with place.service.jobs.queue.engine.connect() as c:
        conf = c.execute(sa.select(jobs.c.conf).where(jobs.c.jobId == started["jobId"])).scalar()
    assert "SESSION" not in json.dumps(conf)
    job = Job.parse(conf, "free").opened(place.variables["OPERATOR_PRIVATE_KEY"], started["jobId"])
    # configure queries the policy server again with the same data, before anything is fetched
    assert admission.request_of(job, place.service.settings.environment("free")).policyServer == {"sessionId": "SESSION"}


def test_nothing_is_granted_while_the_chain_is_unavailable(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, tmp_path: Path
) -> None:
    with with_settings(place, tmp_path, NETWORK_URL='{"8996": "http://127.0.0.1:9/RPCSECRET"}') as client:
        body = {
            "datasets": [{"documentId": dataset.did, "serviceId": "compute_1"}],
            "algorithm": {"documentId": algorithm.did, "serviceId": "access_1"},
            "compute": {"env": "free", "validUntil": int(time.time()) + 60},
            "consumerAddress": consumer.address,
        }
        answer = client.post(f"{SERVICES}/initializeCompute", json=body)
        assert answer.status_code == 503 and set(answer.json()) == {"error", "context"} and "Retry-After" in answer.headers
        assert "RPCSECRET" not in answer.text and "127.0.0.1" not in answer.text
        # requests that need no chain still work
        assert client.get("").json()["chainIds"] == [8996]
        assert client.get(f"{SERVICES}/compute", params={"consumerAddress": consumer.address}).status_code == 200


def test_an_unavailable_metadata_cache_is_reported_without_its_address(
    place: Market, consumer: Consumer, algorithm: Any, tmp_path: Path
) -> None:
    with with_settings(place, tmp_path, AQUARIUS_URL="http://127.0.0.1:9/SECRET") as client:
        asked = {"documentId": algorithm.did, "serviceId": "access_1", "consumerAddress": consumer.address}
        answer = client.get(f"{SERVICES}/initialize", params=asked)
        assert answer.status_code == 503 and "SECRET" not in answer.text


def test_an_asset_of_another_provider_is_priced_by_that_provider(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    other = place.chain.publish(place.chain.accounts[3].address)
    sealed = service(other.nft, other.datatoken, key="0x" + "44" * 32, id="access_1", type="access", serviceEndpoint=place.files.url)
    place.describe(other, document(other.nft, [sealed]))
    fees_of_other = {"datatoken": other.datatoken, "providerFee": {"providerFeeAmount": "0"}, "nonce": "1", "more": "x"}
    place.files.contents["/api/services/initialize"] = json.dumps(fees_of_other).encode()
    more = {"documentId": other.did, "serviceId": "access_1"}
    fees = initialize(place, consumer, [dataset, more], algorithm).json()
    assert fees["datasets"][1] == {"datatoken": other.datatoken, "providerFee": {"providerFeeAmount": "0"}}
    assert int(fees["datasets"][0]["providerFee"]["providerFeeAmount"]) > 0
    (path,) = [path for _, path, _, _ in place.files.asked if path.startswith("/api/services/initialize")]
    assert f"documentId={other.did.replace(':', '%3A')}" in path and f"consumerAddress={consumer.address}" in path
    for content in (b"{", b"[]", b"x" * 100_000):
        place.files.contents["/api/services/initialize"] = content
        assert initialize(place, consumer, [dataset, more], algorithm).status_code == 400
    place.files.contents["/api/services/initialize"] = b'{"error": "of a server inside"}'
    place.files.answers["/api/services/initialize"] = (400, {})
    assert error(initialize(place, consumer, [dataset, more], algorithm)) == (400, f"the Provider of {other.did} refuses: HTTP status 400")
    del place.files.contents["/api/services/initialize"], place.files.answers["/api/services/initialize"]
    assert initialize(place, consumer, [dataset, more], algorithm).status_code == 400


def test_the_number_of_concurrent_upstream_queries_is_limited(place: Market, consumer: Consumer, dataset: Any, algorithm: Any) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(QUERY_SLOTS):
            stack.enter_context(place.service.query_slot())
        assert initialize(place, consumer, [dataset], algorithm).status_code == 429
        assert place.client.get("").status_code == 200
    assert initialize(place, consumer, [dataset], algorithm).status_code == 200


def test_too_many_data_sets_are_rejected_before_any_is_looked_up(
    place: Market, consumer: Consumer, dataset: Any, algorithm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each data set costs a request to the metadata cache, and anyone can send this request."""
    monkeypatch.setattr(type(place.service.access.assets), "ddos", lambda *_: pytest.fail("the cache was asked"))
    many = [{"documentId": f"did:op:{n:064x}", "serviceId": "s", "transferTxId": "0x"} for n in range(101)]
    assert error(initialize(place, consumer, many, algorithm)) == (400, {"datasets": "invalid"})
    code = {"documentId": algorithm.did, "serviceId": "access_1", "transferTxId": "0x"}
    assert error(start(place, consumer, many[0], code, additionalDatasets=many)) == (400, {"additional_input": "invalid"})


def test_a_chain_without_a_configured_id_is_asked_for_its_id(place: Market) -> None:
    dead = "http://127.0.0.1:9"
    assert urls_by_chain_id({0: (dead, place.chain.url)}) == {place.chain.chain_id: (dead, place.chain.url)}
    assert urls_by_chain_id({0: (dead,)}) == urls_by_chain_id({0: (dead,)}) == {}
    assert urls_by_chain_id({1: (dead,), 0: (place.chain.url,)}) == {1: (dead,), place.chain.chain_id: (place.chain.url,)}


def test_the_number_of_concurrent_file_checks_is_limited(place: Market, algorithm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Further requests are answered 429, because each check occupies a thread of the API server."""
    asked = {"did": algorithm.did, "serviceId": "access_1"}
    with contextlib.ExitStack() as stack:
        for _ in range(FETCH_SLOTS):
            stack.enter_context(place.service.fetch_slot())
        answer = place.client.post(f"{SERVICES}/fileinfo", json=asked)
        assert answer.status_code == 429 and answer.headers["Retry-After"]
    assert place.client.post(f"{SERVICES}/fileinfo", json=asked).status_code == 200
