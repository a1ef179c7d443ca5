"""Downloads over HTTP: parallel, resumed where that is safe, within limits on bytes and seconds.

http.client and not urllib3: the import is a third of the time (35 ms against 150 ms in every configure pod), and a body can be read
into a buffer that is used again.
"""

import errno
import hashlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from c2d_stages import addresses
from c2d_stages.sources import Request, Source
from c2d_stages.stage import StageError, StageLog

BUFFER = 1 << 20
REDIRECTS = 5
ATTEMPTS = 6  # one after the other without PROGRESS more bytes than ever before
PROGRESS = 1 << 20
BACK_OFF = 0.25  # seconds; doubled at each attempt
LONGEST_PAUSE = 60.0
CONNECT_SECONDS = 20.0
LOG_SECONDS = 2.0


class Broken(Exception):
    """This attempt failed in a way that another one may not. `pause`: seconds that the server asked for (Retry-After)."""

    def __init__(self, message: str, pause: float | None = None):
        super().__init__(message)
        self.pause = pause


class Refused(Exception):
    """This attempt failed, and so would every other one. The text holds no address. `status`: the HTTP status that said so."""

    def __init__(self, message: str, status: int | None = None):
        super().__init__(message)
        self.status = status


class Cancelled(Exception):
    """Another download failed; this one's result is not wanted any more."""


@dataclass(frozen=True)
class Limits:
    """totalBytes: of all files together. seconds: of all downloads. stallSeconds: silence that counts as a broken connection.
    publicOnly: servers on public addresses alone are asked."""

    totalBytes: int
    seconds: int
    connections: int
    stallSeconds: int
    publicOnly: bool = False


@dataclass(frozen=True)
class Wanted:
    """A thing to fetch. resource: its path in stage.json. name: how messages call it. status: Ocean's number for its failure."""

    resource: str
    name: str
    status: int

    def failed(self, message: str) -> StageError:
        return StageError(f"{self.name}: {message}", self.resource, self.status)


@dataclass(frozen=True)
class Download(Wanted):
    """One file to fetch."""

    source: Source
    target: str
    mode: int

    @property
    def part(self) -> str:
        return self.target + ".part"


class Budget:
    """The bytes that all downloads of a job may take together. A file claims its whole length as soon as that is known."""

    def __init__(self, total: int):
        self.total = total
        self._claims: dict[str, int] = {}
        self._lock = threading.Lock()

    def claim(self, name: str, size: int) -> bool:
        """Note that `name` takes `size` bytes in all, instead of what it claimed before; False when the total does not allow it."""
        with self._lock:
            rest = self.total - sum(self._claims.values()) + self._claims.get(name, 0)
            if size > rest:
                return False
            self._claims[name] = size
            return True


def volume_error(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "no space is left on the job's volume; the environment's disk is too small for this job"
    return f"the job's volume cannot be written ({error.strerror})"


@dataclass
class Partial:
    """What of a file is on the disk, and of which version of it."""

    fd: int
    checked: bool
    offset: int = 0
    total: int | None = None
    validator: tuple[str, str] | None = None  # the header that names the version, and its value
    digest: "hashlib._Hash | None" = None

    def restart(self) -> None:
        os.ftruncate(self.fd, 0)
        os.lseek(self.fd, 0, os.SEEK_SET)
        self.offset, self.total, self.validator = 0, None, None
        self.digest = hashlib.sha256() if self.checked else None

    def resumable(self) -> bool:
        """Whether the rest may be asked for: two versions of a file must never be joined, unless a checksum would show it."""
        return self.offset > 0 and (self.validator is not None or self.checked)

    def append(self, data: memoryview) -> None:
        if self.digest is not None:
            self.digest.update(data)
        while data:
            try:
                written = os.write(self.fd, data)
            except OSError as error:
                raise Refused(volume_error(error)) from None
            self.offset += written
            data = data[written:]


@dataclass
class Session:
    """What the downloads of one job share."""

    limits: Limits
    log: StageLog
    budget: Budget
    started: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)
    received: dict[str, tuple[int, int | None]] = field(default_factory=dict)  # of each file that is being fetched: bytes, bytes in all
    running: dict[str, Wanted] = field(default_factory=dict)  # what is being fetched, by name
    _tls: ssl.SSLContext | None = None
    _tls_lock: threading.Lock = field(default_factory=threading.Lock)

    def seconds_left(self) -> float:
        return self.started + self.limits.seconds - time.monotonic()

    def tls(self) -> ssl.SSLContext:
        with self._tls_lock:  # reading the system's certificates takes 20 ms; once is enough
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls


