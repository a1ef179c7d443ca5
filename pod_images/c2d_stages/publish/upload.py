"""Uploads over HTTP: connections that stay open, bodies in pieces, and attempts with growing pauses until the store is back."""

import http.client
import random
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

from c2d_stages.common.stage import StageError
from c2d_stages.common.transfer import PermanentError, TransientError, connection_error, retry_after, split_url
from c2d_stages.publish.store import Run

STALL_SECONDS = 120  # silence that counts as a broken connection; a store that completes a large upload takes its time
ANSWER_BYTES = 64 << 20
BACK_OFF = 0.25  # seconds; doubled at each attempt
LONGEST_PAUSE = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Client:
    """Requests to one origin. Each thread has a connection of its own, which stays open."""

    def __init__(self, url: str):
        self._parts = split_url(url)
        self._threads = threading.local()
        self._tls = tls_for(self._parts)

    def request(
        self, method: str, target: str, headers: Mapping[str, str], length: int = 0, pieces: Iterable[bytes | memoryview] = ()
    ) -> Answer:
        """Send a body of `length` bytes and read the answer. Raises TransientError or PermanentError, without an address in the text."""
        connection = self._connection()
        answered_early = False
        try:
            connection.putrequest(method, target, skip_accept_encoding=True)
            for name, value in {"Content-Length": str(length), "User-Agent": "c2d-publish", **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                for piece in pieces:
                    connection.send(piece)
            except (BrokenPipeError, ConnectionResetError):
                answered_early = True  # before it has read all: the answer says why
            response = connection.getresponse()
            body = response.read(ANSWER_BYTES)
            if response.will_close or answered_early or not response.isclosed():
                connection.close()
            return Answer(response.status, response.headers, body)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            connection.close()
            raise connection_error(error, STALL_SECONDS) from None
        except BaseException:
            connection.close()
            raise

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._threads, "connection", None)
        if connection is None or connection.sock is None:
            connection = self._threads.connection = connection_to(self._parts, self._tls)
        return connection


def tls_for(parts: SplitResult) -> ssl.SSLContext | None:
    return ssl.create_default_context() if parts.scheme == "https" else None


def connection_to(parts: SplitResult, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
    """A connection that is made when it is first used."""
    host, port = parts.hostname or "", parts.port
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port, timeout=STALL_SECONDS, context=tls or tls_for(parts))
    return http.client.HTTPConnection(host, port, timeout=STALL_SECONDS)


def judged(answer: Answer, again: Iterable[str] = (), code: str = "") -> Answer:
    """The answer, if it is a success. Raises TransientError if another attempt may help, else PermanentError.

    :param code: the store's own word for the failure.
    :param again: the codes that another attempt may change.
    """
    if answer.status < 300:
        return answer
    text = f"the store answered {answer.status}" + (f" ({code})" if code else "")
    if answer.status >= 500 or answer.status in (408, 429) or code in again:
        raise TransientError(text, retry_after(answer.headers.get("Retry-After"), time.time()))
    raise PermanentError(text, answer.status)


def persistently(work: Callable[[], T], what: str, run: Run) -> T:
    """The value of `work()`, which is tried again after a TransientError until it has failed for limits.retrySeconds. Raises StageError."""
    begun, pause = time.monotonic(), BACK_OFF
    while True:
        run.check()
        try:
            return work()
        except PermanentError as error:
            raise StageError(f"store: {what}: {error}", "store") from None
        except TransientError as error:
            seconds = error.pause if error.pause is not None else pause * random.uniform(0.75, 1.25)
            if time.monotonic() + seconds - begun > run.limits.retrySeconds:
                given_up = f"given up after {run.limits.retrySeconds} s of attempts"
                raise StageError(f"store: {what}: {error}; {given_up}", "store") from None
            run.log.line(f"store: {what}: {error}; again in {seconds:.1f} s")
            time.sleep(seconds)
            pause = min(pause * 2, LONGEST_PAUSE)


def in_parallel(works: Iterable[Callable[[], T]], connections: int) -> list[T]:
    """The values of all works, in order. The first failure ends the others."""
    sys.setswitchinterval(0.0005)  # with the default, 5 ms, a busy thread delays those whose answers have arrived
    pool = ThreadPoolExecutor(connections)
    try:
        futures: list[Future[T]] = [pool.submit(work) for work in works]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future in done:
                future.result()
        return [future.result() for future in futures]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def target_of(url: str) -> str:
    """Path and query of a URL, unchanged: a signature covers them."""
    parts = urlsplit(url)
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
