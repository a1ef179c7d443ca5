"""A job's published files, read: any part of any file, decrypted, from the store where it lies, in constant memory."""

from __future__ import annotations

import functools
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from c2d.contract import ManifestEntry, is_admin_log
from c2d.crypto.result_files import Decryption, header_for
from c2d.database.jobs import JobRow
from c2d.errors import InvalidSeal, InvalidSettings, ResultNotReadable, TamperedResult
from c2d.jobs.ids import object_name
from c2d.results.keys import key_of
from c2d.settings.installation import Environment, Settings

PIECE = 1 << 20
CLIENT_SECONDS = 600
CONNECT_SECONDS, READ_SECONDS = 5, 30  # that a store may be silent


GONE = "the result is not in the store any more"
CHANGED = "the result in the store is not what was published"
EXPIRED = "the results of this job have expired and were removed"


@dataclass(frozen=True)
class Reader:
    """A job's published files.

    :param keys: the job's :meth:`c2d.database.jobs.JobRepository.result_keys`.
    """

    settings: Settings
    row: JobRow
    keys: dict[str, str] | None

    def read(self, file: ManifestEntry, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """The bytes ``first`` up to ``last`` (not included) of a file of the manifest, as it is :func:`c2d.results.keys.client_file`.

        Closing the iterator ends the request to the store.

        :raises ResultNotReadable: before the first piece; or later, if the store fails or the file was changed. No wrong byte comes out.
        """
        if self.row.removed:
            raise ResultNotReadable(410, EXPIRED)
        try:
            key = key_of(file, self.keys, self.settings.OPERATOR_PRIVATE_KEY, self.row.jobId)
        except LookupError:
            raise ResultNotReadable(410, EXPIRED) from None
        except InvalidSeal:
            raise ResultNotReadable(502, "the key of these results was sealed to another OPERATOR_PRIVATE_KEY than this one") from None
        if key is None:
            size = file.in_store.size
            yield from self._stored(file, first, (size if last is None else min(last, size)) - first)
            return
        header = header_for(key, file.path, file.sha256)
        decryption = Decryption(key, file.path, header, file.size, first, last)
        try:
            for piece in self._stored(file, decryption.offset, decryption.length):
                yield from decryption.feed(piece)
            decryption.end()
        except TamperedResult:
            raise ResultNotReadable(502, CHANGED) from None

    def _stored(self, file: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
        """Stored bytes, exactly as many as are asked for."""
        left = length
        # No request where nothing is asked for: no store serves an empty range.
        for piece in self._pieces(file, offset, length) if length else ():
            left -= len(piece)
            if left < 0:
                break
            yield piece
        if left:
            raise ResultNotReadable(502, "the store did not give the whole result; try again", again=True)

    def _pieces(self, file: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
        stores = self.row.stores or {}
        place = (stores.get("adminLogs") if is_admin_log(file.type) else None) or stores.get("results") or {"type": "directory"}
        folder = object_name(self.row.jobId)
        if place["type"] == "directory":
            return _directory(self.settings.C2D_RESULTS_PATH / folder, file, offset, length)
        try:
            env = self.settings.environment(self.row.environment)
        except InvalidSettings:
            raise ResultNotReadable(
                502, f"environment {self.row.environment}, whose store has the result, is not in the settings"
            ) from None
        if place["type"] == "ipfs":
            return _ipfs(env, place["api"], file, offset, length)
        return _s3(env, place["bucket"], folder, file, offset, length)


def _directory(folder: Path, file: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    path = regular_below(folder, file.in_store.path)
    if path is None or path.stat().st_size != file.in_store.size:
        raise ResultNotReadable(404, GONE)
    with path.open("rb", buffering=0) as opened:
        opened.seek(offset)
        while length and (piece := opened.read(min(PIECE, length))):
            length -= len(piece)
            yield piece


def _s3(env: Environment, bucket: str, folder: str, file: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    wanted = {"Bucket": bucket, "Key": f"{folder}/{file.in_store.path}", "Range": f"bytes={offset}-{offset + length - 1}"}
    if file.etag:
        wanted["IfMatch"] = f'"{file.etag}"'
    try:
        body = _s3_client(env, int(time.monotonic() // CLIENT_SECONDS)).get_object(**wanted)["Body"]
        try:
            while piece := body.read(PIECE):
                yield piece
        finally:
            body.close()
    except ClientError as e:
        code = str(e.response.get("Error", {}).get("Code"))
        if code in ("NoSuchKey", "404", "InvalidRange"):
            raise ResultNotReadable(404, GONE) from None
        if code in ("PreconditionFailed", "412"):
            raise ResultNotReadable(502, CHANGED) from None
        raise ResultNotReadable(502, f"the store of the results refuses ({code})") from None
    except (BotoCoreError, HTTPClientError, OSError) as e:
        raise ResultNotReadable(502, f"the store of the results does not answer ({type(e).__name__}); try again", again=True) from None


@functools.lru_cache(maxsize=16)
def _s3_client(env: Environment, period: int) -> Any:
    """Kept, for making one takes longer than most downloads; not for ever, for a connection's keys may be changed."""
    from c2d.hooks.s3 import client_of

    waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"mode": "standard", "max_attempts": 2}}
    return client_of(env, max_pool_connections=64, **waits)


def _ipfs(env: Environment, api: str, file: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    """By the node's ``cat``: a part of a file, and bytes that are the CID's or none."""
    from urllib3.exceptions import HTTPError

    from c2d.hooks.ipfs import node_of

    node, headers = node_of(env, api)
    # The node that has pinned it need not look for it elsewhere: what is gone is said at once.
    offline = "&offline=true" if node == api else ""
    command = f"{node}/api/v0/cat?arg={quote(str(file.cid))}&offset={offset}&length={length}{offline}"
    try:
        answer = _connections().request("POST", command, headers=headers, preload_content=False, redirect=False, retries=False)
        try:
            if answer.status != 200:
                told = answer.read(4096, decode_content=False)
                if b"not found" in told or b"could not find" in told:
                    raise ResultNotReadable(404, GONE)
                raise ResultNotReadable(502, f"the store of the results refuses ({answer.status})")
            while piece := answer.read(PIECE, decode_content=False):
                yield piece
        finally:
            answer.close()
    except (HTTPError, OSError) as e:
        raise ResultNotReadable(502, f"the store of the results does not answer ({type(e).__name__}); try again", again=True) from None


@functools.cache
def _connections() -> Any:
    import urllib3

    return urllib3.PoolManager(maxsize=64, timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS))


def regular_below(folder: Path, path: str) -> Path | None:
    """The regular file at ``path`` below ``folder``; None where there is none, or where a symbolic link is on the way."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    at = folder
    for n, part in enumerate(parts):
        at = at / part
        try:
            mode = os.lstat(at).st_mode
        except OSError:
            return None
        if not (stat.S_ISREG(mode) if n == len(parts) - 1 else stat.S_ISDIR(mode)):
            return None
    return at
