"""All downloads of a job: several at a time, within the job's time, ended by the first failure."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence

from c2d_stages.common.stage import StageError
from c2d_stages.configure.download import Download, fetch
from c2d_stages.configure.session import Cancelled, Session

MOST_CONNECTIONS = 32


def fetch_all(downloads: Sequence[Download], session: Session, one_by_one: Iterator[Download] | None = None) -> tuple[int, int]:
    """Download all files. Returns their number and their bytes. The first failure ends all; no *.part is left behind.

    :param downloads: fetched `limits.connections` at a time.
    :param one_by_one: fetched one after the other, beside the others. The iterator may make requests to find the next one.
    :raises StageError: of the first failure, or because limits.seconds are over.
    """
    lanes = Lanes(session)
    try:
        waiting = deque(downloads)
        for _ in range(min(session.limits.connections, MOST_CONNECTIONS, len(downloads))):
            lanes.start(_taken_from(waiting))
        if one_by_one is not None:
            lanes.start(one_by_one)
        lanes.wait()
        return len(lanes.sizes), sum(lanes.sizes)
    finally:
        lanes.end()


def _taken_from(waiting: deque[Download]) -> Iterator[Download]:
    """What other threads have not taken yet."""
    while True:
        try:
            yield waiting.popleft()
        except IndexError:
            return


class Lanes:
    """Threads that each fetch one download after the other.

    They are daemons, for a socket's read cannot be interrupted: the program may have to end without them.
    """

    def __init__(self, session: Session):
        self.sizes: list[int] = []  # of the complete files
        self._session = session
        self._begun: list[Download] = []
        self._active = 0
        self._error: BaseException | None = None
        self._changed = threading.Condition()

    def start(self, downloads: Iterator[Download]) -> None:
        with self._changed:
            self._active += 1
        threading.Thread(target=self._run, args=(downloads,), daemon=True).start()

    def wait(self) -> None:
        """Wait for all threads. Raises the first error of one, or StageError if the job's time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._error or not self._active, timeout=self._session.limits.seconds)
            if self._error:
                raise self._error
            if self._active:
                raise self._late()

    def end(self) -> None:
        """Stop what still runs, and remove what is not complete."""
        self._session.cancelled.set()
        with self._changed:
            begun = list(self._begun)
        for download in begun:
            with contextlib.suppress(OSError):
                os.unlink(download.part)

    def _run(self, downloads: Iterator[Download]) -> None:
        error: BaseException | None = None
        try:
            for download in downloads:
                self._fetch(download)
        except Cancelled:
            pass
        except BaseException as e:
            error = e
        with self._changed:
            self._active -= 1
            if error and not self._error:
                self._error = error
                self._session.cancelled.set()
            self._changed.notify()

    def _fetch(self, download: Download) -> None:
        label = download.subject.label
        with self._changed:
            if self._session.cancelled.is_set():
                raise Cancelled
            self._begun.append(download)
            self._session.running[label] = download.subject
        size = fetch(download, self._session)
        with self._changed:
            self.sizes.append(size)
            del self._session.running[label]

    def _late(self) -> StageError:
        over = f"after {self._session.limits.seconds} s (limits.seconds)"
        for label, subject in list(self._session.running.items()):
            received = self._session.received.get(label, 0)
            return subject.failed(f"not complete {over}; {received / 1e6:.1f} MB of it arrived")
        return StageError(f"the downloads are not complete {over}")
