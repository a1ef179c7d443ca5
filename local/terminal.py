"""How the stack's commands talk to a person: progress, errors, and what Ctrl-C does."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from local.home import StackError, home


class Progress:
    """What is happening now, on stderr: one line that is overwritten on a terminal, otherwise a line for each change."""

    def __init__(self) -> None:
        self.shown = ""
        self.terminal = sys.stderr.isatty()

    def show(self, text: str) -> None:
        if text != self.shown:
            self.shown = text
            print(f"\r\033[K{text}" if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self.terminal and self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        self.shown = ""


def run(command: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code. An error that the user can fix is printed as a message, without a stack trace."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        code = command()
    except StackError as error:
        print(error, file=sys.stderr)
        code = 1
    except OSError as error:
        print(f"{error.strerror or error}: {error.filename or home().path}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        code = 130
    raise SystemExit(code)


def _interrupt(*_: object) -> None:
    """SIGTERM ends a command in the same way as Ctrl-C, so that it stops what it has started."""
    raise KeyboardInterrupt


def display_path(path: Path) -> str:
    """A path for a message: relative if it is below the current folder."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM in the block: a second Ctrl-C must not prevent the clean-up that the first one has begun."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
