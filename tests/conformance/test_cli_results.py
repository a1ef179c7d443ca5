"""``c2d results`` of a real job: as the operator, as a Provider, as a consumer, and on files that were already downloaded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from c2d.api.operator_service.app import create_app as create_operator
from c2d.api.provider.app import create_app
from c2d.api.provider.service import ProviderService
from c2d.cli import main
from c2d.crypto.signatures import address_of
from c2d.errors import DownloadFailed, DownloadInterrupted
from c2d.results import download
from c2d.settings import installation
from c2d.settings.installation import Settings
from tests.conformance.airflow_app import serving
from tests.conformance.conftest import Runs
from tests.conformance.published import BIG, CONSUMER, FILES, PROVIDER, get, published
from tests.conformance.test_provider_jobs import job_of
from tests.conformance.test_results import client, loaded, url

__all__ = ["client", "loaded", "url"]


@pytest.fixture(params=["none", "store", "consumer"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    installation.load.cache_clear()
    for name in ("CONSUMER_PRIVATE_KEY", "PROVIDER_PRIVATE_KEY", "OPERATOR_PRIVATE_KEY", "C2D_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def c2d(variables: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run ``c2d results``. Returns the exit code, stdout and stderr.

    :param operator: with the operator's settings.
    """

    def run(*words: Any, operator: bool = False, **environ: str) -> tuple[int, str, str]:
        with monkeypatch.context() as patch:
            for name, value in {**({**variables, "encrypt_results": mode} if operator else {}), **environ}.items():
                patch.setenv(name, value)
            installation.load.cache_clear()
            code = main.main(["results", *map(str, words)])
        out, err = capsys.readouterr()
        assert not any(secret.removeprefix("0x") in out + err for secret in (CONSUMER, PROVIDER.key))
        return code, out, err

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def as_published(files: dict[str, bytes]) -> bool:
    return {**FILES, "adminlogs/configure.log": b"configured\n"}.items() <= files.items()


def test_the_operator_can_list_and_download_results_from_the_stores(
    client: TestClient, loaded: Settings, tmp_path: Path, c2d: Any, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    code, out, _ = c2d(job_id, operator=True)
    suffix = ".c2d" if mode == "consumer" else ""
    assert code == 0 and [line.split("  ")[-1].strip() for line in out.splitlines()][1:5] == [f"{path}{suffix}" for path in FILES]
    code, _, err = c2d(job_id, "--to", tmp_path / "got", operator=True)
    assert code == 0, err
    if mode != "consumer":
        assert as_published(contents(tmp_path / "got"))
        return
    encrypted = contents(tmp_path / "got")
    assert all(f"{path}.c2d" in encrypted and path not in encrypted for path in FILES)
    code, _, err = c2d("--decrypt", tmp_path / "got", "--to", tmp_path / "clear", CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 0 and contents(tmp_path / "clear") == FILES


def test_a_provider_can_download_its_consumers_results(
    client: TestClient, loaded: Settings, tmp_path: Path, url: str, c2d: Any, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    words = (job_id, "--url", url.removesuffix("/api/v1/operator"), "--owner", PROVIDER.owner, "--to", tmp_path / "got")
    code, _, err = c2d(*words, PROVIDER_PRIVATE_KEY=PROVIDER.key, CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 0 and as_published(contents(tmp_path / "got")), err
    assert not [path for path in contents(tmp_path / "got") if path.endswith((".c2d", ".part"))]
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "got").rglob("*") if p.is_file()}
    code, _, err = c2d(*words, PROVIDER_PRIVATE_KEY=PROVIDER.key, CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 0 and {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize("mode", ["none", "consumer"])
def test_a_partial_download_continues_where_it_stopped(
    client: TestClient, loaded: Settings, tmp_path: Path, url: str, c2d: Any, mode: str
) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    whole = get(client, job_id, 0).content
    name = "big.bin.c2d" if mode == "consumer" else "big.bin"
    words = (job_id, "--url", url.removesuffix("/api/v1/operator"), "--owner", PROVIDER.owner, "--to", tmp_path, "--index", 0)
    part = tmp_path / "outputs" / f"{name}.part"
    part.parent.mkdir(parents=True)
    asked: list[str] = []
    real = httpx.Client.build_request

    def watched(self: httpx.Client, *arguments: Any, **more: Any) -> httpx.Request:
        request = real(self, *arguments, **more)
        asked.append(request.headers.get("range", ""))
        return request

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx.Client, "build_request", watched)
        part.write_bytes(whole[: 2**21 + 5])
        assert c2d(*words, PROVIDER_PRIVATE_KEY=PROVIDER.key)[0] == 0
        assert f"bytes={2**21 + 5}-" in asked and (tmp_path / "outputs" / name).read_bytes() == whole
        # the partial file belongs to another result: everything is fetched again
        (tmp_path / "outputs" / name).unlink()
        part.write_bytes(b"x" * 1000)
        code, _, err = c2d(*words, PROVIDER_PRIVATE_KEY=PROVIDER.key)
        assert code == 0 and "is not what was published; starting over" in err
        assert (tmp_path / "outputs" / name).read_bytes() == whole


class Broken:
    """A source whose connection breaks after every ``at`` bytes, until all bytes have been sent."""

    def __init__(self, content: bytes, at: int, wrong: bool = False):
        self.content, self.at, self.wrong, self.opened = content, at, wrong, 0

    def list(self) -> list[download.Result]:
        return [download.Result(0, "outputs/x", len(self.content), "output")]

    def sha256(self, index: int) -> str:
        return hashlib.sha256(self.content + (b"!" if self.wrong else b"")).hexdigest()

    def open(self, index: int, first: int) -> Any:
        self.opened += 1

        def pieces() -> Any:
            yield self.content[first : first + self.at]
            if first + self.at < len(self.content):
                raise DownloadInterrupted("the connection broke")

        return self.sha256(0), pieces()


def test_a_broken_connection_is_retried_from_the_last_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: None))
    source = Broken(os.urandom(10_000), 1_000)
    download.download(source, source.list()[0], tmp_path, None, lambda text: None)
    assert (tmp_path / "outputs/x").read_bytes() == source.content and source.opened == 10
    never = Broken(b"12345", 0)
    with pytest.raises(DownloadFailed, match="run the command again"):
        download.download(never, never.list()[0], tmp_path / "never", None, lambda text: None)
    assert never.opened == download.ATTEMPTS


def test_a_download_with_a_wrong_checksum_is_deleted(tmp_path: Path) -> None:
    source = Broken(b"12345", 10, wrong=True)
    with pytest.raises(DownloadFailed, match="is not what was published"):
        download.download(source, source.list()[0], tmp_path, None, lambda text: None)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "a\\b", "", "x\x00"])
