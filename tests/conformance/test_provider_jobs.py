"""Jobs in the Provider API: status, stop and results, each only for the consumer that started the job."""

from __future__ import annotations

import json
from typing import Any

from fastapi.testclient import TestClient

from c2d.api.provider.service import ProviderService
from c2d.crypto.signatures import sign_hash
from c2d.database.nonces import Caller
from c2d.jobs.ids import object_name
from c2d.jobs.model import Job
from c2d.lifecycle.submit import submit
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.provider import OTHER_KEY, OWNER
from tests.conformance.test_provider_api import DID, INVALID_SIGNATURE, client, consumer, error, faults, service  # noqa: F401


def job_of(service: ProviderService, owner: str, did: str = DID, agreement: str = "0x" + "a1" * 32) -> str:
    conf = {
        "inputs": [{"id": did, "files": [{"url": "https://data.example/x"}]}],
        "algorithm": {"rawcode": "print('hello')", "container": {"image": "i", "tag": "1", "entrypoint": "python3 $ALGO"}},
        "owner": owner,
        "agreementId": agreement,
    }
    caller = Caller(service.caller.provider, None)
    return submit(service.settings, service.jobs.queue, Job.parse(conf, "ocean-compute"), "ocean-compute", caller)


def status(client: TestClient, **asked: str) -> list[dict[str, Any]]:
    answer = client.get(f"{SERVICES}/compute", params=asked)
    assert answer.status_code == 200, answer.text
    jobs: list[dict[str, Any]] = answer.json()
    return jobs


def test_the_status_lists_the_consumers_own_jobs(client: TestClient, service: ProviderService, consumer: Consumer) -> None:
    mine = job_of(service, consumer.address)
    other = job_of(service, consumer.address, "did:op:bb", "0x" + "b2" * 32)
    foreign = job_of(service, OWNER, agreement="0x" + "c3" * 32)
    (job,) = status(client, consumerAddress=consumer.address, jobId=mine, documentId=DID)
    assert (job["jobId"], job["status"], job["statusText"], job["owner"]) == (mine, 1, "Warming up", consumer.address)
    assert "data.example" not in json.dumps(job)
    assert {j["jobId"] for j in status(client, consumerAddress=consumer.address.lower())} == {mine, other}
    assert [j["jobId"] for j in status(client, consumerAddress=consumer.address, documentId="did:op:bb")] == [other]
    assert [j["jobId"] for j in status(client, consumerAddress=consumer.address, agreementId="b2" * 32)] == [other]
    assert status(client, consumerAddress=consumer.address, jobId=foreign) == []
    assert faults(client.get(f"{SERVICES}/compute")) == {"consumerAddress": ["The consumerAddress field is required."]}


def test_jobs_of_another_provider_are_not_visible(client: TestClient, service: ProviderService, consumer: Consumer) -> None:
    conf = {"algorithm": {"container": {"image": "i", "tag": "1", "entrypoint": "x"}}, "owner": consumer.address}
    caller = Caller("0x" + "99" * 20, None)
    job = submit(service.settings, service.jobs.queue, Job.parse(conf, "ocean-compute"), "ocean-compute", caller)
    assert status(client, consumerAddress=consumer.address, jobId=job) == []
    signed = consumer.signed(consumer.address, job)
    assert client.put(f"{SERVICES}/compute", json={**signed, "jobId": job}).json() == []
    assert service.jobs.repository.job(job).stopreq == 0  # type: ignore[union-attr]


def test_a_stop_needs_the_consumers_signature(client: TestClient, service: ProviderService, consumer: Consumer) -> None:
    mine = job_of(service, consumer.address)
    thief = Consumer(client, OTHER_KEY)
    assert client.put(f"{SERVICES}/compute", json={**thief.signed(thief.address, mine, DID), "jobId": mine, "documentId": DID}).json() == []
    assert status(client, consumerAddress=consumer.address)[0]["stopreq"] == 0
    signed = consumer.signed(consumer.address, mine, DID)
    (stopped,) = client.put(f"{SERVICES}/compute", json={**signed, "jobId": mine, "documentId": DID}).json()
    assert (stopped["jobId"], stopped["stopreq"], stopped["status"]) == (mine, 1, 70)


