"""Guarded HTTP with real servers on loopback. A test that needs one reachable hop counts that address as public."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from c2d.errors import FetchError, ResponseTooLarge, UnsafeAddress
from c2d.hooks.guarded_http import Fetcher, sha256_of
from c2d.market.service_files import Request
from c2d.shared import addresses as shared_addresses
from tests.conformance.provider_server import Files

OPEN = Fetcher(allow_non_public=True, timeout=5)
GUARDED = Fetcher(timeout=5)


@pytest.fixture
def served() -> Iterator[Files]:
    server = Files()
    yield server
    server.shutdown()
    server.server_close()


def get(fetcher: Fetcher, url: str, **more: Any) -> bytes:
    with fetcher.open(Request(url, **more)) as answer:
        return b"".join(answer.chunks())


# -- addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
        "169.254.169.254", "2852039166", "user@127.0.0.1", "1.1.1.1@127.0.0.1", "LOCALHOST.",
    ],
)  # fmt: skip
def test_no_notation_of_a_private_address_gets_through(served: Files, host: str) -> None:
    with pytest.raises(FetchError) as e:
        get(GUARDED, f"http://{host}:{served.server_port}/table.csv")
    assert str(e.value) in ("it is not on a public address", "the host name was not found") and served.asked == []


def public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    monkeypatch.setattr(shared_addresses, "is_public", lambda address: address in addresses)


@pytest.mark.parametrize(
    "target", ["http://127.0.0.2:{port}/table.csv", "//127.0.0.2:{port}/table.csv", "http://0x7f000002:{port}/table.csv"]
)
def test_a_redirect_to_a_private_address_is_refused(served: Files, monkeypatch: pytest.MonkeyPatch, target: str) -> None:
    public(monkeypatch, "127.0.0.1")
    served.answers["/away"] = (302, {"Location": target.format(port=served.server_port)})
    served.answers["/further"] = (307, {"Location": "/away"})
    with pytest.raises(UnsafeAddress):
        get(GUARDED, f"{served.url}/further")
    assert [path for _, path, _, _ in served.asked] == ["/further", "/away"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.1/", "http://", "http://[", "https:///x"])
def test_a_redirect_to_something_else_than_http_is_refused(served: Files, target: str) -> None:
    served.answers["/away"] = (302, {"Location": target})
    with pytest.raises(FetchError):
        get(OPEN, f"{served.url}/away")


def test_a_host_is_resolved_only_once_per_request(served: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    public(monkeypatch, "127.0.0.1")
    answers = [["127.0.0.1"], ["127.0.0.2"]]

    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *more: Any, **named: Any) -> Any:
        if host != "two.example":
            return real(host, port, *more, **named)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers.pop(0)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert get(GUARDED, f"http://two.example:{served.server_port}/table.csv") == b"a,b\n1,2\n"
    assert len(answers) == 1
    ((_, _, headers, _),) = served.asked
    assert headers["Host"] == f"two.example:{served.server_port}"


def test_a_host_with_public_and_private_addresses_is_refused(served: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    public(monkeypatch, "127.0.0.1")
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("127.0.0.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(UnsafeAddress):
        get(GUARDED, f"http://two.example:{served.server_port}/table.csv")


def test_proxies_of_the_environment_are_ignored(served: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert get(OPEN, f"{served.url}/table.csv") == b"a,b\n1,2\n"


# -- requests -------------------------------------------------------------------------------------------------------------


def test_a_files_headers_are_sent_to_its_own_host_only(served: Files) -> None:
    other = Files()
    try:
        served.answers["/away"] = (302, {"Location": f"{other.url}/table.csv"})
        secret = {"Authorization": "Bearer SECRET", "Range": "bytes=0-2"}
        assert get(OPEN, f"{served.url}/away", headers=secret) == b"a,b"
        assert served.asked[0][2]["Authorization"] == "Bearer SECRET"
        ((_, _, headers, _),) = other.asked
        assert "Authorization" not in headers and headers["Range"] == "bytes=0-2"
    finally:
        other.shutdown()
        other.server_close()


def test_a_redirected_post_does_not_repeat_its_body(served: Files) -> None:
    served.answers["/post"] = (303, {"Location": "/table.csv"})
    assert get(OPEN, f"{served.url}/post", method="POST", body=b'{"a": 1}', headers={"Content-Type": "application/json"}) == b"a,b\n1,2\n"
    assert [(method, body) for method, _, _, body in served.asked] == [("POST", b'{"a": 1}'), ("GET", b"")]


def test_large_bodies_and_redirect_loops_are_errors(served: Files) -> None:
    served.answers["/loop"] = (302, {"Location": "/loop"})
    with pytest.raises(FetchError, match="redirects more than 5 times"):
        get(OPEN, f"{served.url}/loop")
    assert len(served.asked) == 6
    with OPEN.open(Request(f"{served.url}/table.csv")) as answer, pytest.raises(ResponseTooLarge):
        sha256_of(answer, 7)
    with OPEN.open(Request(f"{served.url}/table.csv")) as answer:
        assert sha256_of(answer, 8) == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


def trickle(chunks: list[bytes]) -> tuple[socket.socket, int]:
    """A server that sends these bytes to each client, and then nothing more."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        open_connections = []
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            open_connections.append(connection)
            connection.recv(65536)
            with contextlib.suppress(OSError):  # the client stops reading what is too large
                for chunk in chunks:
                    connection.sendall(chunk)

    threading.Thread(target=serve, daemon=True).start()
    return server, server.getsockname()[1]


