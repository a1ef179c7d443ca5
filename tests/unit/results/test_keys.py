from __future__ import annotations

import hashlib
import json
from typing import Literal

import pytest

from c2d.api import trigger
from c2d.contract import DirectoryTarget, FileType, ManifestEntry
from c2d.crypto import ecies, result_files
from c2d.database.jobs import JobRepository, keys_after_publishing
from c2d.database.nonces import Caller
from c2d.database.queue import JobQueue
from c2d.errors import InvalidJob, InvalidSeal
from c2d.jobs.model import Job
from c2d.jobs.status import Reason, Stage, StageEnd
from c2d.lifecycle import submit
from c2d.pods.stage_input import publish_input, secret_content
from c2d.results import keys
from c2d.settings import installation
from c2d.settings.installation import Settings
from tests.unit.examples import job

OPERATOR = ecies.new_private_key()
CONSUMER = ecies.new_private_key()
MANIFEST = {"files": [], "withheld": []}


def read(**variables: str) -> Settings:
    return installation.read({"OPERATOR_PRIVATE_KEY": OPERATOR, "C2D_DATABASE_URL": "postgresql://x", **variables})


def a_job(public_key: str | None = None) -> Job:
    return Job.parse(job(**({"output": {"publicKey": public_key}} if public_key else {})), "ocean-compute")


def entry(kind: FileType, encrypted: Literal["store", "consumer"] | None = None) -> ManifestEntry:
    return ManifestEntry(
        index=0,
        path="data/x/a",
        filename="a",
        size=1,
        sha256="00" * 32,
        type=kind,
        contentType="text/plain",
        encrypted=encrypted,
    )


def made(mode: str) -> dict[str, str]:
    (env,) = read(encrypt_results=mode).environments
    return keys.new_keys("j1", a_job(ecies.public_key(CONSUMER)), env, ecies.public_key(OPERATOR))


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "none"),
        ({"IPFS_OUTPUT": "http://ipfs:5001"}, "store"),
        ({"IPFS_OUTPUT": "http://ipfs:5001", "encrypt_results": "none"}, "none"),
        ({"encrypt_results": "store"}, "store"),
        ({"encrypt_results": "consumer"}, "consumer"),
        ({"encrypt_results": " "}, "none"),
    ],
)
def test_what_goes_to_ipfs_is_encrypted_unless_the_operator_says_otherwise(variables: dict[str, str], mode: str) -> None:
    assert read(**variables).environments[0].encryption == mode


def test_the_publish_stage_gets_the_jobs_keys_and_no_more() -> None:
    for mode in ("store", "consumer"):
        kept = made(mode)
        given = keys.for_publish(kept, OPERATOR, "j1")
        assert given and set(given.to_json()) == {"results", "adminlogs"} | ({"sealedKey"} if mode == "consumer" else set())
        assert given.results != given.adminlogs and not any(k in json.dumps(kept) for k in (given.results, given.adminlogs))
        (env,) = read(encrypt_results=mode).environments
        text = secret_content(publish_input("j1", env, {}, DirectoryTarget(path="/results"), keys=given))["stage.json"]
        assert json.loads(text)["encryption"] == given.to_json() and OPERATOR[2:] not in text
        with pytest.raises(InvalidSeal):
            keys.for_publish(kept, OPERATOR, "j2")
    assert made("none") == {} and keys.for_publish({}, OPERATOR, "j1") is None


def test_the_consumer_can_open_its_key_and_the_operator_soon_cannot() -> None:
    kept = made("consumer")
    given = keys.for_publish(kept, OPERATOR, "j1")
    assert given and given.sealedKey and ecies.unseal(CONSUMER, given.sealedKey, "") == given.results
    later = keys_after_publishing(kept)
    assert later == {n: kept[n] for n in ("adminlogs", "consumer")}
    assert keys.key_of(entry("output", "consumer"), later, OPERATOR, "j1") is None
    log = keys.key_of(entry("configrationLog", "store"), later, OPERATOR, "j1")
    assert log and log.hex() == given.adminlogs


