"""What the downloads of one job share: limits, the log, and the sign to stop."""

import ssl
import threading
import time
from dataclasses import dataclass, field

from c2d.contract import ConfigureLimits
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import StageError

STALL_SECONDS = 30


class Cancelled(Exception):
    """Another download failed, so nobody needs this one."""


@dataclass(frozen=True)
class Subject:
    """What an error is about. resource: its path in stage.json. label: its name in messages. status: Ocean's status for its failure."""

    resource: str
    label: str
    status: int

    def failed(self, message: str) -> StageError:
        return StageError(f"{self.label}: {message}", self.resource, self.status)


class Budget:
    """The bytes that all downloads of a job may take. A file claims its whole length as soon as that is known."""

    def __init__(self, total: int):
        self._total = total
        self._claims: dict[str, int] = {}
        self._lock = threading.Lock()

    def claim(self, label: str, size: int) -> bool:
        """Claim `size` bytes in place of what `label` has claimed before. False if the total does not allow it."""
        with self._lock:
            left = self._total - sum(self._claims.values()) + self._claims.get(label, 0)
            if size > left:
                return False
            self._claims[label] = size
            return True


@dataclass
class Session:
    """One run of configure."""

    limits: ConfigureLimits
    log: StageLog
    started: float = field(default_factory=time.monotonic)
    cancelled: threading.Event = field(default_factory=threading.Event)
    running: dict[str, Subject] = field(default_factory=dict)  # what is being fetched, by label
    received: dict[str, int] = field(default_factory=dict)  # bytes so far, by label
    _tls: ssl.SSLContext | None = None
    _tls_lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.budget = Budget(self.limits.totalBytes)
        self.stall_seconds = self.limits.stallSeconds or STALL_SECONDS

    def seconds_left(self) -> float:
        return self.started + self.limits.seconds - time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Raises Cancelled if the downloads end meanwhile."""
        if self.cancelled.wait(seconds):
            raise Cancelled

    def tls(self) -> ssl.SSLContext:
        with self._tls_lock:  # reading the system's certificates takes 20 ms, so only once
            if self._tls is None:
                self._tls = ssl.create_default_context()
            return self._tls
