"""How every stage runs: its paths, its input, its errors, and its answer."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

from c2d.contract import ANSWER_BYTES, INPUT_FAILED, Failure
from c2d.errors import InvalidField
from c2d.shared.records import JsonObject, Record
from c2d_stages.common.log import StageLog, shown

MESSAGE_CHARACTERS = 1000
STAGE_JSON_BYTES = 8 << 20  # a Secret holds at most 1 MiB


class StageError(Exception):
    """The stage has failed. The text is for the owner of the job: it names the field, input or file, never a URL, header or secret.

    resource: the thing at fault, as a path in stage.json ("inputs[1].files[0]"). status: Ocean's job status, if there is one for this.
    """

    def __init__(self, message: str, resource: str | None = None, status: int | None = None):
        super().__init__(message)
        self.resource = resource
        self.status = status


class Stopped(BaseException):
    """SIGTERM arrived. Not an Exception, so that handlers of ordinary errors do not catch it."""


class Paths(NamedTuple):
    """Where a stage finds its files. `root` is empty in a pod."""

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


Work = Callable[[JsonObject, Paths, StageLog], Record]


def run(name: str, work: Work, paths: Paths, begin: Callable[[Paths], None] | None = None) -> int:
    """Run a stage's `work(stage_json, paths, log)`, which returns its answer. Every way out writes an answer. Returns the exit code.

    :param begin: what must happen even if stage.json is wrong.
    """
    os.umask(0o022)
    signal.signal(signal.SIGTERM, _stop)
    # publish publishes its own log: a second run must give the same manifest.
    log = StageLog(f"{paths.data}/adminlogs/{name}.log", repeatable=name == "publish")
    answer: Record
    try:
        if begin is not None:
            begin(paths)
        answer = work(read_stage_json(paths.stage_json), paths, log)
    except StageError as error:
        answer = Failure(status=error.status, resource=error.resource, message=str(error))
    except InvalidField as error:
        answer = Failure(resource=error.field, message=str(error))
    except Stopped:
        answer = Failure(message=f"{name}: stopped before it was complete")
    except MemoryError:
        answer = Failure(message=f"{name}: out of memory")
    except BaseException as error:
        log.line(f"unexpected: {where(error)}")
        answer = Failure(message=f"{name}: unexpected error in the stage itself ({type(error).__name__}); see its log")
    if isinstance(answer, Failure):
        if name == "configure" and answer.status is None:
            answer = replace(answer, status=INPUT_FAILED)
        log.line(f"failed: {shown(answer.message)}")
    else:
        log.line(f"done: {answer_text(answer)}")
    try:
        write_answer(paths.answer, answer_text(answer))
    except OSError as error:
        log.line(f"the answer cannot be written: {error.strerror}")
        return 1
    return 1 if isinstance(answer, Failure) else 0


def read_stage_json(path: str) -> JsonObject:
    """The stage's input. Raises StageError if it is missing or not a JSON object."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read(STAGE_JSON_BYTES))
    except OSError as error:
        raise StageError(f"/c2d/stage.json cannot be read: {error.strerror}", "stage.json") from None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise StageError("/c2d/stage.json must be one JSON object", "stage.json")
    return value


def answer_text(answer: Record) -> str:
    """The answer as JSON of at most ANSWER_BYTES. A long message is cut; nothing else in an answer can grow that long."""
    if not isinstance(answer, Failure):
        return json.dumps(answer.to_json())
    message, length = shown(answer.message), MESSAGE_CHARACTERS
    while True:
        cut = message if len(message) <= length else message[:length] + "..."
        text = json.dumps(replace(answer, message=cut).to_json())
        if len(text) <= ANSWER_BYTES or length < 10:
            return text
        length //= 2


def write_answer(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def where(error: BaseException) -> str:
    """Type and place of an unexpected error. Not its text, which may hold a URL or a name from the data."""
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append(f"{os.path.basename(trace.tb_frame.f_code.co_filename)}:{trace.tb_lineno}")
        trace = trace.tb_next
    number = f" (errno {error.errno})" if isinstance(error, OSError) else ""
    return f"{type(error).__name__}{number} at {' > '.join(places[-4:])}"


def _stop(signum: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the clean-up
    raise Stopped
