"""Publishing where results are encrypted: what lies in the store tells nothing, and who has the key reads all of it."""

import hashlib
import json
import os
from typing import Any

import pytest

from c2d.contract import EncryptionKeys
from c2d.crypto import ecies, result_files
from c2d.errors import InvalidField
from c2d_stages.publish.content import BytesContent, FileContent
from c2d_stages.publish.encryption import EncryptedContent
from tests.stages.conftest import Pod, sha256
from tests.stages.test_publish import contents, filtered, stage_json

__all__ = ["filtered"]
RESULTS, ADMIN = bytes(range(32)), bytes(range(32, 64))
CONSUMER = ecies.new_private_key()
STORE = {"results": RESULTS.hex(), "adminlogs": ADMIN.hex()}
TO_CONSUMER = {**STORE, "sealedKey": ecies.seal(ecies.public_key(CONSUMER), RESULTS.hex())}


def published(pod: Pod, keys: dict[str, str]) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The manifest, decrypted and verified, and the store's files."""
    outcome = pod.run("publish", {**stage_json(), "encryption": keys})
    assert outcome.code == 0, outcome
    store = contents(pod.results)
    manifest = result_files.decrypted(store.pop("manifest.json"), RESULTS, "manifest.json")
    assert outcome.answer["manifestSha256"] == sha256(manifest)
    return json.loads(manifest), store


@pytest.mark.parametrize("keys", [STORE, TO_CONSUMER], ids=["store", "consumer"])
def test_stored_files_reveal_nothing_and_the_keys_decrypt_them(filtered: Pod, keys: dict[str, str]) -> None:
    clear = {**contents(filtered.data), "adminlogs/publish.log": b"6 files, this log is the last; 1 withheld\n"}
    manifest, store = published(filtered, keys)
    assert sorted(store) == [f"data/{n}" for n in range(6)]
    assert not any(word in file for file in store.values() for word in (b"a,b\n", b"hello", b"configured", b"sub/a.csv"))
    for file in manifest["files"]:
        stored = file["stored"]
        content = store[stored["path"]]
        assert (len(content), sha256(content)) == (stored["size"], stored["sha256"])
        of_admin = file["path"].startswith("data/adminlogs/")
        assert file["encrypted"] == ("consumer" if keys is TO_CONSUMER and not of_admin else "store")
        opened = result_files.decrypted(content, ADMIN if of_admin else RESULTS, file["path"])
        assert opened == clear[file["path"].removeprefix("data/")]
        assert (len(opened), sha256(opened)) == (file["size"], file["sha256"])
        if file["encrypted"] == "consumer":  # with nothing but the file and the private key
            sealed_key, path = result_files.read_prefix(content.partition(b"\n")[0])
            key = bytes.fromhex(ecies.unseal(CONSUMER, sealed_key, ""))
            assert (key, result_files.open_path(key, path)) == (RESULTS, file["path"])
    assert manifest["files"][0]["contentType"] == "text/csv"


def test_a_second_run_replaces_damaged_results_only(filtered: Pod) -> None:
    published(filtered, STORE)
    first, before = contents(filtered.results), {path: path.stat().st_mtime_ns for path in filtered.results.rglob("*")}
    published(filtered, STORE)
    assert {path: path.stat().st_mtime_ns for path in filtered.results.rglob("*")} == before
    (filtered.results / "data/0").write_bytes(b"evil")
    published(filtered, STORE)
    assert contents(filtered.results) == first  # byte for byte: the same keys give the same store
    filtered.write("results/manifest.json", b"{}")
    published(filtered, STORE)
    assert contents(filtered.results) == first


def test_a_file_that_is_not_what_the_filter_released_is_not_published(filtered: Pod) -> None:
    filtered.write("data/outputs/sub/a.csv", b"a;b\n")  # of the same size
    outcome = filtered.run("publish", {**stage_json(), "encryption": STORE})
    assert outcome.answer["message"] == "outputs/sub/a.csv: is not what the filter released; nothing is published"
    assert contents(filtered.results) == {}


def test_any_part_of_an_encrypted_file_can_be_read_again(pod: Pod) -> None:
    data = b"0123456789" * 300_000
    pod.write("data/outputs/x", data)
    root = os.open(pod.data, os.O_RDONLY)
    content = EncryptedContent(FileContent(root, "outputs/x", len(data), sha256(data)), RESULTS, "data/outputs/x", b"prefix\n")
    whole = b"".join(bytes(piece) for piece in content.read(0, content.size))
    assert len(whole) == content.size and content.sha256 == hashlib.sha256(whole).hexdigest()
    for offset, length in ((0, 10), (5, 2_000_000), (1 << 20, 1 << 20), (len(whole) - 3, 3), (0, 0)):
        assert b"".join(bytes(piece) for piece in content.read(offset, length)) == whole[offset : offset + length]
    assert b"".join(map(bytes, EncryptedContent(BytesContent(b""), RESULTS, "x", b"").read(0, 99)))[:1] == b"("
    os.close(root)


@pytest.mark.parametrize("name", ["results", "adminlogs"])
@pytest.mark.parametrize("value", [None, "", "zz", "00" * 31, 7])
def test_an_error_in_a_key_names_the_field_and_does_not_show_the_key(name: str, value: Any) -> None:
    with pytest.raises(InvalidField, match=rf"encryption\.{name}: must be") as caught:
        EncryptionKeys.from_json({**STORE, name: value}, "encryption")
    assert not value or str(value) not in str(caught.value)
