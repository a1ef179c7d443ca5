"""The contract between operators and stage images: its page, its rules, and that both sides use it."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from c2d import contract
from c2d.contract import (
    RESERVED_HEADERS,
    ConfigureAnswer,
    FilterAnswer,
    Grant,
    Manifest,
    ManifestEntry,
    PublishAnswer,
    UrlFile,
    read_answer,
)
from c2d.market.download_grants import LEAST, MOST, SECRET_BYTES
from c2d.market.service_files import Gateways, to_fetch
from c2d.pods import manifests
from c2d.shared.records import JsonObject, Record
from c2d_stages import isolated
from c2d_stages.common import digests, transfer
from c2d_stages.configure import download, downloads, remote, requests, session
from c2d_stages.configure.sources import UrlSource, source_of
from c2d_stages.filter import release
from c2d_stages.publish import store

PAGE = (Path(__file__).parents[2] / "docs" / "stages.md").read_text()
WORDS = " ".join(PAGE.split())
CLASSES = {name: kind for name, kind in vars(contract).items() if isinstance(kind, type)}
RECORDS = {name: kind for name, kind in CLASSES.items() if issubclass(kind, Record) and kind is not Record}
TABLES = {
    name: [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.strip().splitlines()]
    for name, rows in re.findall(r"^\| (\w+) \| default \| meaning \|\n\|---\|---\|---\|\n((?:\|.*\n)+)", PAGE, flags=re.MULTILINE)
}
MIB = 2**20


def defaults(kind: type[Record]) -> dict[str, str]:
    """For each field, what its table says in the column of defaults."""
    shown = {}
    for field in dataclasses.fields(kind):
        constant = get_origin(field.type) is Literal and len(get_args(field.type)) == 1
        if field.default_factory is not dataclasses.MISSING:
            shown[field.name] = "`{}`"
        elif field.default is dataclasses.MISSING or constant:
            shown[field.name] = "null" if NoneType in get_args(field.type) or field.type is Any else ""
        else:
            shown[field.name] = (
                "null" if field.default is None else f"`{field.default if isinstance(field.default, str) else json.dumps(field.default)}`"
            )
    return shown


def test_the_page_has_a_table_for_each_record_and_no_other() -> None:
    assert TABLES.keys() == RECORDS.keys() | {"Grant"}


@pytest.mark.parametrize("name", sorted(RECORDS))
def test_a_records_table_has_its_fields_with_their_defaults_and_no_other(name: str) -> None:
    documented = {field.strip("`"): default for field, default, _ in TABLES[name]}
    assert documented == defaults(RECORDS[name])
    assert all(meaning for *_, meaning in TABLES[name])


def test_the_table_of_a_grant_has_its_two_parts() -> None:
    assert tuple(field.strip("`") for field, *_ in TABLES["Grant"]) == Grant._fields


@pytest.mark.parametrize(
    "statement",
    [
        f"at most {contract.ANSWER_BYTES} bytes in `/dev/termination-log`",
        f"{contract.INPUT_FAILED} for an input, {contract.ALGORITHM_FAILED} for the algorithm",
        f"downloads at once, at most {downloads.MOST_CONNECTIONS}",
        f"broken connection; null means {session.STALL_SECONDS}",
        f"after `Retry-After`, at most {transfer.LONGEST_PAUSE:g} s), up to {requests.ATTEMPTS} times in a row",
        f"without {download.PROGRESS // MIB} MiB of progress",
        f"At most {requests.REDIRECTS} redirects",
        f"at most {remote.DDO_BYTES // MIB} MiB, an asset 1 to {remote.FILES} files",
        f"after a status {', '.join(map(str, remote.MAY_BE_A_NONCE[:-1]))} or {remote.MAY_BE_A_NONCE[-1]}",
        f"An asset has {MOST} grants",
        f"less of {SECRET_BYTES // 1024} KiB, and never fewer than {LEAST}",
        f"can still be reached after {isolated.WITHIN_SECONDS:g} seconds",
        f"A path has at most {release.PATH_BYTES} bytes",
        f"At most {release.NAMES_PER_FILE} names are examined",
        f"`withheld` names at most {release.WITHHELD_LINES} files",
        f"of a file over {digests.LARGE // MIB} MiB: the sha256 of each part of {digests.PART_BYTES // MIB} MiB",
        f"parts of {digests.PART_BYTES // MIB} MiB (more for files over {digests.PART_BYTES * digests.PARTS // 2**30} GiB)",
        f"uploads at once; null means {store.CONNECTIONS}",
    ],
)
def test_the_pages_numbers_are_those_of_the_code(statement: str) -> None:
    assert statement in WORDS


def test_the_page_describes_the_algorithms_wrapper() -> None:
    assert 'sh -c "$2"' in manifests.ALGORITHM_WRAPPER and 'sh -c "$2"' in WORDS
    assert 'ulimit -f "$1"' in manifests.ALGORITHM_WRAPPER and "cuts at `$1` blocks of 512 bytes" in WORDS


def test_everything_in_the_contract_has_a_type_of_its_own() -> None:
    """Only documents of somebody else's making (a DDO, a consumer's parameters) may be objects of anything."""
    open_fields = {
        (name, field)
        for name, kind in RECORDS.items()
        for field, annotation in get_type_hints(kind).items()
        if annotation in (Any, JsonObject, JsonObject | None) and not field.startswith("__")
    }
    assert {field for _, field in open_fields} == {"ddo", "userdata", "customData"}


# -- answers -----------------------------------------------------------------------------------------------------------------------

ANSWERS: list[tuple[str, JsonObject, type[Record]]] = [
    ("configure", {"ok": True, "files": 3, "bytes": 12345, "seconds": 0.8}, ConfigureAnswer),
    ("filter", {"ok": True, "released": 2, "withheld": 1, "bytes": 15}, FilterAnswer),
    ("publish", {"ok": True, "files": 4, "bytes": 1234, "manifestSha256": "ab" * 32}, PublishAnswer),
    ("configure", {"ok": False, "status": 31, "resource": "inputs[1].files[0]", "message": "m"}, contract.Failure),
    ("filter", {"ok": False, "message": "m"}, contract.Failure),
]


@pytest.mark.parametrize(("stage", "message", "kind"), ANSWERS)
def test_an_answer_is_read_and_written_without_change(stage: str, message: JsonObject, kind: type[Record]) -> None:
    answer = read_answer(stage, message)
    assert type(answer) is kind and answer.to_json() == message


@pytest.mark.parametrize("message", [None, [], {}, {"ok": True}, {"ok": "true"}, {"released": 1, "withheld": 0, "bytes": 1}, {"ok": False}])
def test_what_is_not_an_answer_is_not_read_as_one(message: object) -> None:
    assert read_answer("filter", message) is None


def test_the_algorithms_message_is_never_an_answer() -> None:
    assert read_answer("algorithm", {"ok": True, "files": 1, "bytes": 1, "seconds": 1}) is None


# -- manifests -----------------------------------------------------------------------------------------------------------------------

STORED_MANIFEST = {
    "version": 1,
    "job": "5e0f",
    "files": [
        {
            "index": 0, "path": "data/outputs/sub/a.csv", "filename": "sub/a.csv", "size": 10, "sha256": "ab" * 32, "type": "output",
            "contentType": "text/csv", "encrypted": "store", "stored": {"path": "data/0", "size": 66, "sha256": "cd" * 32},
        },
        {
            "index": 1, "path": "data/adminlogs/publish.log", "filename": "publish.log", "size": 5, "sha256": "ab" * 32,
            "type": "publishLog", "contentType": "text/plain", "url": "https://s3.example/b/x", "etag": "e",
        },
    ],
    "withheld": [{"path": "outputs/link", "reason": "a symbolic link is not released; write a regular file"}],
}  # fmt: skip


def test_a_manifest_that_was_stored_once_is_read_and_written_without_change() -> None:
    manifest = Manifest.from_json(STORED_MANIFEST)
    assert json.dumps(manifest.to_json()) == json.dumps(STORED_MANIFEST)
    assert [ManifestEntry.trusted(file) for file in STORED_MANIFEST["files"]] == list(manifest.files)  # type: ignore[attr-defined]
    assert [(file.in_store.path, file.in_store.size) for file in manifest.files] == [("data/0", 66), ("data/adminlogs/publish.log", 5)]


@pytest.mark.parametrize("kind", get_args(contract.FileType))
def test_admin_logs_are_those_of_the_folder_adminlogs(kind: str) -> None:
    assert contract.is_admin_log(kind) == (contract.folder_of(kind) == "adminlogs") == (kind not in ("output", "algorithmLog"))


# -- reserved headers ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(RESERVED_HEADERS))
def test_a_reserved_header_of_an_asset_is_sent_neither_by_the_api_server_nor_by_configure(name: str) -> None:
    headers = {name.title(): "x", "X-Key": "k"}
    request = to_fetch({"type": "url", "url": "https://h/x", "headers": headers}, None, Gateways(), 1)
    assert getattr(request, "headers", None) == {"X-Key": "k"}
    source = source_of(UrlFile(url="https://h/x", headers=headers), "file")
    assert isinstance(source, UrlSource) and source.request().headers == {"X-Key": "k"}
