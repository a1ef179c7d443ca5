"""Decrypts results that are encrypted to the consumer. It needs the files and the consumer's private key, and no network."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from c2d.crypto import ecies, result_files
from c2d.crypto.result_files import HEADER, PREFIX, Decryption
from c2d.errors import DownloadFailed, InvalidSeal, TamperedResult

PREFIX_BYTES = 16 * 1024
"""The longest beginning of an encrypted file that is needed to learn its key and its path."""

CHUNK_BYTES = 1 << 20

Report = Callable[[str], None]
"""Called with a sentence for the user about each step."""


@dataclass(frozen=True)
class EncryptedHead:
    """The beginning of an encrypted file. prefix_bytes: length of the line before the encrypted content."""

    sealed_key: str
    hidden_path: str
    prefix_bytes: int
    header: bytes

    @classmethod
    def parse(cls, beginning: bytes, name: str) -> EncryptedHead:
        """Parses the first PREFIX_BYTES of a file.

        :param name: of the file, for the error.
        :raises DownloadFailed: the file is not encrypted to a consumer.
        """
        line, newline, rest = beginning.partition(b"\n")
        try:
            if not newline:
                raise ValueError("is not a result that was encrypted to a consumer")
            return cls(*result_files.read_prefix(line), len(line) + 1, rest[:HEADER])
        except ValueError as e:
            raise DownloadFailed(f"{name}: {e}") from None

    @classmethod
    def read(cls, file: Path) -> EncryptedHead:
        """:raises DownloadFailed: the file is not encrypted to a consumer."""
        with file.open("rb") as stored:
            return cls.parse(stored.read(PREFIX_BYTES), str(file))

    def open(self, private_key: str, name: str) -> tuple[bytes, str]:
        """The job's key, and the path of the file in the job.

        :raises DownloadFailed: the file is encrypted to another key, or was changed.
        """
        try:
            key = bytes.fromhex(ecies.unseal(private_key, self.sealed_key, ""))
            return key, result_files.open_path(key, self.hidden_path)
        except InvalidSeal:
            raise DownloadFailed(f"{name}: is encrypted to another key") from None
        except (TamperedResult, ValueError, TypeError) as e:
            raise DownloadFailed(f"{name}: {e}") from None

    def matches(self, decrypted: Path, private_key: str) -> bool:
        """Whether ``decrypted`` has the content of this file. The header is derived from the content."""
        key, path = self.open(private_key, decrypted.name)
        return result_files.header_for(key, path, sha256_of(decrypted)) == self.header


def decrypt(file: Path, target: Path, private_key: str) -> None:
    """Decrypts a file to ``target``, completely or not at all.

    :raises DownloadFailed: the file is encrypted to another key, or was changed.
    """
    part = target.with_name(target.name + ".part")
    head = EncryptedHead.read(file)
    key, path = head.open(private_key, str(file))
    try:
        with file.open("rb") as stored, part.open("wb") as decrypted:
            decryption = Decryption(key, path, head.header, result_files.content_size(file.stat().st_size - head.prefix_bytes))
            stored.seek(head.prefix_bytes)
            while chunk := stored.read(CHUNK_BYTES):
                for content in decryption.feed(chunk):
                    decrypted.write(content)
            decryption.end()
        part.replace(target)
    except TamperedResult as e:
        raise DownloadFailed(f"{file}: {e}") from None
    finally:
        part.unlink(missing_ok=True)


def decrypt_all(paths: Iterable[Path], folder: Path | None, private_key: str, report: Report) -> None:
    """Decrypts each file, and every encrypted file below each folder.

    :param folder: where the files go, under their paths in the job; None: each goes beside its encrypted file.
    :raises DownloadFailed: at the first file that cannot be decrypted.
    """
    for path in paths:
        for file in _encrypted_files(path):
            head = EncryptedHead.read(file)
            name = relative_path(head.open(private_key, str(file))[1].removeprefix("data/"))
            target = folder / name if folder else file.with_name(name.rsplit("/", 1)[-1])
            if target.exists():
                if not head.matches(target, private_key):
                    raise DownloadFailed(f"{target}: exists already, with other content; use --to to decrypt {file} to another folder")
                report(f"{target}: is already decrypted")
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            decrypt(file, target, private_key)
            report(f"{target}: decrypted")


def relative_path(name: str) -> str:
    """``name``, which leads to a file below a folder.

    :raises DownloadFailed: it leads elsewhere.
    """
    if any(part in ("", ".", "..") or "\\" in part or "\x00" in part for part in name.split("/")):
        raise DownloadFailed(f"{name!r}: is not the name of a file below a folder")
    return name


def sha256_of(file: Path) -> str:
    """In hex."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _encrypted_files(path: Path) -> list[Path]:
    """The file itself, or all encrypted files below a folder."""
    if not path.exists():
        raise DownloadFailed(f"{path}: does not exist")
    if not path.is_dir():
        return [path]
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and _is_encrypted(file)]
    if not files:
        raise DownloadFailed(f"{path}: contains no result that is encrypted to a consumer")
    return files


def _is_encrypted(file: Path) -> bool:
    with file.open("rb") as content:
        return content.read(len(PREFIX)) == PREFIX
