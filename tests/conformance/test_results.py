"""getResult of results that a real publish stage has written, over real HTTP if the connection matters."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from c2d.api.common.result_responses import byte_range
from c2d.api.operator_service.app import create_app
from c2d.contract import ManifestEntry
from c2d.crypto import ecies
from c2d.crypto.result_files import PLAIN, SEGMENT
from c2d.database import jobs, tables
from c2d.settings import installation
from tests.conformance.airflow_app import below_airflow, serving
from tests.conformance.conftest import Runs
from tests.conformance.provider import API
from tests.conformance.published import BIG, FILES, PROVIDER, get, listed, opened, published
from tests.conformance.test_operator_service import error


@pytest.fixture(params=["none", "store", "consumer"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def loaded(variables: dict[str, str], mode: str) -> installation.Settings:
    return installation.read({**variables, "encrypt_results": mode, "diskGB": "10"})


@pytest.fixture
def client(loaded: installation.Settings, runs: Runs) -> Iterator[TestClient]:
    app = create_app(loaded, runs, work=False)
    app.state.runs = runs
    with TestClient(app, raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def url(client: TestClient) -> Iterator[str]:
    """The URL of the same app behind a real server, below Airflow's middlewares."""
    with serving(below_airflow(client.app)) as at:
        yield f"{at}/operator-service{API}"


