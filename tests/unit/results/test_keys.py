"""The keys of encrypted results: who gets which, and when they are deleted."""

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
        index=0, path="data/x/a", filename="a", size=1, sha256="00" * 32, type=kind, contentType="text/plain", encrypted=encrypted
    )


def new_keys(mode: str) -> dict[str, str]:
    (env,) = read(encrypt_results=mode).environments
    return keys.new_keys("j1", a_job(ecies.public_key(CONSUMER)), env, ecies.public_key(OPERATOR))


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "none"),
        ({"IPFS_OUTPUT": "http://ipfs:5001"}, "store"),
        ({"C2D_IPFS_CONN_ID": "ours"}, "store"),
        ({"IPFS_OUTPUT": "http://ipfs:5001", "encrypt_results": "none"}, "none"),
        ({"encrypt_results": "store"}, "store"),
        ({"encrypt_results": "consumer"}, "consumer"),
        ({"encrypt_results": " "}, "none"),
    ],
)
def test_results_in_ipfs_are_encrypted_by_default(variables: dict[str, str], mode: str) -> None:
    assert read(**variables).environments[0].encryption == mode


def test_publish_gets_the_jobs_keys_and_nothing_else() -> None:
    for mode in ("store", "consumer"):
        stored_keys = new_keys(mode)
        opened = keys.for_publish(stored_keys, OPERATOR, "j1")
        assert opened and set(opened.to_json()) == {"results", "adminlogs"} | ({"sealedKey"} if mode == "consumer" else set())
        assert opened.results != opened.adminlogs
        assert not any(key in json.dumps(stored_keys) for key in (opened.results, opened.adminlogs))
        (env,) = read(encrypt_results=mode).environments
        text = secret_content(publish_input("j1", env, {}, DirectoryTarget(path="/results"), keys=opened))["stage.json"]
        assert json.loads(text)["encryption"] == opened.to_json() and OPERATOR[2:] not in text
        with pytest.raises(InvalidSeal):
            keys.for_publish(stored_keys, OPERATOR, "j2")
    assert new_keys("none") == {} and keys.for_publish({}, OPERATOR, "j1") is None


def test_only_the_consumer_can_open_the_results_key_after_publishing() -> None:
    stored_keys = new_keys("consumer")
    opened = keys.for_publish(stored_keys, OPERATOR, "j1")
    assert opened and ecies.unseal(CONSUMER, opened.sealedKey, "") == opened.results
    later = keys_after_publishing(stored_keys)
    assert later == {n: stored_keys[n] for n in ("adminlogs", "consumer")}
    assert keys.key_of(entry("output", "consumer"), later, OPERATOR, "j1") is None
    log = keys.key_of(entry("configrationLog", "store"), later, OPERATOR, "j1")
    assert log and log.hex() == opened.adminlogs


def test_the_stored_manifest_is_decrypted_only_if_publish_wrote_it() -> None:
    stored_keys = new_keys("consumer")
    opened = keys.for_publish(stored_keys, OPERATOR, "j1")
    assert opened
    key = bytes.fromhex(opened.results)
    stored = result_files.Encrypted(
        lambda offset, length: b"{}"[offset : offset + length],
        2,
        hashlib.sha256(b"{}").hexdigest(),
        key,
        "manifest.json",
        result_files.prefix_for(key, opened.sealedKey, "manifest.json"),
    ).read(0, 10_000)
    assert keys.open_manifest(stored, stored_keys, OPERATOR, "j1") == b"{}" == keys.open_manifest(b"{}", None, OPERATOR, "j1")
    for wrong, with_keys in ((stored[:-1], stored_keys), (b"{}", stored_keys), (stored, keys_after_publishing(stored_keys))):
        with pytest.raises(ValueError, match=r"truncated|another|forgotten|changed"):
            keys.open_manifest(wrong, with_keys, OPERATOR, "j1")


def test_results_and_admin_logs_have_different_keys() -> None:
    stored_keys = new_keys("store")
    opened = keys.for_publish(stored_keys, OPERATOR, "j1")
    assert opened and keys_after_publishing(stored_keys) == stored_keys
    for kind, name in (("output", "results"), ("algorithmLog", "results"), ("filteringLog", "adminlogs"), ("publishLog", "adminlogs")):
        key = keys.key_of(entry(kind, "store"), stored_keys, OPERATOR, "j1")
        assert key and key.hex() == getattr(opened, name)
        with pytest.raises(LookupError, match="has been deleted"):
            keys.key_of(entry(kind, "store"), None, OPERATOR, "j1")
    assert keys.key_of(entry("output"), None, OPERATOR, "j1") is None


def test_a_second_run_of_publish_has_the_same_keys(database_url: str) -> None:
    """So that what it uploads is the same, part by part."""
    store, first = JobRepository(database_url), new_keys("store")
    store.open_job("j1", "ocean-compute", a_job())
    assert store.result_keys("j1") is None
    assert store.store_result_keys("j1", first) == first
    assert store.store_result_keys("j1", new_keys("store")) == first == store.result_keys("j1")


@pytest.mark.parametrize("published", [True, False])
def test_the_operators_key_is_deleted_once_the_results_are_published_and_not_before(database_url: str, published: bool) -> None:
    store, stored_keys = JobRepository(database_url), new_keys("consumer")
    store.open_job("j1", "ocean-compute", a_job())
    store.store_result_keys("j1", stored_keys)
    store.end_stage("j1", StageEnd(Stage.PUBLISH, Reason.COMPLETED if published else Reason.ERROR, 0), None, None)
    store.finish_job("j1", MANIFEST if published else None)
    assert store.result_keys("j1") == (keys_after_publishing(stored_keys) if published else stored_keys)


def test_a_job_without_a_public_key_is_refused_if_the_consumer_decrypts_the_results(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = read(encrypt_results="consumer", C2D_DATABASE_URL=database_url, access_control="open")
    sentence = "output.publicKey: is required, for environment ocean-compute encrypts results to the consumer"
    with pytest.raises(InvalidJob, match=sentence):
        submit.submit(loaded, JobQueue(database_url), a_job(), "ocean-compute", Caller("0xprovider", 1))
    monkeypatch.setattr(installation, "load", lambda: loaded)
    with pytest.raises(InvalidJob, match=sentence):
        trigger.guarded_body(json.dumps({"conf": job()}).encode(), "ocean-compute")
    trigger.guarded_body(json.dumps({"conf": job(output={"publicKey": ecies.public_key(CONSUMER)})}).encode(), "ocean-compute")


@pytest.mark.parametrize("key", ["0x04", "no hex", "0x04" + "11" * 64, "0x" + "02" * 300])
def test_a_malformed_public_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidJob, match=r"output\.publicKey"):
        a_job(key)
