"""Guarded HTTP for URLs that strangers name: a file's size, its checksum, a download.

At the first request and at every redirect, the host is resolved once, its addresses are checked, and the connection goes to a checked
address. So no notation of an address, no redirect and no name server that changes its answer leads into the operator's network.

Errors contain no URL and no body. Proxy settings of the environment are ignored, because a proxy would resolve names unchecked.
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
class Response:
    """A response whose body is read on demand.

    :param headers: names in lower case.
    """

    status: int
    headers: dict[str, str]
    _chunks: Iterator[bytes]

    def chunks(self, most: int = 0) -> Iterator[bytes]:
        """The body.

        :param most: the maximum number of bytes; 0: no maximum.
        :raises ResponseTooLarge: the body is larger.
        :raises FetchError: the connection fails.
        """
        total = 0
        if most and self.length is not None and self.length > most:
            raise ResponseTooLarge(f"it has more than {most} bytes")
        with _as_fetch_errors():
            for chunk in self._chunks:
                total += len(chunk)
                if most and total > most:
                    raise ResponseTooLarge(f"it has more than {most} bytes")
                yield chunk

    @property
    def length(self) -> int | None:
        """The body's size in bytes according to the server; None if it does not say."""
        value = self.headers.get("content-length", "")
        return int(value) if value.isascii() and value.isdigit() else None


@dataclass(frozen=True)
class Fetcher:
    """Sends guarded requests.

    :param allow_non_public: also connect to private, loopback and link-local addresses (ALLOW_NON_PUBLIC_IP).
    :param timeout: seconds that a server may be silent (REQUEST_TIMEOUT).
    :param attempts: number of attempts at a request that fails before its first byte arrives (REQUEST_RETRIES).
    :param seconds: limit of a whole fetch including TLS and headers, even if bytes keep arriving.
    :param until: deadline of several fetches together, on the clock of :func:`time.monotonic`.
    """

    allow_non_public: bool = False
    timeout: float = 10
    attempts: int = 1
    seconds: float = 600
    until: float = float("inf")

    @contextlib.contextmanager
    def open(self, request: Request) -> Iterator[Response]:
        """Sends the request and follows redirects. The body can be read while the context is open.

        The request's headers are sent to the first host only.

        :raises UnsafeAddress: a host has a non-public address.
        :raises FetchError: there is no response.
        """
        deadline = min(time.monotonic() + self.seconds, self.until)
        with contextlib.ExitStack() as stack:
            yield self._follow(request, stack, deadline)

    def _follow(self, request: Request, stack: contextlib.ExitStack, deadline: float) -> Response:
        url, method, headers, body = request.url, request.method.upper(), dict(request.headers), request.body
        for _ in range(REDIRECTS + 1):
            response = self._send(url, method, headers, body, stack, deadline)
            names = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in response.headers}
            if response.status not in (301, 302, 303, 307, 308) or "location" not in names:
                return Response(response.status, names, response.iter_stream())
            target = _joined(url, names["location"])
            if _origin(target) != _origin(url):
                headers = {n: v for n, v in headers.items() if n.lower() == "range"}
            if response.status == 303 or (response.status in (301, 302) and method == "POST"):
                method, body = "GET" if method != "HEAD" else "HEAD", None
            url = target
        raise FetchError(f"the server redirects more than {REDIRECTS} times")

    def _send(
        self, url: str, method: str, headers: Mapping[str, str], body: bytes | None, stack: contextlib.ExitStack, deadline: float
    ) -> Any:
        import httpcore

        fields = {"Accept": "*/*", "User-Agent": "c2d", **headers, "Accept-Encoding": "identity", "Host": _host(url), "Connection": "close"}
        raw_headers = [(n.encode("latin-1", "replace"), v.encode("latin-1", "replace")) for n, v in fields.items()]
        if body is not None:
            raw_headers.append((b"Content-Length", str(len(body)).encode()))
        timeouts = {"connect": self.timeout, "read": self.timeout, "write": self.timeout, "pool": self.timeout}
        for attempt in range(1, max(1, self.attempts) + 1):
            backend = _guarded_backend()(self.allow_non_public, deadline)
            pool = stack.enter_context(httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend))
            try:
                with _as_fetch_errors():
                    return stack.enter_context(
                        pool.stream(method, _ascii(url), headers=raw_headers, content=body, extensions={"timeout": timeouts})
                    )
            except UnsafeAddress:
                raise
            except FetchError:
                if attempt >= self.attempts:
                    raise
        raise AssertionError("the last attempt returns or raises")


def sha256_of(response: Response, most: int = 0) -> str:
    """The sha256 of a body in hex, which is Ocean's checksum of a file.

    :param most: the maximum number of bytes (MAX_CHECKSUM_LENGTH); 0: no maximum.
    :raises ResponseTooLarge, FetchError: as :meth:`Response.chunks`.
    """
    digest = hashlib.sha256()
    for chunk in response.chunks(most):
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
def _guarded_backend() -> Any:
    """The class of httpcore's network backend; defined here so that httpcore is imported on first use."""
    import httpcore

    def remaining(deadline: float, timeout: float | None) -> float:
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise FetchError("it took too long")
        return seconds if timeout is None else min(timeout, seconds)

    class Bounded(httpcore.NetworkStream):
        """A connection with a deadline. Timeouts alone would not stop a server that sends one byte at a time."""

        def __init__(self, stream: httpcore.NetworkStream, deadline: float):
            self.stream, self.deadline = stream, deadline

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self.stream.read(max_bytes, remaining(self.deadline, timeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self.stream.write(buffer, remaining(self.deadline, timeout))

        def close(self) -> None:
            self.stream.close()

        def start_tls(self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None) -> Any:
            seconds = remaining(self.deadline, timeout)
            return Bounded(self.stream.start_tls(ssl_context, server_hostname, seconds), self.deadline)

        def get_extra_info(self, info: str) -> Any:
            return self.stream.get_extra_info(info)

    class Guarded(httpcore.SyncBackend):
        """Connects to checked addresses. The request and TLS keep using the host's name."""

        def __init__(self, allow_non_public: bool, deadline: float):
            self.allow_non_public, self.deadline = allow_non_public, deadline

        def connect_tcp(self, host: str, port: int, timeout: float | None = None, *args: Any, **kwargs: Any) -> Any:
            failure: Exception | None = None
            for address in resolved(host, port, self.allow_non_public):
                seconds = remaining(self.deadline, timeout)
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
def _as_fetch_errors() -> Iterator[None]:
    """Replaces httpcore's errors, whose texts often contain addresses."""
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
    """The URL in ASCII, as it goes on the wire.

    :raises FetchError: it is not an http:// or https:// URL with a host and a valid port.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise FetchError("the url is not valid") from None
    if parts.scheme not in ("http", "https") or not host:
        raise FetchError("the url must start with http:// or https://")
    if port == 0:
        raise FetchError("the url is not valid")
    safe = "%!$&'()*+,;=:@/?~-._[]|"
    query = f"?{quote(parts.query, safe=safe)}" if parts.query else ""
    return f"{parts.scheme}://{_host(url)}{quote(parts.path or '/', safe=safe)}{query}"


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError:
        raise FetchError("the server redirects to something that is not a url") from None


def _host(url: str) -> str:
    """Host and port, without user name and password."""
    try:
        netloc = urlsplit(url).netloc.rpartition("@")[2]
        return netloc if netloc.isascii() else netloc.encode("idna").decode()
    except (ValueError, UnicodeError):
        raise FetchError("the url is not valid") from None


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, _host(url).lower()