def test_a_stop_without_a_nonce_stops_one_job_with_lenient_stop_only(
    client: TestClient, service: ProviderService, consumer: Consumer, variables: dict[str, str]
) -> None:
    def signed(text: str, key: str = consumer.key, **more: str) -> dict[str, str]:
        return {"consumerAddress": consumer.address, "nonce": "9" * 40, "signature": sign_hash(key, text), **more}

    mine, other = job_of(service, consumer.address), job_of(service, consumer.address, agreement="0x" + "b2" * 32)
    good = signed(f"{consumer.address}{mine}", jobId=mine, agreementId="b2" * 32)
    assert faults(client.put(f"{SERVICES}/compute", json=good)) == INVALID_SIGNATURE
    own = service.provider.model_copy(update={"C2D_LENIENT_STOP": True})
    service.jobs.settings = service.settings.model_copy(update={"provider": own})
    address = consumer.address
    for wrong in (
        signed(f"{address}{mine}", OTHER_KEY, jobId=mine),
        signed(f"{address}{mine}", jobId=other),
        signed(address),
        signed(f"{address}{DID}", documentId=DID),
        {**good, "consumerAddress": OWNER},
    ):
        assert faults(client.put(f"{SERVICES}/compute", json=wrong)) == INVALID_SIGNATURE
    for method, route, more in (
        ("DELETE", "compute", {}),
        ("GET", "computeResult", {"index": ""}),
        ("GET", "createAuthToken", {"address": address, "expiration": 2**33}),
    ):
        assert client.request(method, f"{SERVICES}/{route}", json={**good, **more}).status_code == 400
    for _ in range(2):  # stopping twice is allowed
        (stopped,) = client.put(f"{SERVICES}/compute", json=good).json()
        assert (stopped["jobId"], stopped["stopreq"]) == (mine, 1)
    assert service.jobs.repository.job(other).stopreq == 0  # type: ignore[union-attr]
    assert consumer.next_nonce() == "2", "an unsigned nonce is not used up"


def test_a_stop_without_a_job_id_stops_all_jobs_on_the_did(client: TestClient, service: ProviderService, consumer: Consumer) -> None:
    mine = job_of(service, consumer.address)
    other = job_of(service, consumer.address, "did:op:bb", "0x" + "b2" * 32)
    signed = consumer.signed(consumer.address, DID)
    assert [j["jobId"] for j in client.put(f"{SERVICES}/compute", json={**signed, "documentId": DID}).json()] == [mine]
    stops = {j["jobId"]: j["stopreq"] for j in status(client, consumerAddress=consumer.address)}
    assert stops == {mine: 1, other: 0}


def test_delete_does_nothing_as_in_oceans_provider(client: TestClient, consumer: Consumer) -> None:
    body = {"consumerAddress": consumer.address, "jobId": "x", "signature": "0x"}
    assert faults(client.request("DELETE", f"{SERVICES}/compute", json=body)) == {"nonce": ["The nonce field is required."]}
    assert client.request("DELETE", f"{SERVICES}/compute", json=consumer.signed(consumer.address)).json() == ""


def test_only_its_consumer_can_download_a_result_whole_and_in_parts(
    client: TestClient, service: ProviderService, consumer: Consumer
) -> None:
    mine = job_of(service, consumer.address)
    content = b"0123456789"
    folder = service.settings.C2D_RESULTS_PATH / object_name(mine)
    folder.mkdir(parents=True)
    (folder / "out.csv").write_bytes(content)
    entry = {"filename": "out.csv", "path": "out.csv", "size": 10, "sha256": "ab", "type": "output", "contentType": "text/csv"}
    service.jobs.repository.finish_job(mine, {"files": [entry], "withheld": []})

    def ask(who: Consumer, index: str = "0", **headers: str) -> Any:
        asked = {**who.signed(who.address, mine, index), "jobId": mine, "index": index}
        return client.get(f"{SERVICES}/computeResult", params=asked, headers=headers)

    assert status(client, consumerAddress=consumer.address)[0]["results"] == [{"filename": "out.csv", "filesize": 10, "type": "output"}]
    whole = ask(consumer)
    assert whole.content == content and whole.headers["content-disposition"] == "attachment;filename=out.csv"
    part = ask(consumer, Range="bytes=4-6")
    assert (part.status_code, part.content) == (206, b"456")
    thief = Consumer(client, OTHER_KEY)
    assert error(ask(thief)) == (404, f"Owner {thief.address} mismatch for job {mine}")
    assert error(ask(consumer, "5")) == (404, "No such index 5 in this compute job")
    assert error(ask(consumer, "x"))[0] == 400
    missing = faults(client.get(f"{SERVICES}/computeResult", params={"consumerAddress": "x"}))
    assert missing == {"jobId": ["The jobId field is required."]}
