"""The configure stage: the layout that it makes, the input that it rejects, and its answer."""

import json
import os
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from c2d.contract import ConfigureInput, Failure
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError, answer_text, run
from c2d_stages.configure import stage as configure
from c2d_stages.configure.assets import assets_of
from c2d_stages.configure.sources import Text
from tests.stages.configuring import body, stage_json
from tests.stages.conftest import Pod, WebServer, sha256


def test_configure_makes_the_layout_that_an_algorithm_expects(pod: Pod, web: WebServer) -> None:
    urls = [web.serve(f"/{name}", body(name.encode())) for name in ("a", "b", "c", "code", "helper")]
    stage = {
        "stage": "configure",
        "job": "j1",
        "inputs": [
            {"id": "did:op:aa", "files": [{"type": "url", "url": urls[0]}, {"url": urls[1]}], "ddo": {"id": "did:op:aa", "name": "é"}},
            {"id": "did:op:bb", "files": [{"type": "url", "url": urls[2], "method": "post", "checksum": "sha256:" + sha256(b"c")}]},
        ],
        "algorithm": {
            "id": "did:op:cc",
            "files": [{"type": "url", "url": urls[3]}, {"type": "url", "url": urls[4]}],
            "rawcode": None,
            "ddo": None,
        },
        "customData": {"k": 1},
        "limits": {"totalBytes": 1000, "seconds": 20, "connections": 4},
    }
    outcome = pod.run("configure", stage)
    assert outcome.code == 0, outcome
    assert outcome.answer.pop("seconds") >= 0
    assert outcome.answer == {"ok": True, "files": 5, "bytes": 13}
    files = {str(path.relative_to(pod.data)): path.read_bytes() for path in pod.data.rglob("*") if path.is_file()}
    assert files.pop("adminlogs/configure.log")
    assert files == {
        "inputs/aa/0": b"a",
        "inputs/aa/1": b"b",
        "inputs/bb/0": b"c",
        "inputs/algoCustomData.json": b'{"k": 1}',
        "ddos/aa": '{"id": "did:op:aa", "name": "é"}'.encode(),
        "transformations/algorithm": b"code",
        "transformations/1": b"helper",
    }
    modes = {str(path.relative_to(pod.data)): path.stat().st_mode & 0o777 for path in pod.data.rglob("*")}
    assert {name: mode for name, mode in modes.items() if mode == 0o755} == dict.fromkeys(
        (
            "inputs",
            "inputs/aa",
            "inputs/bb",
            "transformations",
            "transformations/algorithm",
            "transformations/1",
            "ddos",
            "outputs",
            "logs",
            "adminlogs",
            "filter",
        ),
        0o755,
    )
    assert web.seen("/c")[0].method == "POST"
    assert all(request.headers["Accept-Encoding"] == "identity" for request in web.requests)


def test_rawcode_becomes_the_algorithms_file_and_custom_data_defaults_to_an_empty_object(pod: Pod) -> None:
    outcome = pod.run("configure", stage_json(algorithm={"id": None, "rawcode": "print('é')"}))
    assert outcome.answer["ok"] is True
    algorithm = pod.data / "transformations/algorithm"
    assert algorithm.read_text() == "print('é')" and os.access(algorithm, os.X_OK)
    assert pod.json("data/inputs/algoCustomData.json") == {}


def test_a_second_run_on_the_same_volume_gives_the_same_files(pod: Pod, web: WebServer) -> None:
    stage = stage_json(web.serve("/a", body(b"new")))
    pod.write("data/inputs/aa/0", b"of the first run")
    pod.write("data/inputs/aa/0.part", b"of the first run")
    assert pod.run("configure", stage).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"new"
    assert pod.parts() == []


def test_an_empty_file_is_downloaded(pod: Pod, web: WebServer) -> None:
    stage = stage_json({"url": web.serve("/empty", body(b"")), "checksum": "sha256:" + sha256(b"")})
    assert pod.run("configure", stage).answer["bytes"] == 0
    assert (pod.data / "inputs/aa/0").read_bytes() == b""


def test_a_failed_download_of_the_algorithm_has_status_32(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json(algorithm={"id": "did:op:cc", "files": [{"type": "url", "url": web.url + "/none"}]}))
    assert (outcome.answer["status"], outcome.answer["resource"]) == (32, "algorithm.files[0]")


