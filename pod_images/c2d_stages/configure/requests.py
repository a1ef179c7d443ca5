"""One HTTP request, with redirects, to the servers that are allowed; and small answers, which are read into memory."""

import http.client
import socket
import time
from urllib.parse import SplitResult, urljoin

from c2d.errors import UnsafeAddress
from c2d.shared.addresses import addresses_of
from c2d_stages.common.transfer import (
    PermanentError,
    TransientError,
    connection_error,
    credentials,
    origin,
    request_target,
    retry_after,
    split_url,
)
from c2d_stages.configure.session import Cancelled, Session, Subject
from c2d_stages.configure.sources import Request

BUFFER = 1 << 20
REDIRECTS = 5
ATTEMPTS = 6  # in a row without progress
BACK_OFF = 0.25  # seconds; doubled at each attempt
CONNECT_SECONDS = 20.0

TRANSPORT_ERRORS = (OSError, UnicodeError, http.client.HTTPException)
"""What a connection raises if it fails; :func:`connection_error` says what each means."""


def connect(parts: SplitResult, session: Session) -> http.client.HTTPConnection:
    """A connection to a URL's host. With `publicOnly` it is made to an address that was checked. Raises PermanentError or OSError."""
    _, host, port = origin(parts)
    timeout = max(0.1, min(CONNECT_SECONDS, session.stall_seconds, session.seconds_left()))
    tls = session.tls() if parts.scheme == "https" else None
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    if tls:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    if session.limits.publicOnly:
        sock = connect_public(host, port, timeout)
        try:
            connection.sock = tls.wrap_socket(sock, server_hostname=host) if tls else sock
        except BaseException:
            sock.close()
            raise
    return connection


def connect_public(host: str, port: int, timeout: float) -> socket.socket:
    """A socket to the first address of a public host that answers. Raises PermanentError if the host is not public, else OSError."""
    try:
        addresses = addresses_of(host, port, public_only=True)
    except UnsafeAddress:
        raise PermanentError("the server is not on a public address") from None
    for address in addresses[:-1]:
        try:
            return socket.create_connection((address, port), timeout)
        except OSError:
            continue
    return socket.create_connection((addresses[-1], port), timeout)


def send(request: Request, own_headers: dict[str, str], session: Session) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send a request and follow redirects, to http and https only. The asset's headers go to the first origin only.

    Raises PermanentError if no other attempt would help, and TRANSPORT_ERRORS.
    """
    parts = split_url(request.url)
    first = origin(parts)
    method = request.method
    secrets = {**credentials(parts), **request.headers}
    for _ in range(REDIRECTS + 1):
        headers = {"Accept": "*/*", "User-Agent": "c2d-configure", **secrets, **own_headers}
        headers |= {"Accept-Encoding": "identity", "Connection": "close"}
        connection = connect(parts, session)
        try:
            connection.request(method, request_target(parts), body=request.body if method == "POST" else None, headers=headers)
            connection.sock.settimeout(max(0.1, min(session.stall_seconds, session.seconds_left())))
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        if response.status not in (301, 302, 303, 307, 308):
            return connection, response
        connection.close()
        parts = _redirected(parts, response)
        if origin(parts) != first:
            secrets = {}  # for good, even if a later redirect leads back
        if response.status == 303 or (response.status in (301, 302) and method == "POST"):
            method = "GET"
    raise PermanentError(f"the server redirects more than {REDIRECTS} times")


def _redirected(parts: SplitResult, response: http.client.HTTPResponse) -> SplitResult:
    location = response.headers.get("Location")
    if not location:
        raise PermanentError(f"the server answered {response.status} without a Location")
    try:
        return split_url(urljoin(parts.geturl(), location))
    except (ValueError, PermanentError):
        raise PermanentError("the server redirects to something that is not an http or https url") from None


def check_status(response: http.client.HTTPResponse) -> None:
    """Raises TransientError or PermanentError if the status is not 200."""
    status = response.status
    if status == 429 or status >= 500:
        raise TransientError(f"the server answered {status}", retry_after(response.headers.get("Retry-After"), time.time()))
    if status != 200:
        raise PermanentError(f"the server answered {status}, 200 is needed", status)


def content_length(response: http.client.HTTPResponse) -> int | None:
    """Bytes of the body; None if the server does not say, or sends chunks. Raises TransientError."""
    value = response.headers.get("Content-Length")
    if value is None or response.chunked:
        return None
    if not (value.isascii() and value.isdigit()):
        raise TransientError("the server sent a Content-Length that is not a number")
    return int(value)


def pause_before_retry(error: TransientError, failures: int) -> float:
    """Seconds to wait after `failures` failures in a row."""
    return BACK_OFF * 2 ** (failures - 1) if error.pause is None else error.pause


def read_small(request: Request, own_headers: dict[str, str], most: int, session: Session) -> bytes:
    """One request for a body of at most `most` bytes. Raises TransientError, PermanentError or Cancelled."""
    try:
        connection, response = send(request, own_headers, session)
        try:
            check_status(response)
            length = content_length(response)
            body = b""
            while len(body) <= most and (data := response.read1(BUFFER)):
                if session.cancelled.is_set():
                    raise Cancelled
                body += data
        finally:
            response.close()
            connection.close()
    except TRANSPORT_ERRORS as error:
        raise connection_error(error, session.stall_seconds) from None
    if len(body) > most or (length or 0) > most:
        raise PermanentError(f"the answer has more than {most} bytes")
    if length is not None and len(body) < length:
        raise TransientError(f"the connection ended after {len(body)} of {length} bytes")
    return body


def fetch_small(subject: Subject, request: Request, own_headers: dict[str, str], most: int, session: Session) -> bytes:
    """A body of at most `most` bytes, with as many attempts as a file has. Raises PermanentError or Cancelled."""
    for failures in range(1, ATTEMPTS + 1):
        try:
            return read_small(request, own_headers, most, session)
        except TransientError as error:
            if failures == ATTEMPTS:
                raise PermanentError(f"{error} (given up after {ATTEMPTS} attempts)") from None
            pause = pause_before_retry(error, failures)
            session.log.line(f"{subject.label}: {error}; again in {pause:g} s")
            session.sleep(pause)
    raise AssertionError("the last attempt returns or raises")
