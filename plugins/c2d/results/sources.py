"""Where ``c2d results`` gets a job's results from: the stores themselves (the operator), or an API (a Provider, a consumer)."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

from c2d.contract import ManifestEntry
from c2d.crypto.signatures import address_of, sign_hash
from c2d.database.jobs import JobRepository
from c2d.errors import DownloadFailed, DownloadInterrupted, ResultNotReadable
from c2d.results.download import Result, path_of
from c2d.results.keys import client_file
from c2d.results.reader import Reader
from c2d.settings.installation import Settings

OPERATOR_SERVICE, PROVIDER = "Operator service", "Provider"
SECONDS = 60


class Stores:
    """The operator's way: the database says what there is, and the stores have it.

    :raises DownloadFailed: there is no such job.
    """

    def __init__(self, settings: Settings, job_id: str):
        store = JobRepository(settings.C2D_DATABASE_URL)
        row = store.job(job_id)
        if row is None:
            raise DownloadFailed(f"{job_id}: there is no such job")
        self.reader = Reader(settings, row, store.result_keys(job_id))

    def list(self) -> list[Result]:
        if self.reader.row.removed:
            raise DownloadFailed(f"{self.reader.row.jobId}: its results have expired and were removed")
        files = map(ManifestEntry.trusted, self.reader.row.results)
        return [result_of(n, client_file(f).filename, client_file(f).size, f.type) for n, f in enumerate(files)]

    def sha256(self, index: int) -> str:
        return client_file(self._file(index)).sha256

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        return self.sha256(index), self._read(self._file(index), first)

    def _file(self, index: int) -> ManifestEntry:
        return ManifestEntry.trusted(self.reader.row.results[index])

    def _read(self, file: ManifestEntry, first: int) -> Generator[bytes]:
        try:
            yield from self.reader.read(file, first)
        except ResultNotReadable as e:
            raise (DownloadInterrupted if e.again else DownloadFailed)(e.text) from None


class Api:
    """An API's way: what it gives to who signs with ``private_key``.

    :param url: of the operator-service (then the key is a Provider's, and ``owner`` the consumer's address) or of the Provider API (then it
        is the consumer's).
    :raises DownloadFailed: there is no such API.
    """

    def __init__(self, url: str, job_id: str, private_key: str, owner: str | None = None):
        import httpx

        self.url, self.job_id, self._key = url.rstrip("/"), job_id, private_key
        self.client = httpx.Client(timeout=SECONDS, follow_redirects=False)
        self.software = str(self._json(f"{self.url}/").get("software"))
        if self.software not in (OPERATOR_SERVICE, PROVIDER):
            raise DownloadFailed(
                "--url: must be an operator-service or a Provider of Compute-to-Data, such as https://host/operator-service"
            )
        if self.software == OPERATOR_SERVICE and owner is None:
            raise DownloadFailed("--owner: is required with an operator-service: the address of the consumer whose job it is")
        self.owner = owner or address_of(private_key)

    def list(self) -> list[Result]:
        if self.software == PROVIDER:
            status = f"{self.url}/api/services/compute"
            jobs = self._json(status, consumerAddress=self.owner, jobId=self.job_id)
        else:
            jobs = self._json(f"{self.url}/api/v1/operator/compute", **self._signed_by_provider())
        if not isinstance(jobs, list) or not jobs:
            raise DownloadFailed(f"{self.job_id}: there is no such job of {self.owner}")
        results = jobs[0].get("results") or []
        return [result_of(n, str(r["filename"]), int(r["filesize"]), str(r["type"])) for n, r in enumerate(results)]

    def sha256(self, index: int) -> str:
        sha256, pieces = self.open(index, 0)
        for _ in pieces:
            break
        pieces.close()
        return sha256

    def open(self, index: int, first: int) -> tuple[str, Generator[bytes]]:
        import httpx

        if self.software == PROVIDER:
            url, query = f"{self.url}/api/services/computeResult", self._signed_by_consumer(index)
        else:
            url, query = f"{self.url}/api/v1/operator/getResult", {**self._signed_by_provider(), "index": index}
        headers = {"Range": f"bytes={first}-"} if first else {}
        try:
            answer = self.client.send(self.client.build_request("GET", url, params=query, headers=headers), stream=True)
        except httpx.TransportError as e:
            raise DownloadInterrupted(f"the API does not answer ({type(e).__name__})") from None
        if answer.status_code != (206 if first else 200):
            answer.read()
            answer.close()
            again = "retry-after" in answer.headers or answer.status_code in (500, 503, 504)
            raise (DownloadInterrupted if again else DownloadFailed)(_error(answer))
        return answer.headers.get("etag", "").strip('"'), _pieces(answer)

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
            answer = self.client.get(url, params=query)
        except (httpx.TransportError, httpx.InvalidURL) as e:
            raise DownloadFailed(f"--url: the API does not answer ({type(e).__name__})") from None
        if answer.status_code != 200:
            raise DownloadFailed(_error(answer))
        try:
            return answer.json()
        except ValueError:
            raise DownloadFailed("--url: what answers there is no API of Compute-to-Data") from None


def result_of(index: int, filename: str, size: int, kind: str) -> Result:
    return Result(index, path_of(filename, kind), size, kind)


def _pieces(answer: Any) -> Generator[bytes]:
    import httpx

    try:
        yield from answer.iter_raw(1 << 20)
    except httpx.TransportError as e:
        raise DownloadInterrupted(f"the connection broke ({type(e).__name__})") from None
    finally:
        answer.close()


def _error(answer: Any) -> str:
    try:
        told = answer.json()
        return f"the API answered {answer.status_code}: {told.get('error') or told}"
    except (ValueError, AttributeError):
        return f"the API answered {answer.status_code}"