BAD_DID = "inputs[0].id: must be a DID: did:op: and 1 to 200 letters, digits or . _ : -"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": 5}, "inputs: must be a list"),
        ({"inputs": [{"id": "did:op:../../etc"}]}, BAD_DID),
        (
            {"inputs": [{"id": "did:op:" + "a" * 1_000_000}]},
            BAD_DID,
        ),
        ({"inputs": [{"id": "a"}, {"id": "did:op:a"}]}, "inputs[1].id: must not be the id of an earlier input"),
        (
            {"inputs": [{"id": "a", "files": [{"url": "file:///etc/passwd"}]}]},
            "inputs[0].files[0].url: must start with http:// or https://",
        ),
        ({"inputs": [{"id": "a", "files": [{"type": "ipfs"}]}]}, 'inputs[0].files[0].type: must be "url" or "text"'),
        ({"inputs": [{"id": "a", "files": [{"type": "text"}]}]}, "inputs[0].files[0].text: must be a string"),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "body": "{}"}]}]},
            "inputs[0].files[0].body: must be absent if the method is not POST",
        ),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "method": "PUT"}]}]},
            "inputs[0].files[0].method: must be GET or POST",
        ),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "headers": {"A": "b\r\nC: d"}}]}]},
            "inputs[0].files[0].headers[0]: the value must be one line",
        ),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "checksum": "md5:1"}]}]},
            "inputs[0].files[0].checksum: must be sha256: and 64 hex digits",
        ),
        (
            {"algorithm": {"rawcode": "x", "files": [{"url": "http://x"}]}},
            "algorithm.rawcode: must be absent if the algorithm has files",
        ),
        ({"limits": {"totalBytes": 1, "seconds": 0}}, "limits.seconds: must be a whole number of at least 1"),
    ],
)
def test_an_error_in_stage_json_names_the_field(pod: Pod, change: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError) as caught:
        configure.work({**stage_json(), **change}, Paths(str(pod.root), ""), StageLog(str(pod.root / "log")))
    assert str(caught.value).startswith(message)
    assert caught.value.status == (32 if "algorithm" in change else 31)


def test_the_stage_json_of_another_stage_is_rejected(pod: Pod) -> None:
    outcome = pod.run("configure", {**stage_json(), "stage": "publish"})
    assert outcome.code == 1 and outcome.answer["status"] == 31
    assert outcome.answer["message"] == 'stage: must be "configure"'


def test_a_stage_json_that_is_not_json_is_rejected(pod: Pod) -> None:
    assert pod.run("configure", "{").answer["message"] == "/c2d/stage.json must be one JSON object"


def test_a_long_answer_is_cut_to_the_size_of_a_termination_message() -> None:
    text = answer_text(Failure(status=31, resource="r", message="\N{GRINNING FACE}" * 10_000))
    assert len(text) <= 4096 and json.loads(text)["message"].endswith("...")


def test_the_text_of_the_parsed_input_shows_no_secret() -> None:
    stage_input = ConfigureInput.from_json(stage_json({"url": "https://h/s3cret", "headers": {"X": "s3cret"}}))
    (source,) = assets_of(stage_input)[0].sources
    assert not isinstance(source, Text)
    assert "s3cret" not in repr(stage_input) and "s3cret" not in repr(source) and "s3cret" not in repr(source.request())


def test_an_unexpected_error_is_reported_without_its_text(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("https://host/s3cret")

    monkeypatch.setattr(configure, "lay_out", broken)
    pod.write("c2d/stage.json", json.dumps(stage_json()).encode())
    assert run("configure", configure.work, Paths(str(pod.root), str(pod.answer))) == 1
    assert pod.json("dev/termination-log")["message"].startswith("configure: unexpected error in the stage itself (RuntimeError)")
    output = capsys.readouterr().out
    assert "RuntimeError at" in output and "s3cret" not in output


def test_the_body_of_a_post_is_sent_and_a_text_file_is_written(pod: Pod, web: WebServer) -> None:
    def echo(request: BaseHTTPRequestHandler) -> None:
        body(request.rfile.read(int(request.headers["Content-Length"])))(request)

    query = json.dumps({"query": "{ birds }"})
    kind = {"Content-Type": "application/json"}
    posted = {"type": "url", "url": web.serve("/graphql", echo), "method": "POST", "body": query, "headers": kind}
    algorithm = {"id": "did:op:cc", "files": [{"type": "text", "text": "print('é')"}]}
    outcome = pod.run("configure", stage_json({"type": "text", "text": "[1]"}, posted, {"type": "text", "text": ""}, algorithm=algorithm))
    assert outcome.answer["ok"] and outcome.answer["files"] == 1, "one was fetched"
    data = pod.root / "data"
    assert [(data / "inputs/aa" / n).read_bytes() for n in ("0", "1", "2")] == [b"[1]", query.encode(), b""]
    assert (data / "transformations/algorithm").read_text() == "print('é')"
    assert (data / "transformations/algorithm").stat().st_mode & 0o777 == 0o755
    assert web.seen("/graphql")[0].headers["Content-Type"] == "application/json"