def test_every_result_is_served_complete_and_as_listed(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    results = listed(client, job_id)
    paths = [*FILES, "adminlogs/configure.log"]
    suffix = ".c2d" if mode == "consumer" else ""
    names = [p.split("/", 1)[1] + (suffix if n < len(FILES) else "") for n, p in enumerate(paths)]
    assert [r["filename"] for r in results][: len(paths)] == names
    for index, path in enumerate(paths):
        got = get(client, job_id, index)
        assert (got.status_code, int(got.headers["content-length"])) == (200, results[index]["filesize"])
        assert opened(got.content, path, mode) == FILES.get(path, b"configured\n")
        if not (suffix and index < len(FILES)):
            assert got.headers["etag"] == f'"{hashlib.sha256(got.content).hexdigest()}"'
    assert get(client, job_id, 2).headers["content-disposition"].endswith(f"''%C3%A4%20b.csv{suffix}")


@pytest.mark.parametrize("mode", ["none", "store"])
def test_any_byte_range_is_served(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    tag = get(client, job_id, 0).headers["etag"]
    edge = PLAIN - 40  # the first byte of the second segment
    for first, last in (
        (0, 0),
        (edge - 1, edge),
        (edge, edge),
        (edge + PLAIN - 3, edge + PLAIN + 3),
        (5, len(BIG) - 1),
        (len(BIG) - 1, 10**12),
    ):
        got = get(client, job_id, 0, Range=f"bytes={first}-{last}", **{"If-Range": tag})
        assert (got.status_code, got.content) == (206, BIG[first : last + 1])
        assert got.headers["content-range"] == f"bytes {first}-{min(last, len(BIG) - 1)}/{len(BIG)}"
    assert get(client, job_id, 0, Range="bytes=-7").content == BIG[-7:]
    assert get(client, job_id, 0, Range="bytes=9-", **{"If-Range": '"old"'}).content == BIG
    for nothing in (get(client, job_id, 0, Range=f"bytes={len(BIG)}-"), get(client, job_id, 1, Range="bytes=0-")):
        assert error(nothing) == (416, "Range: cannot be satisfied")


@pytest.mark.parametrize(
    ("header", "size", "part"),
    [
        ("", 10, None),
        ("bytes=0-", 10, (0, 10)),
        ("bytes=3-5", 10, (3, 6)),
        ("bytes=-3", 10, (7, 10)),
        ("bytes=-30", 10, (0, 10)),
        ("bytes=-0", 10, (10, 10)),
        ("bytes=10-", 10, (10, 10)),
        ("bytes=5-3", 10, None),
        ("bytes=1-2,4-5", 10, None),
        ("bytes=-", 10, None),
        ("bytes=x-", 10, None),
        ("lines=1-2", 10, None),
        ("bytes=" + "9" * 30 + "-", 10, None),
    ],
)
def test_a_range_header_is_parsed_as_in_rfc_9110(header: str, size: int, part: tuple[int, int] | None) -> None:
    assert byte_range(header, size) == part


# -- changed results ------------------------------------------------------------------------------------------------------


def stored(folder: Path, index: int, mode: str) -> Path:
    return folder / "data" / (list(FILES)[index] if mode == "none" else str(index))


@pytest.mark.parametrize("mode", ["store"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: b"x" + file[1:],
        lambda file: file[:50] + bytes([file[50] ^ 1]) + file[51:],
        lambda file: file[SEGMENT : 2 * SEGMENT] + file[:SEGMENT] + file[2 * SEGMENT :],
    ],
    ids=["header", "content", "reordered"],
)
def test_a_changed_file_is_an_error_without_content(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    job_id, folder = published(client, loaded, tmp_path)
    file = stored(folder, 0, "store")
    file.write_bytes(spoil(file.read_bytes()))
    assert error(get(client, job_id, 0)) == (502, "the result in the store is not what was published")
    assert get(client, job_id, 3).content == b"it ran\n"


@pytest.mark.parametrize("mode", ["store"])
def test_exchanged_files_are_an_error(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    """They have the same size, so only the encryption reveals it."""
    job_id, folder = published(client, loaded, tmp_path, {"outputs/a": b"yes, buy", "outputs/b": b"no, sell"})
    a, b = stored(folder, 0, "store").read_bytes(), stored(folder, 1, "store").read_bytes()
    (folder / "data/0").write_bytes(b)
    (folder / "data/1").write_bytes(a)
    for index in (0, 1):
        assert error(get(client, job_id, index))[0] == 502


@pytest.mark.parametrize("mode", ["store"])
def test_results_of_another_job_are_an_error(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    first, second = (published(client, loaded, tmp_path) for _ in range(2))
    (first[1] / "data/0").write_bytes((second[1] / "data/0").read_bytes())
    assert error(get(client, first[0], 0))[0] == 502


@pytest.mark.parametrize("mode", ["store"])
def test_an_error_found_during_the_download_breaks_the_connection(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, url: str
) -> None:
    """A client must not mistake a part for the complete file."""
    job_id, folder = published(client, loaded, tmp_path)
    file = stored(folder, 0, "store")
    content = bytearray(file.read_bytes())
    content[2 * SEGMENT + 100] ^= 1
    file.write_bytes(content)
    got = b""
    with (
        pytest.raises(httpx.RemoteProtocolError),
        httpx.stream("GET", f"{url}/getResult", params=PROVIDER.signed(job_id, index=0)) as answer,
    ):
        assert int(answer.headers["content-length"]) == len(BIG)
        for piece in answer.iter_raw():
            got += piece
    assert BIG.startswith(got) and len(got) <= 2 * PLAIN


@pytest.mark.parametrize("mode", ["none", "store"])
def test_a_missing_or_truncated_file_is_an_error(client: TestClient, loaded: installation.Settings, tmp_path: Path, mode: str) -> None:
    job_id, folder = published(client, loaded, tmp_path)
    file = stored(folder, 0, mode)
    os.truncate(file, file.stat().st_size - 1)
    assert error(get(client, job_id, 0)) == (404, "the result is not in the store any more")
    file.unlink()
    assert error(get(client, job_id, 0)) == (404, "the result is not in the store any more")


def change(loaded: installation.Settings, job_id: str, **values: Any) -> None:
    with jobs.JobRepository(loaded.C2D_DATABASE_URL).engine.begin() as c:
        c.execute(sa.update(tables.jobs).where(tables.jobs.c.jobId == job_id).values(**values))


def test_expired_results_are_reported_as_gone(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    change(loaded, job_id, removed=1)
    for index in (0, "all", 99):
        assert error(get(client, job_id, index)) == (410, "the results of this job have expired and were removed")


@pytest.mark.parametrize("mode", ["store"])
def test_encrypted_results_cannot_be_read_without_their_key(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    """The files themselves still exist."""
    job_id, _ = published(client, loaded, tmp_path)
    change(loaded, job_id, resultKeys=None)
    assert error(get(client, job_id, 0)) == (410, "the results of this job have expired and were removed")


@pytest.mark.parametrize("mode", ["store"])
def test_result_keys_sealed_to_a_former_operator_key_are_reported(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, variables: dict[str, str], runs: Runs
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    changed = installation.read({**variables, "encrypt_results": "store", "OPERATOR_PRIVATE_KEY": ecies.new_private_key()})
    with TestClient(create_app(changed, runs, work=False), raise_server_exceptions=False) as other:
        answer = get(other, job_id, 0)
    assert error(answer) == (502, "the key of these results was sealed to another OPERATOR_PRIVATE_KEY than this one")
    assert "retry-after" not in answer.headers


# -- streaming ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["none", "store"])
def test_reading_stops_when_the_client_disconnects(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from c2d.results import reader

    ended, real = threading.Event(), reader._from_volume

    def watched(*arguments: Any) -> Iterator[bytes]:
        try:
            yield from real(*arguments)
        except GeneratorExit:
            ended.set()
            raise

    monkeypatch.setattr(reader, "_from_volume", watched)
    job_id, _ = published(client, loaded, tmp_path, {"outputs/big": os.urandom(64 << 20)})
    with httpx.stream("GET", f"{url}/getResult", params=PROVIDER.signed(job_id, index=0)) as answer:
        next(answer.iter_raw())
    assert ended.wait(30)


@pytest.mark.parametrize("mode", ["store"])
def test_a_slow_client_does_not_fill_the_memory(client: TestClient, loaded: installation.Settings, tmp_path: Path, url: str) -> None:
    """The server reads only a few pieces ahead of a client that does not read."""
    from c2d.results import reader

    sent, real = 0, reader._from_volume

    def counted(*arguments: Any) -> Iterator[bytes]:
        nonlocal sent
        for piece in real(*arguments):
            sent += len(piece)
            yield piece

    job_id, _ = published(client, loaded, tmp_path, {"outputs/big": os.urandom(96 << 20)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "_from_volume", counted)
        with httpx.stream("GET", f"{url}/getResult", params=PROVIDER.signed(job_id, index=0)) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            before = -1
            while before != sent:  # until the server waits for the client
                before = sent
                threading.Event().wait(0.2)
            assert sent < 32 << 20
            assert sum(map(len, pieces)) > 90 << 20


# -- archives -------------------------------------------------------------------------------------------------------------


def test_all_results_are_served_as_one_archive(client: TestClient, loaded: installation.Settings, tmp_path: Path, mode: str) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    got = get(client, job_id, "all")
    assert (got.status_code, int(got.headers["content-length"])) == (200, len(got.content))
    assert got.headers["content-disposition"] == f"attachment;filename={job_id}.tar"
    suffix = ".c2d" if mode == "consumer" else ""
    with tarfile.open(fileobj=io.BytesIO(got.content)) as tar:
        names = tar.getnames()
        assert names[: 1 + len(FILES)] == [f"{job_id}/manifest.json", *(f"{job_id}/{path}{suffix}" for path in FILES)]
        for path, content in FILES.items():
            member = tar.extractfile(f"{job_id}/{path}{suffix}")
            assert member and opened(member.read(), path, mode) == content
        manifest = tar.extractfile(names[0])
        assert manifest and len(json.loads(manifest.read())["files"]) == len(names) - 1
    edges = [0, 511, 512, 513, len(got.content) - 1024, len(got.content) - 1]
    for first, last in [(a, b) for a in edges for b in edges if a <= b] + [(1000, 2 * SEGMENT)]:
        part = get(client, job_id, "all", Range=f"bytes={first}-{last}", **{"If-Range": got.headers["etag"]})
        assert (part.status_code, part.content) == (206, got.content[first : last + 1])


@pytest.mark.parametrize("mode", ["store"])
def test_an_archive_can_contain_thousands_of_files(client: TestClient, loaded: installation.Settings, tmp_path: Path) -> None:
    files = {f"outputs/{n % 7}/{'x' * (n % 200)}{n}": str(n).encode() for n in range(3000)}
    job_id, _ = published(client, loaded, tmp_path, files)
    with tarfile.open(fileobj=io.BytesIO(get(client, job_id, "all").content)) as tar:
        for member in tar:
            path = member.name.removeprefix(f"{job_id}/")
            opened = tar.extractfile(member)
            assert path not in files or (opened and opened.read() == files.pop(path))
    assert files == {}


def test_an_archive_can_contain_large_files_and_long_names() -> None:
    from datetime import UTC, datetime
    from types import SimpleNamespace

    from c2d.results.archive import Archive

    big = 20 * 10**9
    files = [
        {
            "index": 0,
            "path": "data/outputs/" + "ü" * 200,
            "filename": "ü" * 200,
            "size": big,
            "sha256": "00",
            "type": "output",
            "contentType": None,
        },
        {"index": 1, "path": "data/outputs/z", "filename": "z", "size": 3, "sha256": "00", "type": "output", "contentType": None},
    ]

    class Reader:
        row = SimpleNamespace(jobId="j1", results=files, withheld=[], dateFinished=datetime.now(UTC), dateCreated=None)

        def read(self, file: ManifestEntry, first: int, last: int) -> Iterator[bytes]:
            yield b"z" * (last - first) if file.size == 3 else bytes(last - first)

    archive: Any = Archive(Reader())  # type: ignore[arg-type]
    assert archive.size > big
    at = archive._offsets[2]
    head, tail = b"".join(archive.read(archive._offsets[1], archive._offsets[1] + 4096)), b"".join(archive.read(at, archive.size))
    first = tarfile.TarInfo.frombuf(head[-len(head) :][:512], "utf-8", "strict")
    assert first.type == tarfile.XHDTYPE and b"size=20000000000" in head and "ü".encode() * 200 in head
    with tarfile.open(fileobj=io.BytesIO(tail)) as tar:
        (member,) = tar.getmembers()
        opened = tar.extractfile(member)
        assert opened and (member.name, opened.read()) == ("j1/outputs/z", b"zzz")


# -- logs for the operator ------------------------------------------------------------------------------------------------


def test_the_operator_can_read_the_stage_logs_with_every_encryption(
    client: TestClient, loaded: installation.Settings, tmp_path: Path, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)

    def log(component: str) -> Any:
        return client.get(f"{API}/logs", params={"jobId": job_id, "component": component}, headers={"Admin": "0xadmin"})

    assert log("configure").text == "configured\n"
    assert log("publish").headers["content-type"] == "text/plain; charset=utf-8"
    algorithm = log("algorithm")
    if mode == "consumer":
        assert error(algorithm) == (404, "component: the algorithm log is encrypted to the consumer")
    else:
        assert algorithm.text == "it ran\n"
