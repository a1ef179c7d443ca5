"""configure with assets that are named by transaction, against a server that is as strict as a Provider."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from c2d.crypto.signatures import address_of
from c2d.market import download_grants
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.configure import stage as configure
from tests.stages.conftest import Pod, WebServer, status
from tests.stages.ocean_server import SERVICE, TX, Ocean, as_json, send_json

KEY = "0x1f990f8b013fc5c7955e0f8746f11ded231721b9cf3f99ff06cdc03492b28090"  # the public test key of Ocean's operator-service
CONSUMER = address_of(KEY)
A, B, C = "did:op:aa", "did:op:bb", "did:op:cc"
MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB


@pytest.fixture
def ocean(web: WebServer) -> Ocean:
    return Ocean(web, CONSUMER)


def stage_json(
    ocean: Ocean, *dids: str, algorithm: bool = False, start: int | None = None, number: int = 32, **more: Any
) -> dict[str, Any]:
    """Inputs by transaction (the last one is the algorithm if `algorithm` is set), with the operator's own grants."""
    begin = int(time.time() * 1000) if start is None else start
    granted = download_grants.grant(KEY, dids, begin, number, 7200)
    assets = [
        {"id": did, "files": [], "remote": {"txId": TX, "serviceId": SERVICE, "grants": [list(g) for g in own]}}
        for did, own in zip(dids, granted.of_assets, strict=True)
    ]
    return {
        "stage": "configure",
        "job": "j1",
        "metadataUri": ocean.web.url,
        "consumerAddress": granted.consumer,
        "inputs": assets[:-1] if algorithm else assets,
        "algorithm": assets[-1] if algorithm else {},
        "customData": None,
        "limits": {"totalBytes": 100 * MIB, "seconds": 20, "connections": 4, **more},
    }


def test_the_assets_of_a_job_are_fetched_from_their_provider(pod: Pod, ocean: Ocean) -> None:
    ddos = [ocean.add(A, b"a0", b"a1"), ocean.add(B, b"b0"), ocean.add(C, b"code", b"helper", type="access")]
    outcome = pod.run("configure", stage_json(ocean, A, B, C, algorithm=True))
    assert outcome.code == 0, outcome
    assert (outcome.answer["files"], outcome.answer["bytes"]) == (5, 16)
    files = {str(p.relative_to(pod.data)): p.read_bytes() for p in pod.data.rglob("*") if p.is_file() and "adminlogs" not in str(p)}
    assert {name: json.loads(files.pop(f"ddos/{name}")) for name in ("aa", "bb", "cc")} == dict(zip(("aa", "bb", "cc"), ddos, strict=True))
    assert files == {
        "inputs/aa/0": b"a0",
        "inputs/aa/1": b"a1",
        "inputs/bb/0": b"b0",
        "inputs/algoCustomData.json": b"{}",
        "transformations/algorithm": b"code",
        "transformations/1": b"helper",
    }
    assert (pod.data / "transformations/algorithm").stat().st_mode & 0o777 == 0o755


def test_downloads_run_one_by_one_with_rising_nonces_over_all_assets(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, *[b"x" * MIB] * 6)
    ocean.add(B, *[b"y"] * 6)
    assert pod.run("configure", stage_json(ocean, A, B)).answer["ok"] is True
    assert len(ocean.queries) == len(ocean.used) == 12 and ocean.used == sorted(set(ocean.used))
    assert ocean.most_at_once == 1


def test_plain_urls_are_downloaded_at_the_same_time(pod: Pod, ocean: Ocean, web: WebServer) -> None:
    ocean.add(A, b"a")
    gate = threading.Event()
    slow = ocean._download

    def waits(request: BaseHTTPRequestHandler) -> None:
        assert gate.wait(60)
        slow(request)

    def opens(request: BaseHTTPRequestHandler) -> None:
        gate.set()
        send_json(request, b"plain")

    web.routes["/api/services/download"] = waits
    stage = stage_json(ocean, A)
    stage["inputs"].append({"id": B, "files": [{"url": web.serve("/plain", opens)}]})
    assert pod.run("configure", stage).answer["files"] == 2
    assert (pod.data / "inputs/bb/0").read_bytes() == b"plain"


