"""Reads a job's published files from their store: any part of any file, decrypted, in constant memory."""

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
from c2d.errors import InvalidSeal, InvalidSettings, ResultNotReadable, ResultStoreError, TamperedResult, UpstreamUnavailable
from c2d.jobs.ids import object_name
from c2d.results.destinations import VOLUME, Destination
from c2d.results.keys import key_of
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

CHUNK_BYTES = 1 << 20
CLIENT_SECONDS = 600
CONNECT_SECONDS, READ_SECONDS = 5, 30
"""How long a store may be silent."""

GONE = "the result is not in the store any more"
CHANGED = "the result in the store is not what was published"
EXPIRED = "the results of this job have expired and were removed"


@dataclass(frozen=True)
class Reader:
    """A job's published files.

    :param keys: :meth:`c2d.database.jobs.JobRepository.result_keys` of the job.
    """

    settings: Settings
    row: JobRow
    keys: dict[str, str] | None

    def read(self, entry: ManifestEntry, first: int = 0, last: int | None = None) -> Iterator[bytes]:
        """The bytes from ``first`` up to ``last`` (exclusive) of a file as :func:`c2d.results.entries.downloadable` describes it.

        Closing the iterator ends the request to the store.

        :raises ResultNotReadable: before the first chunk, or later if the store fails or the file was changed. No wrong byte is returned.
        """
        if self.row.removed:
            raise ResultNotReadable(410, EXPIRED)
        try:
            key = key_of(entry, self.keys, self.settings.OPERATOR_PRIVATE_KEY, self.row.jobId)
        except LookupError:
            raise ResultNotReadable(410, EXPIRED) from None
        except InvalidSeal:
            raise ResultNotReadable(502, "the key of these results was sealed to another OPERATOR_PRIVATE_KEY than this one") from None
        if key is None:
            size = entry.in_store.size
            yield from self._stored(entry, first, (size if last is None else min(last, size)) - first)
            return
        header = header_for(key, entry.path, entry.sha256)
        decryption = Decryption(key, entry.path, header, entry.size, first, last)
        try:
            for chunk in self._stored(entry, decryption.offset, decryption.length):
                yield from decryption.feed(chunk)
            decryption.end()
        except TamperedResult:
            raise ResultNotReadable(502, CHANGED) from None

    def _stored(self, entry: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
        """Exactly ``length`` stored bytes."""
        remaining = length
        # No store serves an empty range.
        for chunk in self._chunks(entry, offset, length) if length else ():
            remaining -= len(chunk)
            if remaining < 0:
                break
            yield chunk
        if remaining:
            raise ResultNotReadable(502, "the store did not give the whole result; try again", again=True)

    def _chunks(self, entry: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
        destination, folder = self._destination(entry), object_name(self.row.jobId)
        if destination.type == "directory":
            return _from_volume(self.settings.C2D_RESULTS_PATH / folder, entry, offset, length)
        try:
            env = self.settings.environment(self.row.environment)
        except InvalidSettings:
            raise ResultNotReadable(
                502, f"environment {self.row.environment}, whose store has the result, is not in the settings"
            ) from None
        if destination.type == "ipfs":
            return _from_ipfs(env, destination.location, entry, offset, length)
        return _from_s3(env, destination.location, folder, entry, offset, length)

    def _destination(self, entry: ManifestEntry) -> Destination:
        """The store that the job's row names. Rows of early versions name none: these results are on the volume."""
        stores = self.row.stores or {}
        record = (stores.get("adminLogs") if is_admin_log(entry.type) else None) or stores.get("results")
        return Destination.of_record(record) if record else VOLUME


def _from_volume(folder: Path, entry: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    path = regular_file_below(folder, entry.in_store.path)
    if path is None or path.stat().st_size != entry.in_store.size:
        raise ResultNotReadable(404, GONE)
    with path.open("rb", buffering=0) as opened:
        opened.seek(offset)
        while length and (chunk := opened.read(min(CHUNK_BYTES, length))):
            length -= len(chunk)
            yield chunk


def _from_s3(env: Environment, bucket: str, folder: str, entry: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

    request = {"Bucket": bucket, "Key": f"{folder}/{entry.in_store.path}", "Range": f"bytes={offset}-{offset + length - 1}"}
    if entry.etag:
        request["IfMatch"] = f'"{entry.etag}"'
    try:
        body = _s3_client(env, int(time.monotonic() // CLIENT_SECONDS)).get_object(**request)["Body"]
        try:
            while chunk := body.read(CHUNK_BYTES):
                yield chunk
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
        raise _no_answer(e) from None


@functools.lru_cache(maxsize=16)
def _s3_client(env: Environment, period: int) -> Any:
    """Cached, because creating a client takes longer than most downloads.

    :param period: changes every CLIENT_SECONDS, so that changed keys of a connection take effect.
    """
    from c2d.hooks.s3 import s3_client

    limits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": READ_SECONDS, "retries": {"mode": "standard", "max_attempts": 2}}
    return s3_client(env, max_pool_connections=64, **limits)


def _from_ipfs(env: Environment, api_url: str, entry: ManifestEntry, offset: int, length: int) -> Iterator[bytes]:
    """Reads by the file's CID, so the node cannot return other bytes than were published."""
    from urllib3.exceptions import HTTPError

    from c2d.hooks.ipfs import IpfsHook

    try:
        node = IpfsHook.of(env, api_url).reading_node()
    except (UpstreamUnavailable, ResultStoreError) as e:
        raise ResultNotReadable(502, f"the store of the results cannot be used: {e}", again=True) from None
    # The node that pinned the file has it, and need not search the network if it is lost.
    offline = "&offline=true" if node.url == api_url else ""
    command = f"{node.url}/api/v0/cat?arg={quote(str(entry.cid))}&offset={offset}&length={length}{offline}"
    try:
        response = _connections().request("POST", command, headers=node.headers, preload_content=False, redirect=False, retries=False)
        try:
            if response.status != 200:
                error = response.read(4096, decode_content=False)
                if b"not found" in error or b"could not find" in error:
                    raise ResultNotReadable(404, GONE)
                raise ResultNotReadable(502, f"the store of the results refuses ({response.status})")
            while chunk := response.read(CHUNK_BYTES, decode_content=False):
                yield chunk
        finally:
            response.close()
    except (HTTPError, OSError) as e:
        raise _no_answer(e) from None


@functools.cache
def _connections() -> Any:
    import urllib3

    return urllib3.PoolManager(maxsize=64, timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS))


def _no_answer(error: Exception) -> ResultNotReadable:
    return ResultNotReadable(502, f"the store of the results does not answer ({type(error).__name__}); try again", again=True)


def regular_file_below(folder: Path, path: str) -> Path | None:
    """The regular file at ``path`` below ``folder``; None if there is none, or if a symbolic link leads to it."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        return None
    current = folder
    for n, part in enumerate(parts):
        current = current / part
        try:
            mode = os.lstat(current).st_mode
        except OSError:
            return None
        if not (stat.S_ISREG(mode) if n == len(parts) - 1 else stat.S_ISDIR(mode)):
            return None
    return current
