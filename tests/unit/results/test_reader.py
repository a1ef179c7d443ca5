"""Reader on a results volume, and what it answers if a store cannot be used. tests/conformance reads from real stores."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from c2d.contract import ManifestEntry
from c2d.errors import ResultNotReadable
from c2d.results.reader import GONE, Reader, regular_file_below
from c2d.settings import installation

ENTRY = ManifestEntry(
    index=0,
    path="data/outputs/a",
    filename="a",
    size=10,
    sha256="00" * 32,
    type="output",
    contentType="text/plain",
    cid="bafy",
)


def reader(tmp_path: Path, stores: dict[str, Any] | None = None, **variables: str) -> Reader:
    base = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "C2D_DATABASE_URL": "postgresql://x", "C2D_RESULTS_PATH": str(tmp_path)}
    row: Any = SimpleNamespace(jobId="j1", environment="ocean-compute", removed=0, stores=stores, results=[ENTRY.to_json()])
    return Reader(installation.read({**base, **variables}), row, None)


def write(tmp_path: Path, content: bytes) -> Path:
    file = tmp_path / "j1" / "data" / "outputs" / "a"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


def read(it: Reader, *part: int) -> bytes:
    return b"".join(it.read(ENTRY, *part))


@pytest.mark.parametrize(
    ("part", "content"), [((), b"0123456789"), ((3,), b"3456789"), ((3, 5), b"34"), ((3, 99), b"3456789"), ((3, 3), b"")]
)
def test_any_part_of_a_file_is_read(tmp_path: Path, part: tuple[int, ...], content: bytes) -> None:
    write(tmp_path, b"0123456789")
    assert read(reader(tmp_path), *part) == content


def test_a_file_of_another_size_or_behind_a_link_is_gone(tmp_path: Path) -> None:
    file = write(tmp_path, b"too short")
    with pytest.raises(ResultNotReadable, match=GONE):
        read(reader(tmp_path))
    file.unlink()
    (tmp_path / "secret").write_bytes(b"0123456789")
    file.symlink_to(tmp_path / "secret")
    with pytest.raises(ResultNotReadable, match=GONE):
        read(reader(tmp_path))


@pytest.mark.parametrize("path", ["../secret", "folder/../../secret", "link/file", "folder", "nothing", "", "folder//file", "/etc/passwd"])
def test_only_a_regular_file_below_the_folder_is_opened(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "base" / "folder").mkdir(parents=True)
    (tmp_path / "base" / "folder" / "file").write_bytes(b"")
    (tmp_path / "base" / "link").symlink_to(tmp_path / "base" / "folder")
    assert regular_file_below(tmp_path / "base", path) is None
    assert regular_file_below(tmp_path / "base", "folder/file") is not None


def test_an_unknown_environment_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultNotReadable, match="environment ocean-compute, whose store has the result, is not in the settings") as e:
        read(reader(tmp_path, {"results": {"type": "s3", "bucket": "b"}}, C2D_ENVIRONMENT="other"))
    assert e.value.status == 502 and not e.value.again


def test_a_missing_connection_can_be_tried_again(tmp_path: Path) -> None:
    stores = {"results": {"type": "ipfs", "api": "http://ipfs:5001"}}
    with pytest.raises(ResultNotReadable, match=r"connection missing \(C2D_IPFS_CONN_ID\): is not defined") as e:
        read(reader(tmp_path, stores, C2D_IPFS_CONN_ID="missing"))
    assert e.value.status == 502 and e.value.again