def test_userdata_is_sent_as_json(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    stage = stage_json(ocean, A)
    stage["inputs"][0]["remote"]["userdata"] = {"name": "é &?", "n": 1}
    ocean.file_info = [{"index": 0, "valid": False}]  # made without userdata, so it may be wrong
    assert pod.run("configure", stage).answer["ok"] is True
    assert json.loads(ocean.queries[0]["userdata"]) == {"name": "é &?", "n": 1}


def test_a_broken_download_is_resumed_with_a_fresh_grant(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, CONTENT)
    ocean.drop_after = MIB + 7
    outcome = pod.run("configure", stage_json(ocean, A))
    assert outcome.answer["ok"] is True, outcome
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT
    assert len(set(ocean.used)) == 3
    assert [r.headers.get("Range") for r in ocean.web.seen("/api/services/download")][1] == f"bytes={MIB + 7}-"


def test_a_nonce_that_another_job_has_overtaken_is_replaced_by_a_higher_one(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a0", b"a1")
    start = int(time.time() * 1000)
    ocean.nonce = start + 15_000  # a job that began 15 s later
    outcome = pod.run("configure", stage_json(ocean, A, start=start))
    assert outcome.answer["ok"] is True, outcome
    assert len(ocean.queries) == 3 and ocean.used == sorted(set(ocean.used))
    assert "trying a newer request" in outcome.output


def test_two_jobs_at_once_take_turns(tmp_path: Any, ocean: Ocean) -> None:
    ocean.add(A, *[b"x" * 1000] * 20)
    pods = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        pods.append(Pod(tmp_path / name))
    running = [pod.start("configure", stage_json(ocean, A, number=1024)) for pod in pods]
    outcomes = [pod.finish(process) for pod, process in zip(pods, running, strict=True)]
    assert [o.answer["ok"] for o in outcomes] == [True, True], outcomes
    assert len(set(ocean.used)) == 40


def test_a_second_try_with_the_same_grants_succeeds(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a0", b"a1")
    stage = stage_json(ocean, A)
    for _ in range(2):
        assert pod.run("configure", stage).answer["ok"] is True
    assert len(set(ocean.used)) == 4


def test_used_up_grants_are_reported(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, *[b"x"] * 9)
    outcome = pod.run("configure", stage_json(ocean, A, number=8))
    assert outcome.answer["resource"] == "inputs[0].files[8]" and outcome.answer["status"] == 31
    assert outcome.answer["message"] == (
        "inputs[0].files[8] (did:op:aa): its 8 grants for downloads are used up; too many files or attempts, or too many jobs at once"
    )


def test_a_provider_whose_nonce_is_above_all_grants_is_given_up_at_once(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    ocean.nonce = 10**30
    assert "grants for downloads are used up" in pod.run("configure", stage_json(ocean, A)).answer["message"]
    assert len(ocean.queries) == 1


@pytest.mark.parametrize("nonce", [as_json({"nonce": 1}), as_json({"nonce": "1"}), as_json({}), as_json(b"no"), as_json([]), status(404)])
def test_a_refusal_that_the_nonce_does_not_explain_stands(pod: Pod, ocean: Ocean, nonce: Any) -> None:
    ocean.add(A, b"a")
    ocean.web.routes["/api/services/nonce"] = nonce
    stage = stage_json(ocean, A)
    stage["inputs"][0]["remote"]["txId"] = "0x" + "00" * 32
    outcome = pod.run("configure", stage)
    assert outcome.answer["message"] == "inputs[0].files[0] (did:op:aa): the server answered 400, 200 is needed"
    assert len(ocean.queries) == 1


def test_messages_show_neither_grants_nor_anything_that_a_server_wrote(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    stage = stage_json(ocean, A)
    ocean.web.routes["/api/services/download"] = as_json({"error": "PROVIDERSECRET"}, 401)
    outcome = pod.run("configure", stage)
    text = json.dumps(outcome.answer) + outcome.output + (pod.data / "adminlogs/configure.log").read_text()
    assert "answered 401" in text
    signatures = [signature for _, signature in stage["inputs"][0]["remote"]["grants"]]
    assert not any(secret in text for secret in ("PROVIDERSECRET", "127.0.0.1", TX, *signatures))


def test_a_remote_algorithm_that_fails_has_status_32(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    outcome = pod.run("configure", stage_json(ocean, A, C, algorithm=True))
    assert (outcome.answer["status"], outcome.answer["resource"]) == (32, "algorithm")
    assert outcome.answer["message"] == "algorithm (did:op:cc): the DDO: the server answered 404, 200 is needed"


def service(**changes: Any) -> dict[str, Any]:
    return {"services": [{"id": SERVICE, "type": "compute", "serviceEndpoint": "http://127.0.0.1:1", **changes}]}


BAD_DDOS = {
    "no object": ([], "the DDO: it must be a JSON object"),
    "no JSON": (b"<html>", "the DDO: it must be JSON"),
    "too deep": (b"[" * 100_000, "the DDO: it must be JSON"),
    "huge": (b'"' + b"x" * 5 * MIB + b'"', "the DDO: the answer has more than 4194304 bytes"),
    "no services": ({"services": None}, "the DDO: it has no service with the id in remote.serviceId"),
    "another service": (service(id="zz"), "the DDO: it has no service with the id in remote.serviceId"),
    "another type": (service(type="wss"), "the DDO: the service must be of type compute or access"),
    "file": (service(serviceEndpoint="file:///etc"), "the DDO: the service's serviceEndpoint must be an http or https url without a query"),
    "query": (
        service(serviceEndpoint="http://h/?a"),
        "the DDO: the service's serviceEndpoint must be an http or https url without a query",
    ),
    "no endpoint": (service(serviceEndpoint=None), "the DDO: the service's serviceEndpoint must be an http or https url without a query"),
}


@pytest.mark.parametrize(("ddo", "sentence"), BAD_DDOS.values(), ids=BAD_DDOS)
def test_a_bad_ddo_is_reported_in_one_sentence(pod: Pod, ocean: Ocean, ddo: Any, sentence: str) -> None:
    ocean.web.routes[f"/api/aquarius/assets/ddo/{A}"] = as_json(ddo)
    outcome = pod.run("configure", stage_json(ocean, A))
    assert outcome.answer == {"ok": False, "status": 31, "resource": "inputs[0]", "message": f"inputs[0] (did:op:aa): {sentence}"}


BAD_FILE_INFO = {
    "no list": ({"error": "x"}, "it must be a list of objects"),
    "list of texts": (["x"], "it must be a list of objects"),
    "empty": ([], "it is empty"),
    "too many": ([{}] * 1001, "it has 1001 files; at most 1000 are fetched"),
    "invalid file": ([{"valid": True}, {"valid": False}], "file 1 is not valid; its Provider cannot read it"),
    "no JSON": (b"{", "it must be JSON"),
    "huge": (b" " * 5 * MIB, "the answer has more than 4194304 bytes"),
}


@pytest.mark.parametrize(("info", "sentence"), BAD_FILE_INFO.values(), ids=BAD_FILE_INFO)
def test_a_bad_list_of_files_is_reported_in_one_sentence(pod: Pod, ocean: Ocean, info: Any, sentence: str) -> None:
    ocean.add(A, b"a")
    ocean.file_info = info
    message = pod.run("configure", stage_json(ocean, A)).answer["message"]
    assert message == f"inputs[0] (did:op:aa): the Provider's list of the files: {sentence}"


def test_a_provider_without_the_endpoint_is_reported(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    del ocean.web.routes["/api/services/fileinfo"]
    assert pod.run("configure", stage_json(ocean, A)).answer["message"] == (
        "inputs[0] (did:op:aa): the Provider's list of the files: the server answered 404, 200 is needed"
    )


def test_an_overloaded_metadata_service_is_asked_again(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, b"a")
    path = f"/api/aquarius/assets/ddo/{A}"
    answers = [status(503, Retry_After="0"), ocean.web.routes[path]]
    ocean.web.routes[path] = lambda request: answers.pop(0)(request)
    outcome = pod.run("configure", stage_json(ocean, A))
    assert outcome.answer["ok"] is True and "inputs[0] (did:op:aa): the server answered 503; again in 0 s" in outcome.output


def test_the_time_limit_applies_while_a_ddo_is_fetched(pod: Pod, ocean: Ocean) -> None:
    done = threading.Event()
    ocean.web.routes[f"/api/aquarius/assets/ddo/{A}"] = lambda request: done.wait(10) and None
    outcome = pod.run("configure", stage_json(ocean, A, seconds=1))
    done.set()
    assert outcome.answer["resource"] == "inputs[0]" and "not complete after 1 s (limits.seconds)" in outcome.answer["message"]


def test_the_byte_limit_counts_remote_files_too(pod: Pod, ocean: Ocean) -> None:
    ocean.add(A, CONTENT, CONTENT)
    assert "limits.totalBytes" in pod.run("configure", stage_json(ocean, A, totalBytes=4 * MIB)).answer["message"]
    assert pod.parts() == []


def test_a_redirected_download_is_followed(pod: Pod, ocean: Ocean, web_server: Any) -> None:
    ocean.add(A, b"a")
    other = web_server()
    ocean.web.routes["/api/services/download"] = status(302, Location=other.serve("/a", as_json(b"elsewhere")))
    assert pod.run("configure", stage_json(ocean, A)).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"elsewhere"


GRANT = [5, "0x" + "1" * 130]


@pytest.mark.parametrize(
    ("remote", "message"),
    [
        ({"grants": []}, "inputs[0].remote.grants: must be grants with rising nonces"),
        ({"grants": [GRANT, GRANT]}, "inputs[0].remote.grants: must be grants with rising nonces"),
        ({"grants": [["5", GRANT[1]]]}, "inputs[0].remote.grants[0][0]: must be a whole number"),
        ({"grants": [[5, "0x12"]]}, "inputs[0].remote.grants[0][1]: must be a signature: 0x and 130 hex digits"),
        ({"txId": None}, "inputs[0].remote.txId: must be a string"),
        ({"userdata": "x"}, "inputs[0].remote.userdata: must be an object"),
    ],
)
def test_an_error_in_remote_names_the_field(pod: Pod, ocean: Ocean, remote: dict[str, Any], message: str) -> None:
    stage = stage_json(ocean, A)
    stage["inputs"][0]["remote"] = {"txId": TX, "serviceId": SERVICE, "grants": [GRANT], **remote}
    with pytest.raises(StageError) as caught:
        configure.work(stage, Paths(str(pod.root), ""), StageLog(str(pod.root / "log")))
    assert str(caught.value).startswith(message)


def test_remote_excludes_files_and_rawcode_and_needs_id_and_metadata_service(pod: Pod, ocean: Ocean) -> None:
    def error_after(change: Any) -> str:
        stage = stage_json(ocean, A, C, algorithm=True)
        change(stage)
        with pytest.raises(StageError) as caught:
            configure.work(stage, Paths(str(pod.root), ""), StageLog(str(pod.root / "log")))
        return str(caught.value)

    assert (
        error_after(lambda w: w["inputs"][0].update(files=[{"url": "http://h"}]))
        == "inputs[0].remote: must be absent if the asset has files"
    )
    assert error_after(lambda w: w["algorithm"].update(rawcode="x")) == "algorithm.rawcode: must be absent if the algorithm has remote"
    assert error_after(lambda w: w["algorithm"].update(id=None)) == "algorithm.remote: needs the asset's id"
    assert error_after(lambda w: w.update(metadataUri="ftp://h")) == "metadataUri: must start with http:// or https://"