# --- one request ------------------------------------------------------------------------------------------------------------------


def split_url(url: str) -> SplitResult:
    """The parts of an http or https URL. Raises Refused, without the URL in it, when it is none."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is not a number
    except ValueError:
        raise Refused("the url is not valid") from None
    if parts.scheme not in ("http", "https"):
        raise Refused("the url must start with http:// or https://")
    if not parts.hostname:
        raise Refused("the url has no host")
    return parts


def origin(parts: SplitResult) -> tuple[str, str, int]:
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def request_target(parts: SplitResult) -> str:
    """Path and query as they go on the wire; what may not stand there (a space, a non-ASCII letter) is percent-encoded."""
    safe = "%!$&'()*+,;=:@/?~-._[]|"
    return quote(parts.path or "/", safe=safe) + ("?" + quote(parts.query, safe=safe) if parts.query else "")


def credentials(parts: SplitResult) -> dict[str, str]:
    """The Authorization header that https://user:password@host/ stands for."""
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": "Basic " + b64encode(pair.encode()).decode()}


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (a number or a date), at most LONGEST_PAUSE."""
    if not value:
        return None
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), LONGEST_PAUSE)


def validator(headers: "http.client.HTTPMessage") -> tuple[str, str] | None:
    """The header that If-Range may use: a strong ETag, else Last-Modified (RFC 9110, 13.1.5)."""
    tag = headers.get("ETag")
    if tag and tag.startswith('"'):
        return "ETag", tag
    date = headers.get("Last-Modified")
    return ("Last-Modified", date) if date else None


def content_length(response: http.client.HTTPResponse) -> int | None:
    """Bytes of the body, or None where the server does not say (or says it with chunks)."""
    value = response.headers.get("Content-Length")
    if value is None or response.chunked:
        return None
    if not (value.isascii() and value.isdigit()):
        raise Broken("the server gave a Content-Length that is not a number")
    return int(value)


def connect(parts: SplitResult, session: Session) -> http.client.HTTPConnection:
    _, host, port = origin(parts)
    timeout = max(0.1, min(CONNECT_SECONDS, session.limits.stallSeconds, session.seconds_left()))
    tls = session.tls() if parts.scheme == "https" else None
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    if tls:
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=tls)
    if session.limits.publicOnly:
        try:
            sock = addresses.connected(host, port, timeout)
        except addresses.NotPublic:
            raise Refused("the server is not on a public address") from None
        try:
            connection.sock = tls.wrap_socket(sock, server_hostname=host) if tls else sock
        except BaseException:
            sock.close()
            raise
    return connection


def send(request: Request, own_headers: dict[str, str], session: Session) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send a request and follow redirects, to http and https only. The asset's headers go to the first origin and nowhere else.

    Raises Refused for what no other attempt would change, OSError or HTTPException for a connection that did not work.
    """
    parts = split_url(request.url)
    first = origin(parts)
    method = request.method
    secrets = {**credentials(parts), **request.headers}
    for _ in range(REDIRECTS + 1):
        connection = connect(parts, session)
        try:
            headers = {
                "Accept": "*/*",
                "User-Agent": "c2d-configure",
                **secrets,
                **own_headers,
                "Accept-Encoding": "identity",
                "Connection": "close",
            }
            connection.request(method, request_target(parts), body=request.body if method == "POST" else None, headers=headers)
            connection.sock.settimeout(max(0.1, min(session.limits.stallSeconds, session.seconds_left())))
            response = connection.getresponse()
        except BaseException:
            connection.close()
            raise
        if response.status not in (301, 302, 303, 307, 308):
            return connection, response
        location = response.headers.get("Location")
        connection.close()
        if not location:
            raise Refused(f"the server answered {response.status} without a Location")
        try:
            parts = split_url(urljoin(parts.geturl(), location))
        except (ValueError, Refused):
            raise Refused("the server redirects to something that is not an http or https url") from None
        if origin(parts) != first:
            secrets = {}  # and they stay away, even if a later redirect leads back
        if response.status == 303 or (response.status in (301, 302) and method == "POST"):
            method = "GET"
    raise Refused(f"the server redirects more than {REDIRECTS} times")