def test_a_silent_server_times_out(served: Files) -> None:
    for chunks in ([], [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"ten bytes."]):
        server, port = trickle(chunks)
        with server, pytest.raises(FetchError, match="did not answer in time"):
            get(Fetcher(True, 0.2, 1), f"http://127.0.0.1:{port}/SECRET")


@pytest.mark.parametrize("at", [0, 20, 60])
def test_a_server_that_sends_one_byte_at_a_time_times_out(at: int) -> None:
    """In the status line, the headers or the body: no single read times out."""
    whole = b"HTTP/1.1 200 OK\r\nX-A: bbbbbbbbbbbb\r\nContent-Length: 50\r\n\r\n" + b"." * 50
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with server.accept()[0] as connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(whole[:at])
            for byte in whole[at:]:
                threading.Event().wait(0.05)
                connection.sendall(bytes([byte]))

    threading.Thread(target=serve, daemon=True).start()
    with server, pytest.raises(FetchError, match=r"did not answer in time|took too long"):
        get(Fetcher(True, 5, seconds=0.5), f"http://127.0.0.1:{server.getsockname()[1]}/")


def test_an_endless_body_is_limited_in_bytes_and_time() -> None:
    endless = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[b"5\r\n12345\r\n"] * 100]
    server, port = trickle(endless)
    with server:
        with Fetcher(True, 5).open(Request(f"http://127.0.0.1:{port}/")) as answer, pytest.raises(ResponseTooLarge):
            sha256_of(answer, 20)
        for over in (Fetcher(True, 5, seconds=0), Fetcher(True, 5, until=0)):
            with pytest.raises(FetchError, match="too long"):
                get(over, f"http://127.0.0.1:{port}/")


def test_a_broken_request_is_repeated_as_often_as_configured() -> None:
    server = socket.create_server(("127.0.0.1", 0))
    tried = []

    def serve() -> None:
        while len(tried) < 3:
            connection, _ = server.accept()
            tried.append(1)
            if len(tried) == 3:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    url = f"http://127.0.0.1:{server.getsockname()[1]}/"
    with server:
        with pytest.raises(FetchError):
            get(Fetcher(True, 5, 2), url)
        assert len(tried) == 2
        assert get(Fetcher(True, 5, 2), url) == b"ok"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/SECRET",
        "http://nowhere.invalid/SECRET",
        "https://127.0.0.1:{port}/SECRET",
        "http://ex ample/SECRET",
        "http://é\udc80/S",
    ],
)
def test_no_error_contains_the_url(served: Files, url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(FetchError) as e:
        get(OPEN, url.replace("{port}", str(served.server_port)), headers={"Authorization": "SECRET"})
    assert "SECRET" not in repr(e.value) and "127.0.0.1" not in str(e.value) and e.value.__cause__ is None
    assert "SECRET" not in caplog.text and "SECRET" not in repr(Request(url, "GET", {"a": "SECRET"}))
