"""The API of Ocean's Operator-Service, called as Provider v2.1.6 calls it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi.testclient import TestClient

from c2d.api.common import request_data
from c2d.api.operator_service.app import create_app
from c2d.contract import FilterAnswer
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd, Status
from c2d.settings import installation
from tests.conformance.conftest import Runs, unprotected
from tests.conformance.provider import API, DATA, KEY, OTHER_KEY, OWNER, Provider, workflow

PROVIDER = Provider()
OTHER = Provider(OTHER_KEY)


def start(client: TestClient, agreement: str = "0xa1", provider: Provider = PROVIDER, **more: Any) -> str:
    answer = client.post(f"{API}/compute", json=provider.start_body(agreement, **more))
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()[0]["jobId"]
    return job_id


def error(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


# -- the service ----------------------------------------------------------------------------------------------------------


def test_the_root_names_the_software_and_its_address(client: TestClient) -> None:
    root = client.get("/").json()
    assert set(root) == {"software", "version", "address", "algoTimeLimit", "storageExpiry"}
    assert root["software"] == "Operator service" and re.fullmatch("0x[0-9a-fA-F]{40}", root["address"])


def test_the_environments_are_listed_with_their_limits_and_prices(client: TestClient, loaded: installation.Settings) -> None:
    (env,) = client.get(f"{API}/environments", params={"chainId": 8996}).json()
    assert re.fullmatch(r"\d+\.\d+", env.pop("lastSeen"))
    assert env == {
        "id": "ocean-compute",
        "cpuNumber": 2,
        "cpuType": "",
        "gpuNumber": 0,
        "gpuType": "",
        "ramGB": 1,
        "diskGB": 1,
        "priceMin": 0.5,
        "desc": "for tests",
        "currentJobs": 0,
        "maxJobs": 2,
        "consumerAddress": loaded.address,
        "storageExpiry": 0,
        "maxJobDuration": 300,
    }
    assert error(client.get(f"{API}/environments"))[0] == 400
    for chain in ("x", "9" * 5000):
        assert error(client.get(f"{API}/environments", params={"chainId": chain})) == (400, "chainId: must be a whole number")


def test_an_environment_for_other_chains_is_not_listed_and_accepts_no_job(variables: dict[str, str], runs: Runs) -> None:
    loaded = installation.read({**variables, "allowedChainId": "1, 137"})
    with TestClient(create_app(loaded, runs, work=False)) as client:
        assert client.get(f"{API}/environments?chainId=8996").json() == []
        assert client.get(f"{API}/environments?chainId=137").json()[0]["allowedChainId"] == [1, 137]
        refused = client.post(f"{API}/compute", json=PROVIDER.start_body("0xa1"))
        assert error(refused) == (400, "chainId: environment ocean-compute takes jobs of 1, 137 only")


@pytest.mark.parametrize("path", ["/nothing", f"{API}/nothing", f"{API}/compute/x"])
def test_errors_about_unknown_routes_are_json(client: TestClient, path: str) -> None:
    assert error(client.get(path)) == (404, "Not Found")
    assert client.patch(f"{API}/compute").json() == {"error": "Method Not Allowed"}


def test_every_route_declares_who_may_use_it(client: TestClient) -> None:
    assert unprotected(client) == []


def test_the_api_documentation_is_served(client: TestClient) -> None:
    assert "swagger" in client.get("/api/v1/docs").text
    assert f"{API}/compute" in client.get("/spec").json()["paths"]


# -- start ----------------------------------------------------------------------------------------------------------------


def test_a_start_is_answered_as_oceans_operator_service_does(client: TestClient) -> None:
    answer = client.post(f"{API}/compute", json=PROVIDER.start_body("0xa1"))
    assert answer.headers["content-type"] == "application/json"
    (job,) = answer.json()
    assert re.fullmatch("[0-9a-f]{32}", job["jobId"])
    assert abs(float(job["dateCreated"]) - time.time()) < 60 and isinstance(job["dateCreated"], str)
    assert {k: v for k, v in job.items() if k not in ("jobId", "dateCreated")} == {
        "agreementId": "0xa1",
        "owner": OWNER,
        "status": 1,
        "statusText": "Warming up",
        "dateFinished": None,
        "results": "",
        "stopreq": 0,
        "removed": 0,
        "algoDID": "did:op:cc",
        "inputDID": ["did:op:aa"],
        "terminationDetails": None,
    }


def test_the_run_gets_the_complete_job_with_its_secrets_sealed(client: TestClient, runs: Runs, loaded: installation.Settings) -> None:
    job_id = start(client)
    client.app.state.service.dispatcher.start_runs()  # type: ignore[attr-defined]
    conf = runs.started[job_id]
    assert "TOPSECRET" not in str(conf)
    job = Job.parse(conf, "ocean-compute").opened(loaded.OPERATOR_PRIVATE_KEY, job_id)
    assert job.inputs[0].files[0].url == DATA  # type: ignore[union-attr]
    assert job.algorithm.rawcode == "print('hello')" and job.algorithm.algocustomdata == {"k": 1}
    assert job.maxJobDuration == 300 and job.chainId == 8996 and job.secret


def test_assets_named_by_transaction_reach_the_job(client: TestClient, runs: Runs) -> None:
    order = {"txId": "0x" + "1f" * 32, "serviceId": "s0"}
    algorithm = {
        "id": "did:op:cc",
        "rawcode": "",
        "container": {"image": "c2d.test/python-data", "tag": "1", "entrypoint": "python3 $ALGO"},
        "algouserdata": None,
        "remote": {**order, "serviceEndpoint": "https://provider.example", "userData": None},
    }
    body = PROVIDER.start_body("0xa1", workflow=workflow(input=[{"index": 0, "id": "did:op:aa", "remote": order}], algorithm=algorithm))
    answer = client.post(f"{API}/compute", json=body)
    assert answer.status_code == 200, answer.text
    client.app.state.service.dispatcher.start_runs()  # type: ignore[attr-defined]
    (conf,) = runs.started.values()
    assert conf["inputs"] == [{"id": "did:op:aa", "remote": order}]
    assert conf["algorithm"]["remote"] == {**order, "serviceEndpoint": "https://provider.example"}


def test_the_paid_time_limits_the_algorithm(client: TestClient, runs: Runs) -> None:
    job_id = start(client, validUntil=int(time.time()) + 100)
    client.app.state.service.dispatcher.start_runs()  # type: ignore[attr-defined]
    assert 95 <= runs.started[job_id]["maxJobDuration"] <= 100
    late = PROVIDER.start_body("0xa2", validUntil=int(time.time()) - 1)
    assert error(client.post(f"{API}/compute", json=late)) == (400, "validUntil: must be in the future")


@pytest.mark.parametrize("name", ["workflow", "agreementId", "owner", "providerSignature", "environment", "nonce"])
def test_an_error_names_the_field_that_a_start_lacks(client: TestClient, name: str) -> None:
    body = PROVIDER.start_body("0xa1")
    del body[name]
    assert error(client.post(f"{API}/compute", json=body)) == (400, f'"{name}" is required in the call to POST:/compute')


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"workflow": {}}, "`workflow` is required in the payload and must include workflow stages"),
        ({"workflow": {"stages": []}}, "Missing stages"),
        ({"workflow": {"stages": workflow()["stages"] * 2}}, "Multiple stages are not supported yet"),
        ({"environment": "nowhere"}, "Environment invalid or does not exist"),
        ({"workflow": {"stages": [{"input": [], "compute": {}, "output": {}}]}}, "Missing algorithm in stage 0"),
        ({"workflow": {"stages": [{"algorithm": {}, "input": [], "compute": {}}]}}, "Missing output in stage 0"),
        ({"agreementId": "0x/../x"}, "agreementId: must match ^[A-Za-z0-9_.:-]{1,128}$"),
        ({"chainId": "many"}, "chainId: must be a whole number"),
        ({"validUntil": "soon"}, "validUntil: must be a whole number"),
        ({"workflow": workflow(input=[{"id": "did:op:aa", "url": "file:///etc/passwd"}])}, "inputs[0].files[0].url: must begin with http"),
        ({"workflow": workflow(input=[{"id": "did:op:aa"}])}, "input[0]: must have url or remote"),
        (
            {"workflow": workflow(input=[{"id": "did:op:aa", "remote": {"txId": "0x1", "serviceId": "s"}}])},
            "inputs[0].remote.txId: must be 0x followed by",
        ),
        ({"workflow": workflow(input="x")}, "input: must be a list"),
        ({"workflow": workflow(algorithm={"rawcode": "print('hello')"})}, "algorithm.container: must be an object"),
    ],
)
def test_an_error_explains_what_is_wrong_with_a_start(client: TestClient, changes: dict[str, Any], text: str) -> None:
    status, message = error(client.post(f"{API}/compute", json=PROVIDER.start_body("0xa1", **changes)))
    assert status == 400 and message.startswith(text)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "payload seems empty."),
        (b"[]", 400, "payload seems empty."),
        (b"{", 400, "body: must be valid JSON"),
        (b"[" * 100_000, 400, "body: must be valid JSON"),
        (b'{"a":"' + b"x" * 2**21 + b'"}', 413, "body: must have at most 2097152 bytes"),
    ],
)
def test_a_body_that_is_not_a_request_is_rejected(client: TestClient, body: bytes, status: int, text: str) -> None:
    assert error(client.post(f"{API}/compute", content=body, headers={"Content-Type": "application/json"})) == (status, text)


def test_an_agreement_id_can_have_one_job_at_a_time(client: TestClient) -> None:
    job_id = start(client, "0xa1")
    again = client.post(f"{API}/compute", json=PROVIDER.start_body("0xa1"))
    assert error(again) == (400, "`agreementId` already in use for other job.")
    client.put(f"{API}/compute", params=PROVIDER.signed(job_id))
    assert start(client, "0xa1") != job_id


def test_only_one_of_many_concurrent_starts_with_one_agreement_id_succeeds(client: TestClient) -> None:
    nonce = time.time_ns()
    bodies = [Provider(OTHER_KEY if n % 2 else KEY).start_body("0xa1", nonce=nonce + n) for n in range(12)]
    with ThreadPoolExecutor(12) as pool:
        codes = [a.status_code for a in pool.map(lambda b: client.post(f"{API}/compute", json=b), bodies)]
    assert codes.count(200) == 1


def test_the_number_of_unfinished_jobs_of_an_owner_is_limited(variables: dict[str, str], runs: Runs) -> None:
    loaded = installation.read({**variables, "C2D_MAX_JOBS_PER_OWNER": "2"})
    with TestClient(create_app(loaded, runs, work=False)) as client:
        start(client, "0xa1"), start(client, "0xa2")
        status, text = error(client.post(f"{API}/compute", json=PROVIDER.start_body("0xa3")))
        assert status == 429 and text.startswith("owner: has 2 jobs that have not ended")
        start(client, "0xa3", Provider(owner="0x" + "1" * 40))


# -- signatures -----------------------------------------------------------------------------------------------------------


def test_a_signature_with_a_recovery_id_of_27_or_28_is_accepted(client: TestClient) -> None:
    query = PROVIDER.signed()
    query["providerSignature"] = query["providerSignature"][:-2] + {"00": "1b", "01": "1c"}[query["providerSignature"][-2:]]
    assert client.get(f"{API}/compute", params=query).json() == []


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"providerSignature": ""}, 400, "`providerSignature` of agreementId is required."),
        ({"providerSignature": "0x12"}, 400, "Failed to recover address"),
        ({"providerSignature": "0x" + "11" * 65}, 400, "Failed to recover address"),
        ({"owner": "0x" + "2" * 40}, 401, "Invalid signature 0x"),
        ({"nonce": 7}, 401, "Invalid signature 0x"),
        ({"nonce": "1.5"}, 400, "nonce: must be a whole number"),
        ({"nonce": 2**63}, 400, "nonce: must be a whole number"),
        ({"owner": "me too"}, 400, "owner: must be 0x"),
    ],
)
def test_an_invalid_signature_is_rejected(client: TestClient, changes: dict[str, Any], status: int, text: str) -> None:
    for send in (client.get, client.put):
        code, message = error(send(f"{API}/compute", params={**PROVIDER.signed(), **changes}))
        assert (code, message[: len(text)]) == (status, text)


def test_an_unknown_provider_is_rejected(client: TestClient) -> None:
    code, message = error(client.post(f"{API}/compute", json=Provider("0x" + "33" * 32).start_body("0xa1")))
    assert code == 401 and message.endswith("is not authorized to use this service.")


def test_a_signature_without_the_nonce_is_rejected(client: TestClient) -> None:
    from c2d.crypto.signatures import sign_hash

    query = {"owner": OWNER, "nonce": time.time_ns(), "providerSignature": sign_hash(KEY, OWNER)}
    assert client.get(f"{API}/compute", params=query).status_code == 401


def test_a_signed_request_works_only_once_on_all_routes_together(client: TestClient) -> None:
    query = PROVIDER.signed()
    assert client.get(f"{API}/compute", params=query).status_code == 200
    used = (401, "nonce: must be higher than every nonce that this signer has used before")
    assert error(client.get(f"{API}/compute", params=query)) == used
    assert error(client.put(f"{API}/compute", params=query)) == used
    assert error(client.post(f"{API}/compute", json={**PROVIDER.start_body("0xa1"), **query})) == used
    assert error(client.get(f"{API}/compute", params=PROVIDER.signed(nonce=5))) == used


@pytest.mark.parametrize("kind", ["start", "status", "stop"])
def test_only_one_of_several_concurrent_replays_succeeds(client: TestClient, kind: str) -> None:
    body, query = PROVIDER.start_body("0xa1"), PROVIDER.signed()
    send = {
        "start": lambda: client.post(f"{API}/compute", json=body),
        "status": lambda: client.get(f"{API}/compute", params=query),
        "stop": lambda: client.put(f"{API}/compute", params=query),
    }[kind]
    with ThreadPoolExecutor(16) as pool:
        codes = sorted(f.result().status_code for f in [pool.submit(send) for _ in range(16)])
    assert codes == [200] + [401] * 15


def test_a_rejected_start_uses_up_its_nonce(client: TestClient) -> None:
    start(client, "0xa1")
    body = PROVIDER.start_body("0xa1")
    assert error(client.post(f"{API}/compute", json=body))[0] == 400
    assert error(client.post(f"{API}/compute", json=body))[0] == 401


def test_digits_moved_from_the_job_id_to_the_nonce_do_not_raise_the_nonce(client: TestClient) -> None:
    """Owner, job id and nonce are signed without separators, so digits at the end of a job id could become digits of a nonce."""
    query = PROVIDER.signed("0" * 30 + "12", nonce=1)
    shifted = {**query, "jobId": "0" * 30, "nonce": "121"}
    assert client.get(f"{API}/compute", params=shifted).json() == []
    assert client.get(f"{API}/compute", params=PROVIDER.signed(nonce=2)).status_code == 200


def test_any_signature_is_accepted_in_legacy_mode(variables: dict[str, str], runs: Runs) -> None:
    from c2d.crypto.signatures import sign_hash

    loaded = installation.read({**variables, "SIGNATURE_REQUIRED": "0", "ALLOWED_PROVIDERS": ""})
    with TestClient(create_app(loaded, runs, work=False)) as client:
        # operator-service's own test suite signs address + DID + a nonce of float seconds
        body = {**PROVIDER.start_body("0xa1"), "nonce": str(time.time()), "providerSignature": sign_hash(KEY, "anything")}
        (job,) = client.post(f"{API}/compute", json=body).json()
        (seen,) = client.request("GET", f"{API}/compute", json={**body, "jobId": job["jobId"]}).json()
        assert seen["jobId"] == job["jobId"]
        (running,) = client.get(f"{API}/runningjobs").json()
        assert running["namespace"] == "ocean-compute"
        assert client.put(f"{API}/compute", json={**body, "jobId": job["jobId"]}).json()[0]["stopreq"] == 1
        assert error(client.put(f"{API}/compute", json={**body, "providerSignature": "sig"})) == (400, "Failed to recover address")


# -- status, stop, results ------------------------------------------------------------------------------------------------


def test_jobs_can_be_selected_by_id_agreement_or_owner(client: TestClient) -> None:
    first, second = start(client, "0xa1"), start(client, "0xa2")

    def seen(**query: Any) -> list[str]:
        return [j["jobId"] for j in client.get(f"{API}/compute", params=PROVIDER.signed(**query)).json()]

    assert seen(job_id=first) == [first]
    assert seen(agreementId="0xa2") == [second]
    assert seen() == [first, second]
    assert seen(job_id=first, agreementId="0xa2") == []
    assert [j["jobId"] for j in client.get(f"{API}/compute", params=Provider(owner=OWNER.lower()).signed()).json()] == [first, second]
    assert error(client.get(f"{API}/compute", params={"nonce": 1})) == (400, "You have to specify one of agreementId, jobId or owner")


def test_only_its_own_provider_can_see_or_stop_a_job(client: TestClient, runs: Runs) -> None:
    job_id = start(client)
    unknown = "0" * 31 + "a"
    for query in (OTHER.signed(job_id), OTHER.signed(unknown)):
        assert client.get(f"{API}/compute", params=query).json() == []
    for query in (OTHER.signed(job_id), OTHER.signed(unknown)):
        assert client.put(f"{API}/compute", params=query).json() == []
    assert runs.stopped == []
    messages = {
        error(client.get(f"{API}/getResult", params=OTHER.signed(i, index=0)))[1].replace(i, "X") for i in (job_id, unknown, "0" * 31 + "1")
    }
    assert messages == {f"Owner {OWNER} mismatch for job X"}
    assert client.get(f"{API}/compute", params=PROVIDER.signed(job_id)).json()[0]["stopreq"] == 0


def test_stopping_a_queued_job_ends_it_at_once(client: TestClient, runs: Runs) -> None:
    job_id = start(client)
    (job,) = client.put(f"{API}/compute", params=PROVIDER.signed(job_id)).json()
    assert (job["status"], job["stopreq"], job["terminationDetails"]["reason"]) == (70, 1, "Stopped")
    client.app.state.service.dispatcher.start_runs()  # type: ignore[attr-defined]
    assert runs.started == {} and runs.stopped == []
    again = client.put(f"{API}/compute", params=PROVIDER.signed(job_id)).json()
    assert again == [job]


def test_a_stop_is_repeated_until_the_job_has_ended(client: TestClient, runs: Runs, loaded: installation.Settings) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    job_id = start(client)
    service.dispatcher.start_runs()
    (job,) = client.put(f"{API}/compute", json=PROVIDER.signed(job_id)).json()
    assert (job["status"], job["stopreq"]) == (1, 1)
    service.dispatcher.repeat_stops()
    assert runs.stopped == [job_id, job_id]
    service.repository.finish_job(job_id)
    service.dispatcher.repeat_stops()
    assert len(runs.stopped) == 2


def test_a_stop_by_agreement_or_owner_stops_all_matching_jobs(client: TestClient, runs: Runs) -> None:
    first, second = start(client, "0xa1"), start(client, "0xa2")
    client.app.state.service.dispatcher.start_runs()  # type: ignore[attr-defined]
    client.put(f"{API}/compute", params=PROVIDER.signed(agreementId="0xa2"))
    assert runs.stopped == [second]
    client.put(f"{API}/compute", params=PROVIDER.signed())
    assert sorted(runs.stopped) == sorted([second, first, second])


@pytest.mark.parametrize("name", ["agreementId", "jobId", "owner"])
@pytest.mark.parametrize(
    ("value", "text"),
    [("x\ud800", "must be valid UTF-8 text without NUL"), ("x\x00", "must be valid UTF-8 text without NUL"), (["x"], "must be text")],
)
def test_a_selector_that_is_not_text_is_rejected_and_selects_nothing(client: TestClient, name: str, value: Any, text: str) -> None:
    job_id = start(client)
    for method, path in (("PUT", "compute"), ("GET", "compute"), ("GET", "runningjobs")):
        body = json.dumps({**PROVIDER.signed(), name: value})
        answer = client.request(method, f"{API}/{path}", content=body, headers={"Content-Type": "application/json"})
        assert error(answer) == (400, f"{name}: {text}")
    assert client.app.state.service.queries.job(job_id).stopreq == 0  # type: ignore[attr-defined]


def test_a_large_body_is_parsed_outside_the_event_loop(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def parse_json(body: bytes) -> Any:
        seen.append(_in_a_loop())
        return json.loads(body)

    monkeypatch.setattr(request_data, "parse_json", parse_json)
    client.put(f"{API}/compute", json={"padding": "x" * 2**20})
    assert seen == [False]


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def test_delete_does_nothing(client: TestClient) -> None:
    answer = client.delete(f"{API}/compute")
    assert (answer.status_code, answer.json()) == (200, "")


def test_running_jobs_are_listed_for_their_provider_and_for_admins(client: TestClient) -> None:
    job_id = start(client)
    assert client.get(f"{API}/runningjobs").status_code == 400
    assert client.get(f"{API}/runningjobs", params=OTHER.signed()).json() == []
    for answer in (
        client.get(f"{API}/runningjobs", params=PROVIDER.signed()),
        client.get(f"{API}/runningjobs", headers={"Admin": "0xADMIN"}),
    ):
        (job,) = answer.json()
        assert set(job) == {"agreementId", "jobId", "owner", "status", "statusText", "dateCreated", "namespace", "algoDID", "inputDID"}
        assert job["jobId"] == job_id


def finished(client: TestClient, loaded: installation.Settings, content: bytes = b"0123456789") -> str:
    """A finished job with one output and one log."""
    import hashlib

    service = client.app.state.service  # type: ignore[attr-defined]
    job_id = start(client, f"0x{time.time_ns()}")
    service.dispatcher.start_runs()
    folder = loaded.C2D_RESULTS_PATH / job_id
    files = []
    for n, (path, kind) in enumerate((("outputs/sub/ä b.csv", "output"), ("logs/algorithm.log", "algorithmLog"))):
        file = folder / "data" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        named = {"path": f"data/{path}", "filename": path.split("/", 1)[1], "type": kind, "contentType": "text/csv"}
        files.append({"index": n, **named, "size": len(content), "sha256": digest})
    for stage in Stage:
        service.repository.end_stage(job_id, StageEnd(stage, Reason.COMPLETED, 0), None, None)
    assert service.repository.finish_job(job_id, {"files": files, "withheld": []}).status == Status.FINISHED
    return job_id


def test_results_are_listed_and_can_be_downloaded(client: TestClient, loaded: installation.Settings) -> None:
    job_id = finished(client, loaded)
    (job,) = client.get(f"{API}/compute", params=PROVIDER.signed(job_id)).json()
    assert job["results"] == [
        {"filename": "sub/ä b.csv", "filesize": 10, "type": "output"},
        {"filename": "algorithm.log", "filesize": 10, "type": "algorithmLog"},
    ]
    assert job["dateFinished"] > job["dateCreated"] and job["terminationDetails"]["exitCode"] == 0
    got = client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=1))
    assert (got.content, got.headers["content-disposition"]) == (b"0123456789", "attachment;filename=algorithm.log")
    assert got.headers["content-length"] == "10" and got.headers["accept-ranges"] == "bytes"
    named = client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index="0")).headers["content-disposition"]
    assert named == "attachment;filename=\"_ b.csv\";filename*=UTF-8''%C3%A4%20b.csv"


def test_a_download_can_be_resumed(client: TestClient, loaded: installation.Settings) -> None:
    job_id = finished(client, loaded)

    def get(**headers: str) -> Any:
        return client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=1), headers=headers)

    tag = get().headers["etag"]
    part = get(Range="bytes=4-", **{"If-Range": tag})
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"456789", "bytes 4-9/10")
    assert get(Range="bytes=4-", **{"If-Range": '"other"'}).content == b"0123456789"
    beyond = get(Range="bytes=99-")
    assert error(beyond) == (416, "Range: cannot be satisfied") and beyond.headers["content-range"] == "bytes */10"


@pytest.mark.parametrize(
    ("index", "status", "text"),
    [(-1, 404, "Negative index"), (2, 404, "No such index 2 in this compute job"), ("x", 400, "Error getResult: ")],
)
def test_a_result_that_does_not_exist_is_an_error(
    client: TestClient, loaded: installation.Settings, index: Any, status: int, text: str
) -> None:
    job_id = finished(client, loaded)
    code, message = error(client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=index)))
    assert (code, message[: len(text)]) == (status, text)
    running = start(client, "0xrunning")
    assert error(client.get(f"{API}/getResult", params=PROVIDER.signed(running, index=0))) == (404, f"No results for job {running}")
    query = PROVIDER.signed(job_id)
    assert error(client.get(f"{API}/getResult", params=query)) == (400, '"index" is required in the call to GET:/getResult')


def test_symbolic_links_in_the_results_are_not_followed(client: TestClient, loaded: installation.Settings) -> None:
    job_id = finished(client, loaded)
    log = loaded.C2D_RESULTS_PATH / job_id / "data" / "logs" / "algorithm.log"
    (loaded.C2D_RESULTS_PATH / "elsewhere").write_bytes(b"0123456789")
    log.unlink()
    log.symlink_to(loaded.C2D_RESULTS_PATH / "elsewhere")
    assert client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=1)).status_code == 404
    log.unlink()
    logs = log.parent
    logs.rmdir()
    logs.symlink_to(loaded.C2D_RESULTS_PATH)
    (loaded.C2D_RESULTS_PATH / "algorithm.log").write_bytes(b"0123456789")
    assert client.get(f"{API}/getResult", params=PROVIDER.signed(job_id, index=1)).status_code == 404


# -- admin ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "pgsqlinit"), ("GET", "info"), ("GET", "list"), ("GET", "logs"), ("GET", "notifications")]
)
def test_admin_routes_are_for_admins_only(client: TestClient, method: str, path: str) -> None:
    assert error(client.request(method, f"{API}/{path}")) == (400, "Admin header is empty.\nstatus code: 400")
    code, message = error(client.request(method, f"{API}/{path}", headers={"Admin": "foo_admin"}))
    assert code == 401 and message.startswith("Access admin route failed due to invalid admin address.")


def test_an_admin_sees_the_jobs_of_all_providers(client: TestClient, loaded: installation.Settings) -> None:
    admin = {"Admin": "0xadmin"}
    assert client.post(f"{API}/pgsqlinit", headers=admin).json() == ""
    done, waiting = finished(client, loaded), start(client, "0xb1")
    assert client.get(f"{API}/list", headers=admin).json() == [waiting]
    info = client.get(f"{API}/info", params={"jobId": done}, headers=admin).json()
    assert (info["provider"], info["environment"], len(info["stages"])) == (PROVIDER.address.lower(), "ocean-compute", 4)
    assert client.get(f"{API}/info", params={"jobId": waiting}, headers=admin).json()["queuePosition"] == 0
    log = client.get(f"{API}/logs", params={"jobId": done, "component": "algorithm"}, headers=admin)
    assert (log.text, log.headers["content-type"]) == ("0123456789", "text/plain; charset=utf-8")
    assert error(client.get(f"{API}/logs", params={"jobId": done, "component": "filter"}, headers=admin))[0] == 404
    assert error(client.get(f"{API}/info", params={"jobId": "foo"}, headers=admin))[0] == 400
    assert [n["state"] for n in client.get(f"{API}/notifications?state=waiting", headers=admin).json()] == ["waiting"] * 3
    states = "state: must be one of waiting, delivered, dead, unwanted, or be left out"
    assert error(client.get(f"{API}/notifications?state=ded", headers=admin)) == (400, states)


# -- live view ------------------------------------------------------------------------------------------------------------


def live(client: TestClient, job_id: str, provider: Provider = PROVIDER) -> Any:
    return client.get(f"{API}/live", params=provider.signed(job_id))


def test_the_live_view_follows_a_job(variables: dict[str, str], runs: Runs) -> None:
    loaded = installation.read({**variables, "maxJobs": "1", "share_algorithm_logs": "true"})
    with TestClient(create_app(loaded, runs, work=False)) as client:
        service = client.app.state.service  # type: ignore[attr-defined]
        asked: list[str] = []

        def tail(namespace: str, pod: str, lines: int) -> str:
            asked.append(pod)
            return "2026-11-22T07:29:07Z inputs[0].files[0]: 12.5 of 40.0 MB, 9 MB/s\ninputs[1].files[0]: complete, 2.0 MB in 0.1 s\n"

        service.log_tail = tail
        first, second, third = (start(client, f"0xa{n}") for n in range(3))
        service.dispatcher.start_runs()
        assert [live(client, i).json()["queuePosition"] for i in (first, second, third)] == [0, 0, 1]
        service.repository.set_status(first, Status.CONFIGURING)
        view = live(client, first).json()
        assert (view["stage"], view["queuePosition"], view["algorithmLog"]) == ("configure", None, None)
        assert view["progress"] == {"bytes": 14_500_000, "totalBytes": 42_000_000}
        service.repository.end_stage(first, StageEnd(Stage.CONFIGURE, Reason.COMPLETED, 0), None, None)
        service.repository.set_status(first, Status.RUNNING)
        view = live(client, first).json()
        assert view["stage"] == "algorithm" and view["algorithmLog"].startswith("2026-") and asked[-1] == f"{first}-algorithm"
        assert view["stages"] == [{"stage": "configure", "started": None, "finished": None, "reason": "Completed"}]
        service.repository.end_stage(
            first, StageEnd(Stage.FILTER, Reason.COMPLETED, 0, "", FilterAnswer(released=1, withheld=0, bytes=30)), None, None
        )
        service.repository.set_status(first, Status.PUBLISHING)
        service.log_tail = lambda *_: "6 files, this log is the last\nstore: 0.0 of 5.0 MB, 0 MB/s\nstore: 1.2 of 5.0 MB, 1 MB/s\n"
        assert live(client, first).json()["progress"] == {"bytes": 1_200_000, "totalBytes": 5_000_000}


def test_the_algorithms_log_is_shared_only_if_the_environment_allows_it(client: TestClient) -> None:
    service = client.app.state.service  # type: ignore[attr-defined]
    service.log_tail = lambda *_: pytest.fail("the log was read")
    job_id = start(client)
    service.dispatcher.start_runs()
    service.repository.set_status(job_id, Status.RUNNING)
    assert live(client, job_id).json()["algorithmLog"] is None
    assert live(client, job_id, OTHER).status_code == 404
