"""Guarded HTTP, for what the API server fetches because a stranger said so: a file's size, its checksum, a download.

A host is resolved once, its addresses are looked at, and the connection goes to the address that was looked at, at every redirect again: so
no form of writing an address, no redirect and no name server that answers differently the second time leads into the operator's network.
Errors hold no URL and no body.

Proxies of the environment are not used: they would resolve the names, unseen.
"""

from __future__ import annotations

import contextlib
import hashlib
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from c2d.errors import FetchError, ResponseTooLarge, UnsafeAddress
from c2d.market.service_files import Request
from c2d.shared.addresses import addresses_of

REDIRECTS = 5


@dataclass
class Answer:
    """The beginning of an answer, and its body.

    :param headers: names in lower case.
    """

    status: int
    headers: dict[str, str]
    _chunks: Iterator[bytes]

    def chunks(self, most: int = 0) -> Iterator[bytes]:
        """The body.

        :param most: bytes that are taken; 0: any number.
        :raises ResponseTooLarge, FetchError:
        """
        total = 0
        if most and self.length is not None and self.length > most:
            raise ResponseTooLarge(f"it has more than {most} bytes")
        with _explained():
            for chunk in self._chunks:
                total += len(chunk)
                if most and total > most:
                    raise ResponseTooLarge(f"it has more than {most} bytes")
                yield chunk

    @property
    def length(self) -> int | None:
        """Bytes of the body, where the server says so."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isascii() and value.isdigit() else None


@dataclass(frozen=True)
class Fetcher:
    """
    :param allow_non_public: fetch from private, loopback and link-local addresses too (ALLOW_NON_PUBLIC_IP).
    :param timeout: seconds that a server may be silent (REQUEST_TIMEOUT).
    :param attempts: how often a fetch that broke before its first byte is tried (REQUEST_RETRIES).
    :param seconds: for a whole fetch, however steadily it drips, headers and TLS included.
    :param until: for several together, on :func:`time.monotonic`'s clock.
    """

    allow_non_public: bool = False
    timeout: float = 10
    attempts: int = 1
    seconds: float = 600
    until: float = float("inf")

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[Answer]:
        """Sends the request and follows redirects; the body is read while the context is open.

        What was given as headers goes to the first host and to no other.

        :raises UnsafeAddress, FetchError:
        """
        deadline = min(time.monotonic() + self.seconds, self.until)
        with contextlib.ExitStack() as stack:
            yield self._answer(request, stack, deadline)

    def _answer(self, request: Request, stack: contextlib.ExitStack, deadline: float) -> Answer:
        url, method, headers, body = request.url, request.method.upper(), dict(request.headers), request.body
        for _ in range(REDIRECTS + 1):
            response = self._sent(url, method, headers, body, stack, deadline)
            names = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in response.headers}
            if response.status not in (301, 302, 303, 307, 308) or "location" not in names:
                return Answer(response.status, names, response.iter_stream())
            target = _joined(url, names["location"])
            if _origin(target) != _origin(url):
                headers = {n: v for n, v in headers.items() if n.lower() == "range"}
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, body = "GET" if method != "HEAD" else "HEAD", None
            url = target
        raise FetchError(f"the server redirects more than {REDIRECTS} times")

    def _sent(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None, stack: contextlib.ExitStack, deadline: float
    ) -> Any:
        import httpcore

        given = {"Accept": "*/*", "User-Agent": "c2d", **headers, "Accept-Encoding": "identity", "Host": _host(url), "Connection": "close"}
        wire = [(n.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for n, v in given.items()]
        if body is not None:
            wire.append((b"Content-Length", str(len(body)).encode()))
        seconds = {"connect": self.timeout, "read": self.timeout, "write": self.timeout, "pool": self.timeout}
        for attempt in range(1, max(1, self.attempts) + 1):
            backend = _guarded()(self.allow_non_public, deadline)
            pool = stack.enter_context(httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend))
            try:
                with _explained():
                    sent = pool.stream(method, _ascii(url), headers=wire, content=body, extensions={"timeout": seconds})
                    return stack.enter_context(sent)
            except UnsafeAddress:
                raise
            except FetchError:
                if attempt >= self.attempts:
                    raise
        raise AssertionError("the last attempt returns or raises")


def sha256_of(answer: Answer, most: int = 0) -> str:
    """The checksum of a body, as Ocean has it: sha256 in hex.

    :param most: bytes that it may have (MAX_CHECKSUM_LENGTH); 0: any number.
    """
    digest = hashlib.sha256()
    for chunk in answer.chunks(most):
        digest.update(chunk)
    return digest.hexdigest()


def resolved(host: str, port: int, allow_non_public: bool) -> list[str]:
    """The addresses of a host.

    :raises UnsafeAddress: one of them is not public.
    :raises FetchError: the host has no address.
    """
    try:
        return addresses_of(host, port, public_only=not allow_non_public)
    except (OSError, UnicodeError):
        raise FetchError("the host name was not found") from None


@cache
def _guarded() -> Any:
    """The class of what opens connections; made where the library is loaded."""
    import httpcore

    def left(deadline: float, timeout: float | None) -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise FetchError("it took too long")
        return seconds if timeout is None else min(timeout, seconds)

    class Bounded(httpcore.NetworkStream):
        """A connection that ends at a deadline: a server may drip each byte in time, for ever."""

        def __init__(self, stream: httpcore.NetworkStream, deadline: float):
            self.stream, self.deadline = stream, deadline

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self.stream.read(max_bytes, left(self.deadline, timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self.stream.write(buffer, left(self.deadline, timeout))

        def close(self) -> None:
            self.stream.close()

        def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> Any:
            seconds = left(self.deadline, timeout)
            return Bounded(self.stream.start_tls(ssl_context, server_hostname, seconds), self.deadline)

        def get_extra_info(self, info: str) -> Any:
            return self.stream.get_extra_info(info)

    class Guarded(httpcore.SyncBackend):
        """Connects to the addresses that were looked at; the name stays in the request and in TLS."""

        def __init__(self, allow_non_public: bool, deadline: float):
            self.allow_non_public, self.deadline = allow_non_public, deadline

        def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
            failure: Exception | None = None
            for address in resolved(host, port, self.allow_non_public):
                seconds = left(self.deadline, timeout)
                try:
                    return Bounded(super().connect_tcp(address, port, seconds, *args, **kwargs), self.deadline)
                except httpcore.ConnectError as e:
                    failure = e
            raise failure or FetchError("the host name was not found")

        def connect_unix_socket(self, *args: Any, **kwargs: Any) -> Any:
            raise UnsafeAddress("it is not on a public address")

    return Guarded


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Failures in words that hold no address: the texts of the library's often do."""
    import httpcore

    try:
        yield
    except httpcore.TimeoutException:
        raise FetchError("the server did not answer in time") from None
    except httpcore.ConnectError as e:
        text = "the server's TLS certificate is not valid" if "CERTIFICATE" in str(e).upper() else "the connection failed"
        raise FetchError(text) from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError):
        raise FetchError("the connection broke") from None
    except (httpcore.UnsupportedProtocol, ValueError, TypeError):
        raise FetchError("the url is not valid") from None


def _ascii(url: str) -> str:
    """The URL as it goes on the wire.

    :raises FetchError: it is no http:// or https:// URL with a host.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise FetchError("the url is not valid") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FetchError("the url must start with http:// or https://")
    safe = "%!$&'()*+,;=:@/?~-._[]|"
    query = f"?{quote(parts.query, safe=safe)}" if parts.query else ""
    return f"{parts.scheme}://{_host(url)}{quote(parts.path or '/', safe=safe)}{query}"


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchError("the server redirects to something that is not a url") from None


def _host(url: str) -> str:
    """Host and port, without a user's name."""
    try:
        netloc = urlsplit(url).netloc.rpartition("@")[2]
        return netloc if netloc.isascii() else netloc.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise FetchError("the url is not valid") from None


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, _host(url).lower()
