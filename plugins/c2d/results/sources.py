"""Where ``c2d results`` downloads from: the stores themselves (the operator), or an API (a Provider or a consumer)."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

from c2d.contract import ManifestEntry
from c2d.crypto.signatures import address_of, sign_hash
from c2d.database.jobs import JobRepository
from c2d.errors import DownloadFailed, DownloadInterrupted, ResultNotReadable
from c2d.results.download import Result
from c2d.results.entries import downloadable
from c2d.results.reader import Reader
from c2d.settings.installation import Settings

if TYPE_CHECKING:
    import httpx

OPERATOR_SERVICE, PROVIDER = "Operator service", "Provider"
TIMEOUT = 60
CHUNK_BYTES = 1 << 20


class StoreSource:
    """The operator's source: the database lists the results, and the stores have them.

    :raises DownloadFailed: there is no such job.
    """

    def __init__(self, settings: Settings, job_id: str):
        jobs = JobRepository(settings.C2D_DATABASE_URL)
        row = jobs.job(job_id)
        if row is None:
            raise DownloadFailed(f"{job_id}: there is no such job")
        self.row, self.reader = row, Reader(settings, row, jobs.result_keys(job_id))

    def list(self) -> list[Result]:
        """:raises DownloadFailed: the results have expired."""
        if self.row.removed:
            raise DownloadFailed(f"{self.row.jobId}: its results have expired and were removed")
        results = []
        for index, entry in enumerate(map(ManifestEntry.trusted, self.row.results)):
            file = downloadable(entry)
            results.append(Result.of(index, file.filename, file.size, entry.type))
        return results

    def sha256(self, index: int) -> str:
        return downloadable(self._entry(index)).sha256

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        return self.sha256(index), self._read(self._entry(index), first)

    def _entry(self, index: int) -> ManifestEntry:
        return ManifestEntry.trusted(self.row.results[index])

    def _read(self, entry: ManifestEntry, first: int) -> Generator[bytes]:
        try:
            yield from self.reader.read(entry, first)
        except ResultNotReadable as e:
            raise (DownloadInterrupted if e.again else DownloadFailed)(e.text) from None


class ApiSource:
    """An API as source. It gives out what the owner of ``private_key`` may read.

    :param url: of an operator-service (``private_key`` is a Provider's, ``owner`` the consumer's address) or of a Provider API
        (``private_key`` is the consumer's).
    :raises DownloadFailed: there is no such API at ``url``.
    """

    def __init__(self, url: str, job_id: str, private_key: str, owner: str | None = None):
        import httpx

        self.url, self.job_id, self._key = url.rstrip("/"), job_id, private_key
        self.client = httpx.Client(timeout=TIMEOUT, follow_redirects=False)
        software = str(self._json(f"{self.url}/").get("software"))
        if software not in (OPERATOR_SERVICE, PROVIDER):
            raise DownloadFailed(
                "--url: must be an operator-service or a Provider of Compute-to-Data, such as https://host/operator-service"
            )
        self.is_provider = software == PROVIDER
        if owner is None and not self.is_provider:
            raise DownloadFailed("--owner: is required with an operator-service: the address of the consumer whose job it is")
        self.owner = owner or address_of(private_key)

    def list(self) -> list[Result]:
        """:raises DownloadFailed: there is no such job, or the API refuses."""
        if self.is_provider:
            jobs = self._json(f"{self.url}/api/services/compute", consumerAddress=self.owner, jobId=self.job_id)
        else:
            jobs = self._json(f"{self.url}/api/v1/operator/compute", **self._signed_by_provider())
        if not isinstance(jobs, list) or not jobs:
            raise DownloadFailed(f"{self.job_id}: there is no such job of {self.owner}")
        results = jobs[0].get("results") or []
        return [Result.of(n, str(r["filename"]), int(r["filesize"]), str(r["type"])) for n, r in enumerate(results)]

    def sha256(self, index: int) -> str:
        sha256, chunks = self.open(index, 0)
        next(chunks, None)  # a generator that has not begun would not close its response
        chunks.close()
        return sha256

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        import httpx

        if self.is_provider:
            url, query = f"{self.url}/api/services/computeResult", self._signed_by_consumer(index)
        else:
            url, query = f"{self.url}/api/v1/operator/getResult", {**self._signed_by_provider(), "index": index}
        headers = {"Range": f"bytes={first}-"} if first else {}
        try:
            response = self.client.send(self.client.build_request("GET", url, params=query, headers=headers), stream=True)
        except httpx.TransportError as e:
            raise DownloadInterrupted(f"the API does not answer ({type(e).__name__})") from None
        if response.status_code != (206 if first else 200):
            response.read()
            response.close()
            try_again = "retry-after" in response.headers or response.status_code in (500, 503, 504)
            raise (DownloadInterrupted if try_again else DownloadFailed)(_error_in(response))
        return response.headers.get("etag", "").strip('"'), _chunks(response)

    def _signed_by_provider(self) -> dict[str, Any]:
        nonce = time.time_ns()
        signature = sign_hash(self._key, f"{self.owner}{self.job_id}{nonce}")
        return {"owner": self.owner, "jobId": self.job_id, "nonce": nonce, "providerSignature": signature}

    def _signed_by_consumer(self, index: int) -> dict[str, Any]:
        last = self._json(f"{self.url}/api/services/nonce", userAddress=self.owner)
        nonce = str(int(last.get("nonce") or 0) + 1)
        signature = sign_hash(self._key, f"{self.owner}{self.job_id}{index}{nonce}")
        return {"consumerAddress": self.owner, "jobId": self.job_id, "index": index, "nonce": nonce, "signature": signature}

    def _json(self, url: str, **query: Any) -> Any:
        import httpx

        try:
            response = self.client.get(url, params=query)
        except (httpx.TransportError, httpx.InvalidURL) as e:
            raise DownloadFailed(f"--url: the API does not answer ({type(e).__name__})") from None
        if response.status_code != 200:
            raise DownloadFailed(_error_in(response))
        try:
            return response.json()
        except ValueError:
            raise DownloadFailed("--url: this is not an API of Compute-to-Data") from None


def _chunks(response: httpx.Response) -> Generator[bytes]:
    import httpx

    try:
        yield from response.iter_raw(CHUNK_BYTES)
    except httpx.TransportError as e:
        raise DownloadInterrupted(f"the connection broke ({type(e).__name__})") from None
    finally:
        response.close()


def _error_in(response: httpx.Response) -> str:
    try:
        body = response.json()
        return f"the API answered {response.status_code}: {body.get('error') or body}"
    except (ValueError, AttributeError):
        return f"the API answered {response.status_code}"
