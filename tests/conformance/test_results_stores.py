"""getResult from every kind of real store, with every kind of encryption, and its errors when a store fails."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from c2d.api.operator_service.app import create_app
from c2d.crypto.result_files import PLAIN, SEGMENT
from c2d.results import reader
from c2d.settings import installation
from tests.conformance.conftest import Runs
from tests.conformance.provider import API
from tests.conformance.published import BIG, FILES, PROVIDER, get, listed, opened, published
from tests.conformance.test_operator_service import error
from tests.conformance.test_results import url

__all__ = ["url"]


LARGE = {"outputs/large": os.urandom(1 << 20) * 96}  # more than socket buffers can hold


@dataclass
class Place:
    """A store and what a test can do to it. `variables` has the operator's settings, `secrets` what no answer may contain."""

    variables: dict[str, str]
    change: Any
    remove: Any
    service: Any
    kill: Callable[[], None]
    revive: Callable[[], None]
    secrets: list[str] = field(default_factory=list)


def s3(minio: Any) -> Place:
    bucket, logs, client = minio.bucket(), minio.bucket(), minio.client()

    def change(job: str, path: str, how: Callable[[bytes], bytes]) -> None:
        content = client.get_object(Bucket=bucket, Key=f"{job}/{path}")["Body"].read()
        client.put_object(Bucket=bucket, Key=f"{job}/{path}", Body=how(content))

    def remove(job: str, path: str) -> None:
        client.delete_object(Bucket=bucket, Key=f"{job}/{path}")

    variables = minio.settings(AWS_BUCKET_OUTPUT=bucket, AWS_BUCKET_ADMINLOGS=logs)
    return Place(variables, change, remove, minio, minio.kill, minio.start, [minio.access_key, minio.secret_key, minio.endpoint])


def ipfs(kubo: Any) -> Place:
    def remove(cid: str) -> None:
        for pinned in kubo.pins():
            kubo.api("pin/rm", arg=pinned)
        assert kubo.api("block/rm", arg=cid).status_code == 200

    secrets = [kubo.operator_token, kubo.pod_token, kubo.url]
    return Place(kubo.settings(IPFS_OUTPUT_PREFIX="ipfs://"), None, remove, kubo, kubo.kill, kubo.start, secrets)


def cluster(ipfs_cluster: Any) -> Place:
    node = ipfs_cluster.adds
    settings = ipfs_cluster.settings(C2D_IPFS_READ_AUTH=f"bearer:{node.operator_token}")
    return Place(
        settings, None, None, node, node.kill, node.start, [node.operator_token, node.pod_token, node.url, ipfs_cluster.peers[0].password]
    )


@pytest.fixture(params=["s3", "ipfs", "cluster"])
def place(request: pytest.FixtureRequest) -> Place:
    fixture, made = {"s3": ("minio", s3), "ipfs": ("kubo", ipfs), "cluster": ("ipfs_cluster", cluster)}[request.param]
    return made(request.getfixturevalue(fixture))