def describe(error: Exception, seconds: int) -> str:
    """A connection's failure in words that hold no address: the texts of these exceptions often do."""
    match error:
        case ssl.SSLCertVerificationError():
            return "the server's TLS certificate is not valid"
        case ssl.SSLError():
            return "the TLS connection failed"
        case TimeoutError():
            return f"the server sent nothing for {seconds} s"
        case socket.gaierror():
            return "the host name was not found"
        case ConnectionRefusedError():
            return "the connection was refused"
        case http.client.InvalidURL():
            return "the url is not valid"
        case OSError() | http.client.IncompleteRead() | http.client.RemoteDisconnected():
            return "the connection broke"
        case _:
            return "the server's answer is not HTTP"


def failure(error: Exception, session: Session) -> Broken | Refused:
    """What a connection's failure means: Refused where no other attempt would help."""
    if isinstance(error, UnicodeError):  # a host name that IDNA does not allow
        return Refused("the url is not valid")
    if isinstance(error, (ssl.SSLCertVerificationError, http.client.InvalidURL)):
        return Refused(describe(error, 0))
    return Broken(describe(error, session.limits.stallSeconds))


# --- a small answer ---------------------------------------------------------------------------------------------------------------


def read_small(request: Request, own_headers: dict[str, str], most: int, session: Session) -> bytes:
    """One request for a body of at most `most` bytes. Raises Broken when it may be repeated, Refused when not."""
    try:
        connection, response = send(request, own_headers, session)
        try:
            if response.status == 429 or response.status >= 500:
                pause = retry_after(response.headers.get("Retry-After"), time.time())
                raise Broken(f"the server answered {response.status}", pause)
            if response.status != 200:
                raise Refused(f"the server answered {response.status}, 200 is needed", response.status)
            wanted = content_length(response)
            body = b""
            while len(body) <= most and (data := response.read1(BUFFER)):
                if session.cancelled.is_set():
                    raise Cancelled
                body += data
        finally:
            response.close()
            connection.close()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise failure(error, session) from None
    if len(body) > most or (wanted or 0) > most:
        raise Refused(f"the answer has more than {most} bytes")
    if wanted is not None and len(body) < wanted:
        raise Broken(f"the connection ended after {len(body)} of {wanted} bytes")
    return body


def fetch_small(wanted: Wanted, request: Request, own_headers: dict[str, str], most: int, session: Session) -> bytes:
    """A body of at most `most` bytes, with as many attempts as a file has. Raises Refused, or Cancelled when a download failed."""
    for failures in range(1, ATTEMPTS + 1):
        try:
            return read_small(request, own_headers, most, session)
        except Broken as error:
            if failures == ATTEMPTS:
                raise Refused(f"{error} (given up after {ATTEMPTS} attempts)") from None
            pause = BACK_OFF * 2 ** (failures - 1) if error.pause is None else error.pause
            session.log.line(f"{wanted.name}: {error}; again in {pause:g} s")
            if session.cancelled.wait(pause):
                raise Cancelled from None
    raise AssertionError("the last attempt returns or raises")


# --- one file ---------------------------------------------------------------------------------------------------------------------


