"""A stage's log: lines on stdout and in the job's volume, safe to show whatever names they hold."""

import os
import re
import sys
import time

# C0, DEL and C1 controls, line separators, marks that change the direction of text (Unicode TR 36), and lone surrogates.
# A string, compiled when it is first needed: most texts are printable, which none of these characters is.
_CONTROLS = "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"


def has_controls(text: str) -> bool:
    """Whether a text has characters that could mislead a reader."""
    return not text.isprintable() and re.search(_CONTROLS, text) is not None


def shown(text: str | bytes) -> str:
    """A name as one line of plain text: bytes that are not UTF-8, control characters and line ends become escapes."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return re.sub(_CONTROLS, lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", text)


class StageLog:
    """Writes lines to stdout and to /data/adminlogs/<stage>.log. A log file that cannot be written never fails a stage."""

    def __init__(self, path: str, repeatable: bool = False):
        """
        :param repeatable: the same run writes the same bytes: lines have no times, and a second run replaces the file instead of appending.
        """
        self.repeatable = repeatable
        self.text: list[str] | None = [] if repeatable else None
        self._fd: int | None = None
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(path, flags | (os.O_TRUNC if repeatable else os.O_APPEND), 0o644)
        except OSError as error:
            print(f"no log file: {error.strerror}", flush=True)

    def line(self, text: str) -> None:
        text = shown(text) + "\n"
        if not self.repeatable:
            text = time.strftime("%Y-%m-%dT%H:%M:%SZ ", time.gmtime()) + text
        if self.text is not None:
            self.text.append(text)
        sys.stdout.write(text)
        sys.stdout.flush()
        if self._fd is not None:
            try:
                os.write(self._fd, text.encode())
            except OSError:  # perhaps the volume is full; the line is on stdout
                pass

    def close(self) -> None:
        """Close the file. Later lines go to stdout only."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self.text = None
