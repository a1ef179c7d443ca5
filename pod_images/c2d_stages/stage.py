"""What the three stages share: where things are, the log, the answer, and how a stage ends."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ANSWER_BYTES = 4096  # Kubernetes keeps no more of a termination message
MESSAGE_CHARACTERS = 1000
STAGE_JSON_BYTES = 8 << 20  # a Secret holds 1 MiB; more than that is no stage.json

# C0, DEL and C1 controls, line separators, the marks that turn text around (Unicode TR 36), and lone surrogates.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


class StageError(Exception):
    """A stage cannot go on. The text is for the owner of the job: it names the field, input or file, never a URL, header or secret.

    resource: the thing it is about, as a path in stage.json ("inputs[1].files[0]"); status: Ocean's number, where one exists.
    """

    def __init__(self, message: str, resource: str | None = None, status: int | None = None):
        super().__init__(message)
        self.resource = resource
        self.status = status


class Stopped(BaseException):
    """SIGTERM came. Not an Exception, so that no handler of ordinary errors takes it for one."""


@dataclass(frozen=True)
class Paths:
    """Where a stage finds its things; `root` is empty in a pod."""

    root: str
    answer: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Paths":
        root = environment.get("C2D_ROOT", "").rstrip("/")
        return cls(root, environment.get("C2D_ANSWER") or f"{root}/dev/termination-log")

    @property
    def data(self) -> str:
        return f"{self.root}/data"

    @property
    def stage_json(self) -> str:
        return f"{self.root}/c2d/stage.json"


def shown(text: str | bytes) -> str:
    """A name as one line of plain text: bytes that are not UTF-8, control characters and line ends are escaped."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    return CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", text)


class StageLog:
    """Lines to stdout and to /data/adminlogs/<stage>.log. A log that cannot be written never fails a stage."""

    def __init__(self, path: str, stamped: bool = True, again: bool = True):
        """stamped: each line starts with the time (UTC). again: a second run of the stage adds to the file, else it replaces it."""
        self.stamped = stamped
        self.text: list[str] | None = None if stamped else []
        self._fd: int | None = None
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(path, flags | (os.O_APPEND if again else os.O_TRUNC), 0o644)
        except OSError as error:
            print(f"no log file: {error.strerror}", flush=True)

    def line(self, text: str) -> None:
        text = shown(text) + "\n"
        if self.stamped:
            text = time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text
        if self.text is not None:
            self.text.append(text)
        sys.stdout.write(text)
        sys.stdout.flush()
        if self._fd is not None:
            try:
                os.write(self._fd, text.encode())
            except OSError:  # the volume is full, perhaps: the line is on stdout
                pass

    def close(self) -> None:
        """Later lines go to stdout only."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self.text = None


def answer_text(answer: Mapping[str, Any]) -> str:
    """The answer as JSON of at most ANSWER_BYTES; a message that is too long is cut, as nothing else in an answer grows."""
    message = shown(str(answer["message"])) if "message" in answer else None
    length = MESSAGE_CHARACTERS
    while True:
        if message is not None:
            answer = {**answer, "message": message if len(message) <= length else message[:length] + "..."}
        text = json.dumps(answer)
        if len(text) <= ANSWER_BYTES or message is None or length < 10:
            return text
        length //= 2


def write_answer(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def read_stage_json(path: str, stage: str) -> dict[str, Any]:
    """The stage's input. Raises StageError when it is missing, is not a JSON object, or is another stage's."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(STAGE_JSON_BYTES))
    except OSError as error:
        raise StageError(f"/c2d/stage.json cannot be read: {error.strerror}", "stage.json") from None
    except (ValueError, RecursionError):
        raise StageError("/c2d/stage.json must be one JSON object", "stage.json") from None
    if not isinstance(value, dict):
        raise StageError("/c2d/stage.json must be one JSON object", "stage.json")
    if value.get("stage") != stage:
        raise StageError(f'stage: must be "{stage}", for that is the stage that runs', "stage")
    return value


def where(error: BaseException) -> str:
    """Type and place of an unexpected error. Not its text: that may hold a URL or a name from the data."""
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    number = f" (errno {error.errno})" if isinstance(error, OSError) else ""
    return f"{type(error).__name__}{number} at {' > '.join(places[-4:])}"


def _stop(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise Stopped


Work = Callable[[dict[str, Any], Paths, StageLog], dict[str, Any]]


def run(name: str, work: Work, paths: Paths, begin: Callable[[Paths], None] | None = None) -> int:
    """Run a stage's `work(stage_json, paths, log)`, which gives the answer; returns the exit code. Every way out writes an answer.

    begin: what has to happen even if stage.json is wrong.
    """
    os.umask(0o022)
    signal.signal(signal.SIGTERM, _stop)
    # publish's own log is a part of what it publishes: without times, so that a second run gives the same manifest.
    repeatable = name == "publish"
    log = StageLog(f"{paths.data}/adminlogs/{name}.log", stamped=not repeatable, again=not repeatable)
    try:
        if begin is not None:
            begin(paths)
        answer = {"ok": True, **work(read_stage_json(paths.stage_json, name), paths, log)}
    except StageError as error:
        answer = {"ok": False, "status": error.status, "resource": error.resource, "message": str(error)}
    except Stopped:
        answer = {"ok": False, "message": f"{name}: stopped before it was complete"}
    except MemoryError:
        answer = {"ok": False, "message": f"{name}: out of memory"}
    except BaseException as error:
        log.line(f"unexpected: {where(error)}")
        answer = {"ok": False, "message": f"{name}: an unexpected error of the stage itself ({type(error).__name__}); see its log"}
    answer = {key: value for key, value in answer.items() if value is not None}
    if name == "configure" and not answer["ok"]:
        answer.setdefault("status", 31)
    log.line(f"done: {answer_text(answer)}" if answer["ok"] else f"failed: {answer['message']}")
    try:
        write_answer(paths.answer, answer_text(answer))
    except OSError as error:
        log.line(f"the answer cannot be written: {error.strerror}")
        return 1
    return 0 if answer["ok"] else 1