def test_the_operator_verifies_the_manifest_that_was_stored() -> None:
    kept = made("consumer")
    given = keys.for_publish(kept, OPERATOR, "j1")
    assert given and given.sealedKey
    key = bytes.fromhex(given.results)
    stored = result_files.Encrypted(
        lambda offset, length: b"{}"[offset : offset + length],
        2,
        hashlib.sha256(b"{}").hexdigest(),
        key,
        "manifest.json",
        result_files.prefix_for(key, given.sealedKey, "manifest.json"),
    ).read(0, 10_000)
    assert keys.open_manifest(stored, kept, OPERATOR, "j1") == b"{}" == keys.open_manifest(b"{}", None, OPERATOR, "j1")
    for wrong, with_keys in ((stored[:-1], kept), (b"{}", kept), (stored, keys_after_publishing(kept))):
        with pytest.raises(ValueError, match=r"truncated|another|forgotten|changed"):
            keys.open_manifest(wrong, with_keys, OPERATOR, "j1")


def test_what_the_operator_reads_with_which_key() -> None:
    kept = made("store")
    given = keys.for_publish(kept, OPERATOR, "j1")
    assert given and keys_after_publishing(kept) == kept
    names: dict[FileType, str] = {"output": "results", "algorithmLog": "results", "filteringLog": "adminlogs", "publishLog": "adminlogs"}
    for kind, name in names.items():
        key = keys.key_of(entry(kind, "store"), kept, OPERATOR, "j1")
        assert key and key.hex() == getattr(given, name)
        with pytest.raises(LookupError, match="has been deleted"):
            keys.key_of(entry(kind, "store"), None, OPERATOR, "j1")
    assert keys.key_of(entry("output"), None, OPERATOR, "j1") is None


def test_a_second_try_of_publish_has_the_same_keys(database_url: str) -> None:
    """So that what it uploads is the same, part by part."""
    store, first = JobRepository(database_url), made("store")
    store.open_job("j1", "ocean-compute", a_job())
    assert store.result_keys("j1") is None
    assert store.store_result_keys("j1", first) == first
    assert store.store_result_keys("j1", made("store")) == first == store.result_keys("j1")


@pytest.mark.parametrize("published", [True, False])
def test_the_consumers_key_is_forgotten_once_the_results_are_published_and_not_before(database_url: str, published: bool) -> None:
    store, kept = JobRepository(database_url), made("consumer")
    store.open_job("j1", "ocean-compute", a_job())
    store.store_result_keys("j1", kept)
    store.end_stage("j1", StageEnd(Stage.PUBLISH, Reason.COMPLETED if published else Reason.ERROR, 0), None, None)
    store.finish_job("j1", MANIFEST if published else None)
    assert store.result_keys("j1") == (keys_after_publishing(kept) if published else kept)


def test_a_job_without_the_consumers_key_is_refused_where_it_is_needed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = read(encrypt_results="consumer", C2D_DATABASE_URL=database_url, access_control="open")
    wanted = "output.publicKey: is required, for environment ocean-compute encrypts results to the consumer"
    with pytest.raises(InvalidJob, match=wanted):
        submit.submit(loaded, JobQueue(database_url), a_job(), "ocean-compute", Caller("0xprovider", 1))
    monkeypatch.setattr(installation, "load", lambda: loaded)
    with pytest.raises(InvalidJob, match=wanted):
        trigger.guarded(json.dumps({"conf": job()}).encode(), "ocean-compute")
    trigger.guarded(json.dumps({"conf": job(output={"publicKey": ecies.public_key(CONSUMER)})}).encode(), "ocean-compute")


@pytest.mark.parametrize("key", ["0x04", "no hex", "0x04" + "11" * 64, "0x" + "02" * 300])
def test_a_key_that_nothing_can_be_encrypted_to_is_refused(key: str) -> None:
    with pytest.raises(InvalidJob, match=r"output\.publicKey"):
        a_job(key)