def test_a_result_name_that_leaves_the_folder_is_rejected(name: str) -> None:
    with pytest.raises(DownloadFailed, match="is not the name of a file"):
        download.Result.of(0, name, 1, "output")


# -- files and a key ------------------------------------------------------------------------------------------------------

consumers = pytest.mark.parametrize("mode", ["consumer"])


@pytest.fixture
def file(client: TestClient, loaded: Settings, tmp_path: Path) -> Path:
    """A file as any Ocean client may have downloaded it, under another name."""
    job_id, _ = published(client, loaded, tmp_path)
    (tmp_path / "file").write_bytes(get(client, job_id, 0).content)
    return tmp_path / "file"


@consumers
def test_a_file_is_decrypted_to_its_original_name(file: Path, c2d: Any) -> None:
    assert c2d("--decrypt", file, CONSUMER_PRIVATE_KEY=CONSUMER)[0] == 0
    assert (file.parent / "big.bin").read_bytes() == BIG
    code, _, err = c2d("--decrypt", file, CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 0 and "is already decrypted" in err
    (file.parent / "big.bin").write_bytes(b"mine")
    code, _, err = c2d("--decrypt", file, CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 1 and "exists already, with other content" in err and (file.parent / "big.bin").read_bytes() == b"mine"


@consumers
def test_the_key_can_be_read_from_a_file(file: Path, c2d: Any, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(CONSUMER + "\n")
    assert c2d("--decrypt", file, "--key-file", tmp_path / "key", "--to", tmp_path / "to")[0] == 0
    assert (tmp_path / "to/outputs/big.bin").read_bytes() == BIG


@consumers
@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: f[:-1] + bytes([f[-1] ^ 1]), "was changed"),
        (lambda f: f[:-5], "was changed"),
        (lambda f: f[: 2**20 + 500], "changed"),
        (lambda f: f.replace(b'"path": "', b'"path": "00', 1), "its path was changed"),
        (lambda f: b"id,score\n", "is not a result that was encrypted to a consumer"),
        (lambda f: b"", "is not a result that was encrypted to a consumer"),
    ],
)
def test_nothing_is_decrypted_from_a_changed_file(file: Path, c2d: Any, spoil: Any, sentence: str) -> None:
    file.write_bytes(spoil(file.read_bytes()))
    before = set(file.parent.iterdir())
    code, _, err = c2d("--decrypt", file, CONSUMER_PRIVATE_KEY=CONSUMER)
    assert code == 1 and sentence in err and set(file.parent.iterdir()) == before


@consumers
def test_an_error_names_a_wrong_or_missing_key(file: Path, c2d: Any, tmp_path: Path) -> None:
    code, _, err = c2d("--decrypt", file, CONSUMER_PRIVATE_KEY=PROVIDER.key)
    assert code == 1 and err.endswith("is encrypted to another key\n")
    for words, sentence in (
        ((), "CONSUMER_PRIVATE_KEY: set it, or name a file"),
        (("--key-file", tmp_path / "none"), "--key-file: cannot be read"),
        (("--key-file", file), "--key-file: "),
    ):
        code, _, err = c2d("--decrypt", file, *words)
        assert code == 1 and sentence in err


