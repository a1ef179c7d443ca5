"""``c2d results``: a job's results listed, downloaded and verified, and those that only the consumer can read decrypted.

Who may read what: the operator all that is not encrypted to the consumer, from the stores themselves; a Provider and a consumer what the
APIs give them, with their own key; and whoever has a file and the consumer's private key needs nothing else (:func:`decrypt`).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from c2d.contract import folder_of
from c2d.crypto import ecies, result_files
from c2d.crypto.result_files import HEADER, PREFIX, SUFFIX, Decryption
from c2d.errors import DownloadFailed, DownloadInterrupted, InvalidSeal, TamperedResult

PREFIX_BYTES = 16 * 1024
PIECE = 1 << 20
ATTEMPTS = 6
KEY = r"(0x)?[0-9a-fA-F]{64}"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Result:
    """path: ``outputs/sub/a.csv``, ``logs/...`` or ``adminlogs/...``; size: in bytes, as it comes."""

    index: int
    path: str
    size: int
    type: str


class Source(Protocol):
    """Where results come from."""

    def list(self) -> list[Result]: ...

    def sha256(self, index: int) -> str:
        """Of a whole result. :raises DownloadFailed, DownloadInterrupted:"""

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        """The sha256 of a whole result, and its bytes from ``first`` on; closing them ends the request.

        :raises DownloadFailed, DownloadInterrupted: also while the bytes are read.
        """


def path_of(filename: str, kind: str) -> str:
    """Where a result goes on this disk.

    :raises DownloadFailed: its name leads elsewhere.
    """
    parts = filename.split("/")
    if any(p in ("", ".", "..") or "\\" in p or "\x00" in p for p in parts):
        raise DownloadFailed(f"{filename!r}: is no name for a file below a folder")
    return f"{folder_of(kind)}/{filename}"


def download(source: Source, result: Result, folder: Path, private_key: str | None, say: Say) -> None:
    """One result to ``folder``, under its path; goes on where a former run ended. What is there already and right is left alone.

    :param private_key: the consumer's: what is encrypted to it is decrypted too.
    :raises DownloadFailed:
    """
    target = folder / result.path
    clear = target.with_name(target.name.removesuffix(SUFFIX))
    if private_key and clear != target and clear.exists() and _head(source, result).is_of(clear, private_key):
        say(f"{result.path}: is there already, decrypted")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _fetch(source, result, target, say)
    say(f"{result.path}: {result.size} bytes, verified")
    if private_key and clear != target:
        decrypt(target, clear, private_key)
        target.unlink()
        say(f"{result.path}: decrypted")


def _fetch(source: Source, result: Result, target: Path, say: Say) -> None:
    part = target.with_name(target.name + ".part")
    if target.exists():
        target.replace(part)  # a former run's: looked at again, and left where it is right
    failures = 0
    while True:
        had = part.stat().st_size if part.exists() else 0
        resumed = 0 < had <= result.size
        try:
            sha256 = _append(source, result, part, had if resumed else 0)
        except DownloadInterrupted as e:
            failures = 1 if part.exists() and part.stat().st_size > had else failures + 1
            if failures == ATTEMPTS:
                raise DownloadFailed(f"{result.path}: {e}; run the same again to go on from here") from None
            say(f"{result.path}: {e}; goes on in {2**failures} s")
            time.sleep(2**failures)
            continue
        if _sha256(part) == sha256:
            part.replace(target)
            return
        part.unlink()
        if not resumed:
            raise DownloadFailed(f"{result.path}: what came is not what was published (sha256)")
        say(f"{result.path}: what was here is not what was published; from the beginning")


def _append(source: Source, result: Result, part: Path, first: int) -> str:
    """Brings the bytes from ``first`` on to the end of ``part``; returns the sha256 that the whole must have."""
    if part.exists() and part.stat().st_size == result.size:
        return source.sha256(result.index)
    with part.open("ab" if first else "wb") as file:
        sha256, pieces = source.open(result.index, first)
        for piece in pieces:
            file.write(piece)
        return sha256


# -- results that are encrypted to the consumer -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """The beginning of a file that is encrypted to a consumer. length: of the prefix."""

    sealed_key: str
    hidden_path: str
    length: int
    header: bytes

    @classmethod
    def of(cls, beginning: bytes, name: str) -> Head:
        line, end, rest = beginning.partition(b"\n")
        try:
            if not end:
                raise ValueError("is not a result that was encrypted to a consumer")
            return cls(*result_files.read_prefix(line), len(line) + 1, rest[:HEADER])
        except ValueError as e:
            raise DownloadFailed(f"{name}: {e}") from None

    def opened(self, private_key: str, name: str) -> tuple[bytes, str]:
        """The job's key, and the file's path in the job.

        :raises DownloadFailed: it is encrypted to somebody else.
        """
        try:
            key = bytes.fromhex(ecies.unseal(private_key, self.sealed_key, ""))
            return key, result_files.open_path(key, self.hidden_path)
        except InvalidSeal:
            raise DownloadFailed(f"{name}: is encrypted to another key than this one") from None
        except (TamperedResult, ValueError, TypeError) as e:
            raise DownloadFailed(f"{name}: {e}") from None

    def is_of(self, clear: Path, private_key: str) -> bool:
        """Whether ``clear`` has the content of this file: its header is derived from that."""
        key, path = self.opened(private_key, clear.name)
        return result_files.header_for(key, path, _sha256(clear)) == self.header


def _head(source: Source, result: Result) -> Head:
    beginning = b""
    try:
        with contextlib.closing(source.open(result.index, 0)[1]) as pieces:
            for piece in pieces:
                beginning += piece
                if len(beginning) >= PREFIX_BYTES:
                    break
    except DownloadInterrupted as e:
        raise DownloadFailed(f"{result.path}: {e}") from None
    return Head.of(beginning[:PREFIX_BYTES], result.path)


def decrypt(file: Path, to: Path, private_key: str) -> None:
    """Writes the content of a file that is encrypted to the consumer to ``to``: all of it, or nothing.

    :raises DownloadFailed: it is encrypted to another key, or was changed.
    """
    part = to.with_name(to.name + ".part")
    try:
        with file.open("rb") as stored:
            head = Head.of(stored.read(PREFIX_BYTES), str(file))
            key, path = head.opened(private_key, str(file))
            size = result_files.content_size(file.stat().st_size - head.length)
            decryption = Decryption(key, path, head.header, size)
            stored.seek(head.length)
            with part.open("wb") as out:
                while piece := stored.read(PIECE):
                    for content in decryption.feed(piece):
                        out.write(content)
            decryption.end()
        part.replace(to)
    except TamperedResult as e:
        raise DownloadFailed(f"{file}: {e}") from None
    finally:
        part.unlink(missing_ok=True)


def decrypt_all(paths: Iterable[Path], to: Path | None, private_key: str, say: Say) -> None:
    """Each file, and each encrypted file below each folder; without network.

    :param to: where they go, under their paths in the job; None: each beside the encrypted one.
    :raises DownloadFailed: for the first that cannot be decrypted.
    """
    for given in paths:
        if not given.exists():
            raise DownloadFailed(f"{given}: does not exist")
        files = [f for f in sorted(given.rglob("*")) if f.is_file() and _begins(f, PREFIX)] if given.is_dir() else [given]
        if not files:
            raise DownloadFailed(f"{given}: holds no result that was encrypted to a consumer")
        for file in files:
            with file.open("rb") as stored:
                head = Head.of(stored.read(PREFIX_BYTES), str(file))
            path = head.opened(private_key, str(file))[1].removeprefix("data/")
            path_of(path, "")
            target = to / path if to else file.with_name(path.rsplit("/", 1)[-1])
            if target.exists():
                if not head.is_of(target, private_key):
                    raise DownloadFailed(f"{target}: exists already, with other content; say with --to where {file} goes")
                say(f"{target}: is there already")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            decrypt(file, target, private_key)
            say(f"{target}: decrypted")


def _begins(file: Path, text: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(text)) == text


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def key_from(variable: str, file: str | None) -> str | None:
    """A private key from a file, else from the environment; never from the command line, which every user of the machine can read.

    :raises DownloadFailed: it is none.
    """
    try:
        text = Path(file).read_text().strip() if file else os.environ.get(variable, "").strip()
    except (OSError, UnicodeDecodeError):
        raise DownloadFailed("--key-file: cannot be read") from None
    if not text:
        return None
    if not re.fullmatch(KEY, text):
        raise DownloadFailed(f"{'--key-file' if file else variable}: must be a private key, 64 hex digits")
    return text


def listing(results: list[Result]) -> str:
    """The results as a table."""
    rows: list[tuple[Any, ...]] = [("index", "bytes", "type", "path"), *((r.index, r.size, r.type, r.path) for r in results)]
    return "\n".join(f"{n!s:>5}  {size!s:>12}  {kind:<15}  {path}" for n, size, kind, path in rows)
