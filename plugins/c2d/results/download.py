"""Downloads results and verifies them. An interrupted download is resumed.

The operator can read everything that is not encrypted to the consumer, from the stores themselves. Providers and consumers get through the
APIs what these give them, with their own keys (:mod:`c2d.results.sources`).
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from c2d.contract import folder_of
from c2d.crypto.result_files import SUFFIX
from c2d.errors import DownloadFailed, DownloadInterrupted
from c2d.results.decrypt import PREFIX_BYTES, EncryptedHead, Report, decrypt, relative_path, sha256_of

ATTEMPTS = 6
"""Attempts in a row that bring no further byte."""

PRIVATE_KEY = r"(0x)?[0-9a-fA-F]{64}"


@dataclass(frozen=True)
class Result:
    """path: ``outputs/sub/a.csv``, ``logs/...`` or ``adminlogs/...``. size: of what is downloaded, in bytes."""

    index: int
    path: str
    size: int
    type: str

    @classmethod
    def of(cls, index: int, filename: str, size: int, type: str) -> Result:
        """The result in the API's terms.

        :raises DownloadFailed: ``filename`` leads out of the download folder.
        """
        return cls(index, f"{folder_of(type)}/{relative_path(filename)}", size, type)


class Source(Protocol):
    """A place that results are downloaded from."""

    def list(self) -> list[Result]:
        """The job's results.

        :raises DownloadFailed:
        """

    def sha256(self, index: int) -> str:
        """The sha256 of a whole result, in hex.

        :raises DownloadFailed, DownloadInterrupted:
        """

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        """The sha256 of the whole result, and its bytes from ``first`` on. Closing the generator ends the request.

        :raises DownloadFailed, DownloadInterrupted: also while the bytes are read.
        """


def download(source: Source, result: Result, folder: Path, private_key: str | None, report: Report) -> None:
    """Downloads one result to its path below ``folder``. A file that is already there and correct is left alone.

    :param private_key: the consumer's; if given, results that are encrypted to it are decrypted.
    :raises DownloadFailed:
    """
    target = folder / result.path
    decrypted = folder / result.path.removesuffix(SUFFIX)
    key = private_key if result.path.endswith(SUFFIX) else None
    if key and decrypted.exists() and _head(source, result).matches(decrypted, key):
        report(f"{result.path}: is already downloaded and decrypted")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    _fetch(source, result, target, report)
    report(f"{result.path}: {result.size} bytes, verified")
    if key:
        decrypt(target, decrypted, key)
        target.unlink()
        report(f"{result.path}: decrypted")


def _fetch(source: Source, result: Result, target: Path, report: Report) -> None:
    """Downloads to ``target``, and continues the part that an earlier run has left."""
    part = target.with_name(target.name + ".part")
    if target.exists():
        target.replace(part)  # verified again, and not downloaded again if it is correct
    failures = 0
    while True:
        size = _size(part)
        resumed = 0 < size <= result.size
        try:
            sha256 = _append(source, result, part, size if resumed else 0)
        except DownloadInterrupted as e:
            failures = 1 if _size(part) > size else failures + 1
            if failures == ATTEMPTS:
                raise DownloadFailed(f"{result.path}: {e}; run the command again to continue") from None
            report(f"{result.path}: {e}; continuing in {2**failures} s")
            time.sleep(2**failures)
            continue
        if sha256_of(part) == sha256:
            part.replace(target)
            return
        part.unlink()
        if not resumed:
            raise DownloadFailed(f"{result.path}: the download is not what was published (its sha256 differs)")
        report(f"{result.path}: the partial download is not what was published; starting over")


def _append(source: Source, result: Result, part: Path, first: int) -> str:
    """Appends the bytes from ``first`` on to ``part``. Returns the sha256 that the whole file must have."""
    if part.exists() and part.stat().st_size == result.size:
        return source.sha256(result.index)
    with part.open("ab" if first else "wb") as file:
        sha256, chunks = source.open(result.index, first)
        for chunk in chunks:
            file.write(chunk)
        return sha256


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _head(source: Source, result: Result) -> EncryptedHead:
    beginning = b""
    try:
        with contextlib.closing(source.open(result.index, 0)[1]) as chunks:
            for chunk in chunks:
                beginning += chunk
                if len(beginning) >= PREFIX_BYTES:
                    break
    except DownloadInterrupted as e:
        raise DownloadFailed(f"{result.path}: {e}") from None
    return EncryptedHead.parse(beginning[:PREFIX_BYTES], result.path)


# -- for the command line ----------------------------------------------------------------------------------------------------------


def private_key_from(variable: str, file: str | None) -> str | None:
    """A private key from a file, or without one from an environment variable; None if there is none. Never from the command line, which
    every user of the machine can read.

    :raises DownloadFailed: it is not a private key.
    """
    try:
        text = Path(file).read_text().strip() if file else os.environ.get(variable, "").strip()
    except (OSError, UnicodeDecodeError):
        raise DownloadFailed("--key-file: cannot be read") from None
    if not text:
        return None
    if not re.fullmatch(PRIVATE_KEY, text):
        raise DownloadFailed(f"{'--key-file' if file else variable}: must be a private key, 64 hex digits")
    return text


def table(results: list[Result]) -> str:
    """The results as a table with a header."""
    rows = [("index", "bytes", "type", "path"), *((str(r.index), str(r.size), r.type, r.path) for r in results)]
    return "\n".join(f"{index:>5}  {size:>12}  {type:<15}  {path}" for index, size, type, path in rows)