def accept(response: http.client.HTTPResponse, partial: Partial, asked: bool) -> bool:
    """Make `partial` ready for the body of `response`; `asked`: for the rest of a file. False: the file is already complete.

    Raises Broken when another attempt is due, Refused when none would help.
    """
    status, headers = response.status, response.headers
    if status == 200:  # also the answer of a server that knows no Range, or has another version by now
        partial.restart()
        partial.validator = validator(headers)
        partial.total = content_length(response)
        return True
    if status == 206 and asked:
        match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
        start, end, total = (match[1], match[2], match[3]) if match else ("", "", "*")
        size = int(total) if total != "*" else partial.total
        same = partial.validator is None or headers.get(partial.validator[0]) in (None, partial.validator[1])
        if start == str(partial.offset) and same and (partial.total in (None, size)) and (size is None or int(end) == size - 1):
            partial.total = int(end) + 1
            return True
        partial.restart()
        raise Broken("the server answered another part than was asked for")
    if status == 416 and asked:
        match = re.fullmatch(r"bytes \*/(\d+)", headers.get("Content-Range", "").strip())
        if match and int(match[1]) == partial.offset and partial.total in (None, partial.offset):
            return False
        partial.restart()
        raise Broken("the server answered 416")
    if status == 429 or status >= 500:
        raise Broken(f"the server answered {status}", retry_after(headers.get("Retry-After"), time.time()))
    raise Refused(f"the server answered {status}, 200 is needed", status)


class Progress:
    """A line in the log about one file, at most every LOG_SECONDS."""

    def __init__(self, download: Download, session: Session):
        self.download, self.session = download, session
        self.started = self.last = time.monotonic()

    def update(self, partial: Partial) -> None:
        self.session.received[self.download.name] = (partial.offset, partial.total)
        now = time.monotonic()
        if now - self.last >= LOG_SECONDS:
            self.last = now
            of = f" of {partial.total / 1e6:.1f}" if partial.total is not None else ""
            rate = partial.offset / 1e6 / (now - self.started)
            self.session.log.line(f"{self.download.name}: {partial.offset / 1e6:.1f}{of} MB, {rate:.0f} MB/s")


def read_body(response: http.client.HTTPResponse, partial: Partial, download: Download, session: Session, progress: Progress) -> None:
    """Append the body to the file. What arrived before an error is kept. Raises Broken when the body ends too early."""
    buffer = memoryview(bytearray(BUFFER))
    complete = False
    while not complete:
        filled = 0
        wanted = BUFFER if partial.total is None else min(BUFFER, partial.total - partial.offset)
        try:
            while filled < wanted:
                if session.cancelled.is_set():
                    raise Cancelled
                count = _read_into(response, buffer[filled:wanted])
                if count == 0:
                    complete = True
                    break
                filled += count
        finally:
            if not session.budget.claim(download.name, max(partial.offset + filled, partial.total or 0)):
                raise Refused(f"all files together are larger than {session.limits.totalBytes} bytes (limits.totalBytes)")
            partial.append(buffer[:filled])
            progress.update(partial)
        complete = complete or partial.offset == partial.total
    if partial.total is not None and partial.offset < partial.total:
        raise Broken(f"the connection ended after {partial.offset} of {partial.total} bytes")


def _read_into(response: http.client.HTTPResponse, buffer: memoryview) -> int:
    """What one read of the socket gives; 0 at the end. Straight into the buffer, except for a chunked body."""
    if response.chunked:
        data = response.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)
    # HTTPResponse.readinto() would wait for a full buffer and lose a part of it to an error in between.
    return response.fp.readinto1(buffer) if response.fp is not None and buffer else 0


def attempt(download: Download, partial: Partial, session: Session, progress: Progress) -> None:
    """One request for a file or for the rest of it. Raises Broken when it may be repeated, Refused when not."""
    request = download.source.request()
    asked = request.method == "GET" and partial.resumable()
    own_headers = {}
    if asked:
        own_headers["Range"] = f"bytes={partial.offset}-"
        if partial.validator is not None:
            own_headers["If-Range"] = partial.validator[1]
    try:
        connection, response = send(request, own_headers, session)
        try:
            if accept(response, partial, asked):
                if not session.budget.claim(download.name, partial.total or partial.offset):
                    raise Refused(f"all files together are larger than {session.limits.totalBytes} bytes (limits.totalBytes)")
                read_body(response, partial, download, session, progress)
        finally:
            response.close()
            connection.close()
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise failure(error, session) from None


