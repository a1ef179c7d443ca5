"""Downloads of the configure stage, from servers as they are in the world."""

import errno
import json
import os
import re
import resource
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from c2d_stages.common import transfer
from c2d_stages.configure.resume import volume_error
from tests.stages.configuring import CONTENT, MIB, body, dropping, stage_json
from tests.stages.conftest import Answer, Pod, WebServer, sha256, status


def test_a_broken_download_is_resumed_where_it_broke(pod: Pod, web: WebServer) -> None:
    url = web.serve("/a", dropping(CONTENT, after=MIB + 7))
    outcome = pod.run("configure", stage_json({"url": url, "checksum": "sha256:" + sha256(CONTENT)}))
    assert outcome.answer["ok"] is True, outcome
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT
    resumed = web.seen("/a")[1]
    assert (resumed.headers["Range"], resumed.headers["If-Range"]) == (f"bytes={MIB + 7}-", '"v1"')


def test_a_download_is_resumed_with_a_last_modified_date_but_not_with_a_weak_etag(pod: Pod, web: WebServer) -> None:
    dated = web.serve("/a", dropping(CONTENT, 2 * MIB, {"ETag": 'W/"1"', "Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}))
    assert pod.run("configure", stage_json(dated)).answer["ok"] is True
    assert web.seen("/a")[1].headers["If-Range"] == "Mon, 02 Nov 2026 10:00:00 GMT"
    answers = [dropping(CONTENT, 2 * MIB, {"ETag": 'W/"1"'}), body(CONTENT)]
    weak = web.serve("/b", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(weak)).answer["ok"] is True
    assert "Range" not in web.seen("/b")[1].headers


def test_a_server_that_ignores_range_may_send_the_whole_file_again(pod: Pod, web: WebServer) -> None:
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
def test_a_wrong_part_restarts_the_download(pod: Pod, web: WebServer, wrong: Answer) -> None:
    answers = [dropping(CONTENT, 2 * MIB), wrong, body(CONTENT)]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    outcome = pod.run("configure", stage_json(url))
    assert outcome.answer["ok"] is True and "another part" in outcome.output
    assert (pod.data / "inputs/aa/0").read_bytes() == CONTENT
    assert "Range" not in web.seen("/a")[2].headers


def test_status_416_restarts_the_download(pod: Pod, web: WebServer) -> None:
    answers = [dropping(CONTENT, 2 * MIB), status(416, Content_Range="bytes */5"), body(b"short")]
    url = web.serve("/a", lambda request: answers.pop(0)(request))
    assert pod.run("configure", stage_json(url)).answer["ok"] is True
    assert (pod.data / "inputs/aa/0").read_bytes() == b"short"


def test_a_broken_chunked_body_is_not_taken_as_complete(pod: Pod, web: WebServer) -> None:
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


def test_an_overloaded_server_is_asked_again_after_its_retry_after(pod: Pod, web: WebServer) -> None:
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


def test_status_404_fails_at_once_with_a_message_that_names_the_file_but_not_the_url(pod: Pod, web: WebServer) -> None:
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
def test_a_redirect_to_anything_but_http_is_rejected(pod: Pod, web: WebServer, location: str) -> None:
    outcome = pod.run("configure", stage_json(web.serve("/a", status(302, Location=location))))
    assert outcome.answer["message"].endswith("the server redirects to something that is not an http or https url")
    assert len(web.requests) == 1


def test_an_endless_redirect_ends(pod: Pod, web: WebServer) -> None:
    outcome = pod.run("configure", stage_json(web.serve("/a", status(302, Location="/a"))))
    assert outcome.answer["message"].endswith("the server redirects more than 5 times")
    assert len(web.requests) == 6


def test_a_file_that_announces_too_many_bytes_is_not_downloaded(pod: Pod, web: WebServer) -> None:
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


def test_sigterm_ends_the_stage_at_once_without_partial_files(pod: Pod, web: WebServer) -> None:
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


def test_a_full_volume_is_reported_as_such(pod: Pod, web: WebServer) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, MIB))

    outcome = pod.run("configure", stage_json(web.serve("/a", body(CONTENT))), preexec_fn=small_files)
    assert "no space is left on the job's volume" in outcome.answer["message"]
    assert volume_error(OSError(errno.ENOSPC, "x")).startswith("no space is left")


def test_a_refused_connection_is_reported_without_the_address(pod: Pod) -> None:
    outcome = pod.run("configure", stage_json("http://127.0.0.1:1/x", seconds=1))
    assert "the connection was refused" in outcome.output and "127.0.0.1" not in outcome.output


def test_a_url_is_percent_encoded_where_needed_and_not_twice() -> None:
    parts = transfer.split_url("https://h/a b/é%20%2F?q=a b&x=%41#fragment")
    assert transfer.request_target(parts) == "/a%20b/%C3%A9%20%2F?q=a%20b&x=%41"
    with pytest.raises(transfer.PermanentError):
        transfer.split_url("http://host:port/")


def test_retry_after_may_be_seconds_or_a_date_and_is_bounded() -> None:
    assert transfer.retry_after("7", 0) == 7
    assert transfer.retry_after("Thu, 01 Jan 1970 00:00:09 GMT", 4) == 5
    assert transfer.retry_after("999999", 0) == transfer.LONGEST_PAUSE
    assert transfer.retry_after("soon", 0) is None
