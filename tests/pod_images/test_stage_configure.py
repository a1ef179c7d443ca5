"""The configure stage, against servers as they are in the world."""

import errno
import json
import os
import re
import resource
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from c2d_stages import addresses, configure, download
from c2d_stages.configure import ConfigureInput
from c2d_stages.stage import Paths, StageError, StageLog, answer_text, run

from tests.pod_images.conftest import Answer, Pod, WebServer, sha256, status

MIB = 1 << 20
CONTENT = bytes(range(256)) * 4096 * 3  # 3 MiB


def body(content: bytes, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        for name, value in headers.items():
            request.send_header(name.replace("_", "-"), value)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content)

    return answer


def dropping(content: bytes, after: int, validators: dict[str, str] | None = None, shift: int = 0, ranges: bool = True) -> Answer:
    """Ends the connection after `after` bytes of each body; knows Range; `shift` makes its Content-Range lie."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        match = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", "")) if ranges else None
        start = int(match[1]) if match else 0
        request.send_response(206 if match else 200)
        if match:
            request.send_header("Content-Range", f"bytes {start + shift}-{len(content) - 1}/{len(content)}")
        for name, value in (validators if validators is not None else {"ETag": '"v1"'}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + after])

    return answer


def stage_json(*urls: Any, algorithm: Any = None, custom: Any = None, **limits: int) -> dict[str, Any]:
    files = [url if isinstance(url, dict) else {"type": "url", "url": url} for url in urls]
    limits = {"totalBytes": 100 * MIB, "seconds": 20, "connections": 4, **limits}
    inputs = [{"id": "did:op:aa", "files": files}]
    return {"stage": "configure", "job": "j1", "inputs": inputs, "algorithm": algorithm or {}, "customData": custom, "limits": limits}


def test_configure_makes_the_layout_that_an_algorithm_expects(pod: Pod, web: WebServer) -> None:
    urls = [web.serve(f"/{name}", body(name.encode())) for name in ("a", "b", "c", "code", "helper")]
    wanted = {
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
    outcome = pod.run("configure", wanted)
    assert outcome.code == 0, outcome
    assert outcome.answer.pop("seconds") >= 0
    assert outcome.answer == {"ok": True, "files": 5, "bytes": 13}
    found = {str(path.relative_to(pod.data)): path.read_bytes() for path in pod.data.rglob("*") if path.is_file()}
    assert found.pop("adminlogs/configure.log")
    assert found == {
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


def test_rawcode_becomes_the_algorithm_and_custom_data_is_there_even_without_any(pod: Pod) -> None:
    outcome = pod.run("configure", stage_json(algorithm={"id": None, "rawcode": "print('é')"}))
    assert outcome.answer["ok"] is True
    algorithm = pod.data / "transformations/algorithm"
    assert algorithm.read_text() == "print('é')" and os.access(algorithm, os.X_OK)
    assert pod.json("data/inputs/algoCustomData.json") == {}


def test_a_second_run_on_the_same_volume_gives_the_same_files(pod: Pod, web: WebServer) -> None:
    wanted = stage_json(web.serve("/a", body(b"new")))
    pod.write("data/inputs/aa/0", b"of the first run")
    pod.write("data/inputs/aa/0.part", b"of the first run")
    assert pod.run("configure", wanted).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"new"
    assert pod.parts() == []


def test_an_empty_file_is_a_file(pod: Pod, web: WebServer) -> None:
    wanted = stage_json({"url": web.serve("/empty", body(b"")), "checksum": "sha256:" + sha256(b"")})
    assert pod.run("configure", wanted).answer["bytes"] == 0
    assert (pod.data / "inputs/aa/0").read_bytes() == b""


def test_a_broken_download_goes_on_where_it_broke(pod: Pod, web: WebServer) -> None:
    url = web.serve("/a", dropping(CONTENT, after=MIB + 7))
    outcome = pod.run("configure", stage_json({"url": url, "checksum": "sha256:" + sha256(CONTENT)}))
    assert outcome.answer["ok"] is True, outcome
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT
    resumed = web.seen("/a")[1]
    assert (resumed.headers["Range"], resumed.headers["If-Range"]) == (f"bytes={MIB + 7}-", '"v1"')


def test_a_last_modified_date_is_enough_to_go_on_and_a_weak_etag_is_not(pod: Pod, web: WebServer) -> None:
    dated = web.serve("/a", dropping(CONTENT, 2 * MIB, {"ETag": 'W/"1"', "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}))
    assert pod.run("configure", stage_json(dated)).answer["ok"] is True
    assert web.seen("/a")[1].headers["If-Range"] == "Mon, 02 Nov 2026 10:00:00 GMT"
    answers = [dropping(CONTENT, 2 * MIB, {"ETag": 'W/"1"'}), body(CONTENT)]
    weak = web.serve("/b", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(weak)).answer["ok"] is True
    assert "Range" not in web.seen("/b")[1].headers


def test_a_server_that_does_not_know_range_is_asked_for_the_whole_file_again(pod: Pod, web: WebServer) -> None:
    answers = [dropping(CONTENT, 2 * MIB), body(CONTENT[::-1])]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(url)).answer["ok"] is True
    assert web.seen("/a")[1].headers["Range"] == f"bytes={2 * MIB}-"
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(
    "wrong",
    [dropping(CONTENT, MIB, shift=1), dropping(CONTENT, MIB, {"ETag": '"v2"'}), dropping(CONTENT + b"x", MIB)],
    ids=["start", "version", "length"],
)
def test_a_part_that_does_not_fit_makes_the_download_start_again(pod: Pod, web: WebServer, wrong: Answer) -> None:
    answers = [dropping(CONTENT, 2 * MIB), wrong, body(CONTENT)]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    outcome = pod.run("configure", stage_json(url))
    assert outcome.answer["ok"] is True and "another part" in outcome.output
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT
    assert "Range" not in web.seen("/a")[2].headers


def test_416_makes_the_download_start_again(pod: Pod, web: WebServer) -> None:
    answers = [dropping(CONTENT, 2 * MIB), status(416, Content_Range="bytes */5"), body(b"short")]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(url)).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"short"


def test_a_chunked_body_that_breaks_is_not_taken_for_complete(pod: Pod, web: WebServer) -> None:
    def chunked(whole: bool) -> Answer:
        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(200)
            request.send_header("Transfer-Encoding", "chunked")
            request.end_headers()
            for _ in range(3):
                request.wfile.write(b"%x\r\n%b\r\n" % (len(CONTENT), CONTENT))
            request.wfile.write(b"0\r\n\r\n" if whole else b"ff\r\nab")

        return answer

    answers = [chunked(False), chunked(True)]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(url)).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT * 3
    assert len(web.requests) == 2


def test_a_silent_server_counts_as_broken(pod: Pod, web: WebServer) -> None:
    release = threading.Event()

    def stalling(request: BaseHTTPRequestHandler) -> None:
        if "Range" in request.headers:
            return dropping(CONTENT, len(CONTENT))(request)
        dropping(CONTENT, MIB)(request)
        request.wfile.flush()
        release.wait(600)

    outcome = pod.run("configure", stage_json(web.serve("/a", stalling), stallSeconds=1))
    release.set()
    assert outcome.answer["ok"] is True and "the server sent nothing for 1 s; again from byte 1048576" in outcome.output
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT


def test_an_overloaded_server_is_asked_again_when_it_says(pod: Pod, web: WebServer) -> None:
    answers = [status(429, Retry_After="1"), status(503, Retry_After="0"), body(b"now")]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    started = time.monotonic()
    assert pod.run("configure", stage_json(url)).answer["ok"] is True
    assert time.monotonic() - started >= 1


def test_a_server_that_stays_broken_is_given_up(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json(web.serve("/a", status(500, Retry_After="0"))))
    assert outcome.answer == {
        "ok": False,
        "status": 31,
        "resource": "inputs[0].files[0]",
        "message": "inputs[0].files[0] (did:op:aa): the server answered 500 (given up after 6 attempts)",
    }
    assert outcome.code == 1 and len(web.requests) == 6


def test_404_is_not_asked_again_and_the_message_names_the_file_but_not_the_url(pod: Pod, web: WebServer) -> None:
    good = web.serve("/good", body(b"x"))
    bad = web.url.replace("http://", "http://user:pa55@") + "/secret-path?token=t0ken"
    outcome = pod.run("configure", stage_json(good, {"url": bad, "headers": {"X-Key": "h3ader"}}))
    assert outcome.answer["message"] == "inputs[0].files[1] (did:op:aa): the server answered 404, 200 is needed"
    assert outcome.answer["resource"] == "inputs[0].files[1]"
    assert len(web.seen("/secret-path")) == 1
    assert web.seen("/secret-path")[0].headers["Authorization"].startswith("Basic ")
    everything = outcome.output + json.dumps(outcome.answer) + (pod.data / "adminlogs/configure.log").read_text()
    for secret in ("127.0.0.1", "pa55", "secret-path", "t0ken", "h3ader"):
        assert secret not in everything


def test_a_failed_algorithm_download_has_status_32(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json(algorithm={"id": "did:op:cc", "files": [{"type": "url", "url": web.url + "/none"}]}))
    assert (outcome.answer["status"], outcome.answer["resource"]) == (32, "algorithm.files[0]")


def test_a_wrong_checksum_leaves_no_file(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json({"url": web.serve("/a", body(b"tampered")), "checksum": "sha256:" + "0" * 64}))
    assert "does not have the sha256" in outcome.answer["message"]
    assert os.listdir(pod.data / "inputs/aa") == []


def test_custom_headers_and_credentials_do_not_follow_a_redirect_to_another_host(pod: Pod, web: WebServer, web_server: Any) -> None:
    other = web_server()
    target = other.serve("/b", status(302, Location=web.serve("/c", body(b"arrived"))))
    start = web.serve("/a", status(302, Location="/same"))
    web.serve("/same", status(307, Location=target))
    url = start.replace("http://", "http://user:pw@")
    assert pod.run("configure", stage_json({"url": url, "headers": {"X-Key": "k", "Range": "bytes=1-"}})).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"arrived"
    assert [("X-Key" in seen.headers, "Authorization" in seen.headers) for seen in web.requests] == [
        (True, True),
        (True, True),
        (False, False),
    ]
    assert "X-Key" not in other.requests[0].headers and "Authorization" not in other.requests[0].headers
    assert all("Range" not in seen.headers for seen in web.requests)


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[bad", "data:,x"])
def test_a_redirect_leads_to_http_or_nowhere(pod: Pod, web: WebServer, location: str) -> None:
    outcome = pod.run("configure", stage_json(web.serve("/a", status(302, Location=location))))
    assert outcome.answer["message"].endswith("the server redirects to something that is not an http or https url")
    assert len(web.requests) == 1


def test_an_endless_redirect_ends(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json(web.serve("/a", status(302, Location="/a"))))
    assert outcome.answer["message"].endswith("the server redirects more than 5 times")
    assert len(web.requests) == 6


def test_a_file_that_says_it_is_too_large_is_not_downloaded(pod: Pod, web: WebServer) -> None:
    sent = threading.Event()

    def huge(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(10**15))
        request.end_headers()
        sent.wait(5)

    outcome = pod.run("configure", stage_json(web.serve("/a", huge), totalBytes=MIB))
    sent.set()
    assert (
        outcome.answer["message"] == "inputs[0].files[0] (did:op:aa): all files together are larger than 1048576 bytes (limits.totalBytes)"
    )


def test_an_endless_body_ends_at_the_limit(pod: Pod, web: WebServer) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(CONTENT)

    outcome = pod.run("configure", stage_json(web.serve("/a", endless), totalBytes=8 * MIB))
    assert "limits.totalBytes" in outcome.answer["message"]
    assert pod.parts() == [] and os.listdir(pod.data / "inputs/aa") == []


def test_the_byte_limit_is_of_all_files_together(pod: Pod, web: WebServer) -> None:
    urls = [web.serve(f"/{number}", body(CONTENT)) for number in range(3)]
    assert pod.run("configure", stage_json(*urls, totalBytes=9 * MIB)).answer["ok"] is True
    assert "limits.totalBytes" in pod.run("configure", stage_json(*urls, totalBytes=9 * MIB - 1)).answer["message"]


def test_a_slow_body_ends_at_the_time_limit_and_the_log_shows_its_progress(pod: Pod, web: WebServer) -> None:
    done = threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000000")
        request.end_headers()
        while not done.wait(0.01):
            request.wfile.write(b"x" * 20_000)

    outcome = pod.run("configure", stage_json(web.serve("/a", slow), seconds=3))
    done.set()
    assert re.search(r"inputs\[0\]\.files\[0\] \(did:op:aa\): \d\.\d of 100\.0 MB, \d+ MB/s", outcome.output)
    assert "not complete after 3 s (limits.seconds)" in outcome.answer["message"]


def test_the_first_failure_ends_the_other_downloads(pod: Pod, web: WebServer) -> None:
    begun, done = threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000000")
        request.end_headers()
        request.wfile.write(b"x")
        request.wfile.flush()
        begun.set()
        done.wait(20)

    def missing(request: BaseHTTPRequestHandler) -> None:
        begun.wait(20)
        status(404)(request)

    outcome = pod.run("configure", stage_json(web.serve("/slow", slow), web.serve("/missing", missing)))
    done.set()
    assert outcome.answer["resource"] == "inputs[0].files[1]"
    assert pod.parts() == []


def test_sigterm_ends_it_at_once_without_half_files(pod: Pod, web: WebServer) -> None:
    begun, done = threading.Event(), threading.Event()

    def slow(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(CONTENT)))
        request.end_headers()
        request.wfile.write(CONTENT[:MIB])
        request.wfile.flush()
        begun.set()
        done.wait(600)

    process = pod.start("configure", stage_json(web.serve("/slow", slow)))
    assert begun.wait(60)
    process.send_signal(signal.SIGTERM)
    outcome = pod.finish(process, timeout=60)
    done.set()
    assert outcome.code == 1
    assert outcome.answer == {"ok": False, "status": 31, "message": "configure: stopped before it was complete"}
    assert os.listdir(pod.data / "inputs/aa") == []


def test_a_full_volume_is_called_by_its_name(pod: Pod, web: WebServer) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

    outcome = pod.run("configure", stage_json(web.serve("/a", body(CONTENT))), preexec_fn=small_files)
    assert "no space is left on the job's volume" in outcome.answer["message"]
    assert download.volume_error(OSError(errno.ENOSPC, "x")).startswith("no space is left")


def test_a_host_that_refuses_is_told_without_its_address(pod: Pod) -> None:
    outcome = pod.run("configure", stage_json("http://127.0.0.1:1/x", seconds=1))
    assert "the connection was refused" in outcome.output and "127.0.0.1" not in outcome.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"inputs": 5}, "inputs: must be a list"),
        ({"inputs": [{"id": "did:op:../../etc"}]}, "inputs[0].id: must be a DID of at most 200 letters, digits and . _ : - after did:op:"),
        (
            {"inputs": [{"id": "did:op:" + "a" * 1_000_000}]},
            "inputs[0].id: must be a DID of at most 200 letters, digits and . _ : - after did:op:",
        ),
        ({"inputs": [{"id": "a"}, {"id": "did:op:a"}]}, "inputs[1].id: must not be the id of an earlier input"),
        (
            {"inputs": [{"id": "a", "files": [{"url": "file:///etc/passwd"}]}]},
            "inputs[0].files[0].url: must start with http:// or https://",
        ),
        ({"inputs": [{"id": "a", "files": [{"type": "ipfs"}]}]}, "inputs[0].files[0].type: must be one of: url, text"),
        ({"inputs": [{"id": "a", "files": [{"type": "text"}]}]}, "inputs[0].files[0].text: must be a text"),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "body": "{}"}]}]},
            "inputs[0].files[0].body: must be absent where the method is not POST",
        ),
        (
            {"inputs": [{"id": "a", "files": [{"url": "http://x", "method": "PUT"}]}]},
            "inputs[0].files[0].method: must be one of: GET, POST",
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
            "algorithm.rawcode: must be absent where the algorithm has files",
        ),
        ({"limits": {"totalBytes": 1, "seconds": 0}}, "limits.seconds: must be a whole number of at least 1"),
    ],
)
def test_a_wrong_stage_json_is_told_by_its_field(pod: Pod, change: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError) as caught:
        configure.work({**stage_json(), **change}, Paths(str(pod.root), ""), StageLog(str(pod.root / "log")))
    assert str(caught.value).startswith(message)
    assert caught.value.status == (32 if "algorithm" in change else 31)


def test_the_stage_json_of_another_stage_is_refused(pod: Pod) -> None:
    outcome = pod.run("configure", {**stage_json(), "stage": "publish"})
    assert outcome.code == 1 and outcome.answer["status"] == 31
    assert outcome.answer["message"] == 'stage: must be "configure", for that is the stage that runs'


def test_a_stage_json_that_is_no_json_is_told(pod: Pod) -> None:
    assert pod.run("configure", "{").answer["message"] == "/c2d/stage.json must be one JSON object"


def test_an_answer_never_outgrows_a_termination_message() -> None:
    text = answer_text({"ok": False, "status": 31, "resource": "r", "message": "\N{GRINNING FACE}" * 10_000})
    assert len(text) <= 4096 and json.loads(text)["message"].endswith("...")


def test_secrets_are_not_in_the_text_of_the_parsed_input() -> None:
    wanted = ConfigureInput.from_json(stage_json({"url": "https://h/s3cret", "headers": {"X": "s3cret"}}))
    assert "s3cret" not in repr(wanted) and "s3cret" not in repr(wanted.inputs[0].files[0].request())


def test_a_url_is_made_fit_for_the_wire_without_changing_what_is_already_encoded() -> None:
    parts = download.split_url("https://h/a b/é%20%2F?q=a b&x=%41#fragment")
    assert download.request_target(parts) == "/a%20b/%C3%A9%20%2F?q=a%20b&x=%41"
    with pytest.raises(download.Refused):
        download.split_url("http://host:port/")


def test_retry_after_may_be_seconds_or_a_date_and_is_bounded() -> None:
    assert download.retry_after("7", 0) == 7
    assert download.retry_after("Thu, 01 Jan 1970 00:00:09 GMT", 4) == 5
    assert download.retry_after("999999", 0) == download.LONGEST_PAUSE
    assert download.retry_after("soon", 0) is None


def test_an_error_of_the_stage_itself_gives_no_text_away(
    pod: Pod, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: Any) -> None:
        raise RuntimeError("https://host/s3cret")

    monkeypatch.setattr(configure, "lay_out", broken)
    pod.write("c2d/stage.json", json.dumps(stage_json()).encode())
    assert run("configure", configure.work, Paths(str(pod.root), str(pod.answer))) == 1
    assert pod.json("dev/termination-log")["message"].startswith("configure: an unexpected error of the stage itself (RuntimeError)")
    output = capsys.readouterr().out
    assert "RuntimeError at" in output and "s3cret" not in output


def test_the_body_of_a_post_is_sent_and_a_text_is_laid_down(pod: Pod, web: WebServer) -> None:
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


# -- addresses -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f000001", "127.1", "[::ffff:127.0.0.1]", "169.254.169.254"])
def test_where_only_public_addresses_are_asked_no_form_of_another_is(pod: Pod, web: WebServer, host: str) -> None:
    port = web.serve("/a", body(b"content")).rsplit(":", 1)[1]
    outcome = pod.run("configure", stage_json(f"http://{host}:{port}", publicOnly=True))
    assert outcome.answer["status"] == 31 and web.seen("/a") == []
    assert outcome.answer["message"].split(": ", 1)[1] in ("the server is not on a public address", "the host name was not found")


def test_a_redirect_to_what_is_not_public_is_refused(web: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """127.0.0.1 counts as public here, so that there is a server to redirect."""
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    inside = web.serve("/inside", body(b"SECRET"))
    away = web.serve("/away", status(302, Location=inside.replace("127.0.0.1", "127.0.0.2")))
    session = download.Session(download.Limits(100, 20, 1, 5, publicOnly=True), StageLog(str(tmp_path / "log")), download.Budget(100))
    with pytest.raises(download.Refused, match="the server is not on a public address"):
        download.read_small(download.Request(away), {}, 100, session)
    assert web.seen("/inside") == [] and len(web.seen("/away")) == 1
    assert download.read_small(download.Request(inside), {}, 100, session) == b"SECRET"


def test_a_name_is_resolved_once_and_every_address_counts(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda address: address == "127.0.0.1")
    url = web.serve("/a", body(b"content"))
    port = int(url.rsplit(":", 1)[1].split("/")[0])
    answers = [["127.0.0.1"], ["127.0.0.1", "10.0.0.1"]]
    real = socket.getaddrinfo

    def resolve(host: Any, *more: Any, **named: Any) -> Any:
        if host != "two.example":
            return real(host, *more, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    addresses.connected("two.example", port, 5).close()
    assert len(answers) == 1
    with pytest.raises(addresses.NotPublic):
        addresses.connected("two.example", port, 5)


def test_the_stage_and_the_server_judge_addresses_alike() -> None:
    from c2d.hooks import guarded_http

    for address in (
        "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "192.0.0.8", "224.0.0.1", "0.0.0.0", "::", "::1", "fe80::1%eth0",
        "fc00::1", "fec0::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "2001:0:0:0:0:0:80ff:fffe",
        "1.1.1.1", "2606:4700::1111",
    ):  # fmt: skip
        assert addresses.is_public(address) == guarded_http.is_public(address) == (address in ("1.1.1.1", "2606:4700::1111")), address