def fetch(download: Download, session: Session) -> int:
    """Download one file to its place and return its size. Raises StageError, or Cancelled when another download failed."""
    progress = Progress(download, session)
    try:
        fd = os.open(download.part, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, download.mode)
    except OSError as error:
        raise download.failed(volume_error(error)) from None
    try:
        partial = Partial(fd, download.source.checksum is not None)
        partial.restart()
        failures, furthest = 0, 0
        while True:
            try:
                attempt(download, partial, session, progress)
                break
            except Broken as error:
                # A server that drops each connection is fine as long as the file grows; its bytes are limited by `seconds` anyway.
                failures = 1 if partial.offset >= furthest + PROGRESS else failures + 1
                furthest = max(furthest, partial.offset)
                if failures >= ATTEMPTS:
                    raise download.failed(f"{error} (given up after {ATTEMPTS} attempts)") from None
                if not partial.resumable() and partial.offset:
                    partial.restart()
                pause = BACK_OFF * 2 ** (failures - 1) if error.pause is None else error.pause
                session.log.line(f"{download.name}: {error}; again from byte {partial.offset} in {pause:g} s")
                if session.cancelled.wait(pause):
                    raise Cancelled from None
            except Refused as error:
                if error.status is None or not download.source.outdated(error.status):
                    raise download.failed(str(error)) from None
                session.log.line(f"{download.name}: {error}; the server wants a newer request")
        if partial.digest is not None and partial.digest.hexdigest() != download.source.checksum:
            raise download.failed("the content does not have the sha256 that the asset promises")
    finally:
        os.close(fd)
    os.rename(download.part, download.target)
    seconds = time.monotonic() - progress.started
    session.log.line(f"{download.name}: complete, {partial.offset / 1e6:.1f} MB in {seconds:.1f} s")
    return partial.offset


# --- all files --------------------------------------------------------------------------------------------------------------------


Ordered = Callable[[Session], Iterator[Download]]


def fetch_all(downloads: Sequence[Download], limits: Limits, log: StageLog, ordered: Ordered | None = None) -> tuple[int, int]:
    """Download all files; returns their number and their bytes. The first failure ends all; no *.part is left behind.

    `downloads` are fetched `limits.connections` at a time. `ordered` finds more of them as it goes; they are fetched one after the
    other, beside the others. The threads are daemons, for a socket cannot be interrupted: the program ends without them when it has to.
    """
    session = Session(limits, log, Budget(limits.totalBytes))
    waiting = deque(downloads)
    begun: list[Download] = []
    sizes: list[int] = []
    errors: list[BaseException] = []
    changed = threading.Condition()

    def next_waiting() -> Iterator[Download]:
        while True:
            try:
                yield waiting.popleft()
            except IndexError:
                return

    def work(lane: Iterator[Download]) -> None:
        nonlocal active
        try:
            for download in lane:
                if session.cancelled.is_set():
                    return
                with changed:
                    begun.append(download)
                    session.running[download.name] = download
                size = fetch(download, session)
                with changed:
                    sizes.append(size)
                    del session.running[download.name]
        except Cancelled:
            return
        except BaseException as error:
            with changed:
                errors.append(error)
                session.cancelled.set()
                changed.notify()
            return
        with changed:
            active -= 1
            changed.notify()

    lanes = [next_waiting() for _ in range(min(limits.connections, len(downloads)))]
    if ordered is not None:
        lanes.append(ordered(session))
    active = len(lanes)
    try:
        for lane in lanes:
            threading.Thread(target=work, args=(lane,), daemon=True).start()
        with changed:
            changed.wait_for(lambda: errors or not active, timeout=limits.seconds)
            if not errors and active:
                late = next(iter(list(session.running.values())), None)
                if late is None:  # between two of them
                    raise StageError(f"the downloads are not complete after {limits.seconds} s (limits.seconds)")
                got = session.received.get(late.name, (0, None))[0]
                raise late.failed(f"not complete after {limits.seconds} s (limits.seconds); {got / 1e6:.1f} MB of it arrived")
        if errors:
            raise errors[0]
        return len(sizes), sum(sizes)
    finally:
        session.cancelled.set()
        for download in list(begun):
            try:
                os.unlink(download.part)
            except OSError:
                pass