@pytest.mark.parametrize("mode", ["none"])
def test_a_failed_command_explains_itself_in_one_sentence(client: TestClient, loaded: Settings, tmp_path: Path, url: str, c2d: Any) -> None:
    job_id, _ = published(client, loaded, tmp_path)
    service = url.removesuffix("/api/v1/operator")
    for words, environ, sentence in (
        (("nothing",), {"operator": True}, "nothing: there is no such job"),
        ((job_id, "--index", 99), {"operator": True}, "--index: there is no result 99"),
        ((job_id, job_id), {"operator": True}, "give one job id"),
        ((job_id, "--url", service), {}, "CONSUMER_PRIVATE_KEY: set it"),
        ((job_id, "--url", service), {"CONSUMER_PRIVATE_KEY": CONSUMER}, "--owner: is required"),
        ((job_id, "--url", service, "--owner", "0x" + "00" * 20), {"PROVIDER_PRIVATE_KEY": PROVIDER.key}, "there is no such job of 0x00"),
        ((job_id, "--url", service, "--owner", PROVIDER.owner), {"PROVIDER_PRIVATE_KEY": CONSUMER}, "the API answered 401"),
        ((job_id, "--url", "http://127.0.0.1:9"), {"CONSUMER_PRIVATE_KEY": CONSUMER}, "--url: the API does not answer"),
        ((tmp_path / "none", "--decrypt"), {"CONSUMER_PRIVATE_KEY": CONSUMER}, "none: does not exist"),
        ((tmp_path, "--decrypt"), {"CONSUMER_PRIVATE_KEY": "0x12"}, "CONSUMER_PRIVATE_KEY: must be a private key"),
        ((tmp_path, "--decrypt"), {"CONSUMER_PRIVATE_KEY": CONSUMER}, "contains no result that is encrypted"),
    ):
        code, _, err = c2d(*words, **environ)
        assert code == 1 and sentence in err, (words, err)


@pytest.mark.parametrize("mode", ["store"])
def test_a_result_that_was_changed_in_the_store_is_not_retried(
    client: TestClient, loaded: Settings, tmp_path: Path, url: str, c2d: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=lambda seconds: pytest.fail("tried again")))
    job_id, folder = published(client, loaded, tmp_path)
    (folder / "data/3").write_bytes(b"x" * (folder / "data/3").stat().st_size)
    service = ["--url", url.removesuffix("/api/v1/operator"), "--owner", PROVIDER.owner]
    for words, environ in (((), {"operator": True}), (service, {"PROVIDER_PRIVATE_KEY": PROVIDER.key})):
        code, _, err = c2d(job_id, "--index", 3, "--to", tmp_path / "got", *words, **environ)
        assert code == 1 and "the result in the store is not what was published" in err, err
    assert not [p for p in (tmp_path / "got").rglob("*") if p.is_file() and p.stat().st_size]


# -- as a consumer --------------------------------------------------------------------------------------------------------


def test_a_consumer_can_download_results_from_the_provider_api(
    variables: dict[str, str], runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    own = {"PROVIDER_PRIVATE_KEY": PROVIDER.key, "NETWORK_URL": '{"8996": "http://127.0.0.1:9"}', "PROVIDER_FEE_TOKEN": "0x" + "ab" * 20}
    loaded = installation.read({**variables, **own})
    service = ProviderService(create_operator(loaded, runs, work=False).state.service)
    job_id = job_of(service, address_of(CONSUMER))
    files = []
    for n, (path, kind) in enumerate((("outputs/a/b.csv", "output"), ("logs/algorithm.log", "algorithmLog"))):
        (loaded.C2D_RESULTS_PATH / job_id / "data" / path).parent.mkdir(parents=True)
        (loaded.C2D_RESULTS_PATH / job_id / "data" / path).write_bytes(b"0123456789")
        named = {"path": f"data/{path}", "filename": path.split("/", 1)[1], "type": kind, "contentType": "text/plain"}
        files.append({"index": n, **named, "size": 10, "sha256": hashlib.sha256(b"0123456789").hexdigest()})
    service.jobs.repository.finish_job(job_id, {"files": files, "withheld": []})
    monkeypatch.setenv("CONSUMER_PRIVATE_KEY", CONSUMER)
    with serving(create_app(service)) as url:
        assert main.main(["results", job_id, "--url", url]) == 0
        assert "outputs/a/b.csv" in capsys.readouterr().out
        assert main.main(["results", job_id, "--url", url, "--to", str(tmp_path / "got")]) == 0, capsys.readouterr()
        assert contents(tmp_path / "got") == {"outputs/a/b.csv": b"0123456789", "logs/algorithm.log": b"0123456789"}
        monkeypatch.setenv("CONSUMER_PRIVATE_KEY", PROVIDER.key)  # another consumer
        assert main.main(["results", job_id, "--url", url]) == 1
        assert "there is no such job of" in capsys.readouterr().err