@pytest.fixture(params=["none", "store", "consumer"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loaded(variables: dict[str, str], place: Place, mode: str) -> installation.Settings:
    return installation.read({**variables, **place.variables, "encrypt_results": mode, "diskGB": "10"})


@pytest.fixture
def client(loaded: installation.Settings, runs: Runs) -> Iterator[TestClient]:
    app = create_app(loaded, runs, work=False)
    app.state.runs = runs
    with TestClient(app, raise_server_exceptions=False) as c:
        yield c


def shown(answer: Any) -> str:
    return f"{answer.status_code} {answer.headers} {answer.text if len(answer.content) < 10_000 else ''}"


def test_every_result_is_served_from_its_store(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place, mode: str
) -> None:
    job_id, folder = published(client, loaded, tmp_path)
    assert list(folder.iterdir()) == []  # the volume has no files
    results = listed(client, job_id)
    for index, path in enumerate([*FILES, "adminlogs/configure.log"]):
        got = get(client, job_id, index)
        assert (got.status_code, int(got.headers["content-length"])) == (200, results[index]["filesize"])
        assert opened(got.content, path, mode) == FILES.get(path, b"configured\n")
        assert not any(secret in shown(got) for secret in place.secrets)
    got = get(client, job_id, "all")
    with tarfile.open(fileobj=io.BytesIO(got.content)) as tar:
        assert len(tar.getnames()) == len(results) + 1
    log = client.get(f"{API}/logs", params={"jobId": job_id, "component": "configure"}, headers={"Admin": "0xadmin"})
    assert log.text == "configured\n"


@pytest.mark.parametrize("mode", ["none", "store"])
def test_any_byte_range_is_served_from_its_store(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    edge = PLAIN - 40
    for first, last in ((0, 0), (edge - 1, edge), (edge, edge), (edge + PLAIN - 3, edge + PLAIN + 3), (5, len(BIG) - 1)):
        got = get(client, job_id, 0, Range=f"bytes={first}-{last}")
        assert (got.status_code, got.content) == (206, BIG[first : last + 1])


def where(job_file: int, mode: str) -> str:
    return f"data/{list(FILES)[job_file]}" if mode == "none" else f"data/{job_file}"


@pytest.mark.parametrize("place", ["s3"], indirect=True)
@pytest.mark.parametrize("mode", ["none", "store"])
def test_a_result_that_was_changed_or_removed_in_the_store_is_an_error(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    place.change(job_id, where(0, mode), lambda content: content[:SEGMENT] + b"x" + content[SEGMENT + 1 :])
    for headers in ({}, {"Range": f"bytes={SEGMENT}-{SEGMENT + 5}"}):
        assert error(get(client, job_id, 0, **headers)) == (502, "the result in the store is not what was published")
    place.remove(job_id, where(0, mode))
    assert error(get(client, job_id, 0)) == (404, "the result is not in the store any more")
    assert get(client, job_id, 3).content == b"it ran\n"


@pytest.mark.parametrize("place", ["ipfs"], indirect=True)
@pytest.mark.parametrize("mode", ["store"])
def test_a_result_that_ipfs_has_lost_is_reported_as_missing(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    row = client.app.state.service.repository.job(job_id)  # type: ignore[attr-defined]
    place.remove(row.results[3]["cid"])
    assert error(get(client, job_id, 3)) == (404, "the result is not in the store any more")


@pytest.mark.parametrize("place", ["ipfs"], indirect=True)
@pytest.mark.parametrize("mode", ["store"])
def test_results_in_ipfs_reveal_nothing_without_the_key(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, kubo: Any
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    row = client.app.state.service.repository.job(job_id)  # type: ignore[attr-defined]
    names = b"".join(kubo.api("ls", arg=row.stores["results"]["cid"] + folder).content for folder in ("", "/data"))
    files = [kubo.cat(file["cid"]) for file in row.results] + [kubo.cat(row.stores["results"]["manifest"] + "/manifest.json")]
    for word in (b"b.csv", b"big.bin", b"algorithm", b"id,score", b"it ran", b"sha256", b"configured"):
        assert word not in names and not any(word in file for file in files if len(file) < 100_000)


@pytest.mark.parametrize("mode", ["none", "store"])
def test_an_unavailable_store_is_reported_and_works_again_later(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    place.kill()
    try:
        away = get(client, job_id, 0)
        code, text = error(away)
        assert code == 502 and text.startswith("the store of the results does not answer") and "retry-after" in away.headers
        assert not any(secret in shown(away) for secret in place.secrets)
    finally:
        place.revive()
    assert get(client, job_id, 0).content == BIG


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Wait only one second for an answer of a store."""
    monkeypatch.setattr(reader, "READ_SECONDS", 1)
    for cached in (reader._s3_client, reader._connections):
        cached.cache_clear()
    yield
    for cached in (reader._s3_client, reader._connections):
        cached.cache_clear()


@pytest.mark.parametrize("place", ["s3", "ipfs"], indirect=True)
@pytest.mark.parametrize("mode", ["none", "store"])
def test_a_download_breaks_when_its_store_fails_and_can_be_resumed(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place, url: str, impatient: None
) -> None:
    job_id, _ = published(client, loaded, tmp_path, LARGE)
    got = bytearray()

    def download(harm: Callable[[], None]) -> None:
        query, headers = PROVIDER.signed(job_id, index=0), {"Range": f"bytes={len(got)}-"}
        with httpx.stream("GET", f"{url}/getResult", params=query, headers=headers, timeout=60) as answer:
            assert answer.status_code == 206, answer.read()
            for n, piece in enumerate(answer.iter_raw(1 << 16)):
                got.extend(piece)
                if n == 0:
                    harm()

    for harm, heal in (
        (place.kill, place.revive),
        (place.service.pause, place.service.resume),
    ):
        with pytest.raises(httpx.TransportError):
            download(harm)
        heal()
        assert 0 < len(got) < len(LARGE["outputs/large"])
    download(lambda: None)
    assert got == LARGE["outputs/large"]


@pytest.mark.parametrize("place", ["s3", "ipfs"], indirect=True)
@pytest.mark.parametrize("mode", ["store"])
def test_a_store_that_does_not_answer_is_reported(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, place: Place, impatient: None
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    place.service.pause()
    try:
        code, text = error(get(client, job_id, 0))
    finally:
        place.service.resume()
    assert code == 502 and text.startswith("the store of the results does not answer")
