"""publish to IPFS: a real kubo and a real IPFS cluster, the real stage, and the operator's half of it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from c2d.contract import IpfsTarget, StoreCids
from c2d.errors import ResultStoreError
from tests.stages.conftest import Pod, sha256
from tests.stages.publishing import Publishing

KIB = 1 << 10


@pytest.fixture
def outputs(pod: Pod) -> Pod:
    pod.write("data/outputs/sub/a.csv", b"a,b\n")
    pod.write("data/outputs/größe 数据 + #?.txt", "größe".encode())
    pod.write("data/outputs/empty", b"")
    pod.write("data/logs/algorithm.log", os.urandom(8).hex().encode())
    pod.write("data/adminlogs/configure.log", b"configured")
    return pod


def job_at(pod: Pod, service: Any, **more: str) -> Publishing:
    job = Publishing(pod, **service.settings(encrypt_results="none", **more))
    job.filter()
    return job


def test_results_are_one_pinned_directory_with_each_file_under_its_own_cid(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo)
    manifest, stores = job.verified(job.publish())
    root = stores["results"]["cid"]
    assert root.startswith("bafybei")
    for file in manifest["files"]:
        content = kubo.cat(f"{root}/{file['path']}")
        assert (len(content), sha256(content)) == (file["size"], file["sha256"])
        assert kubo.cat(file["cid"]) == content
    pins = kubo.pins()
    assert pins[root] == job.job and pins[stores["results"]["manifest"]] == job.job

    assert json.loads(kubo.cat(f"{stores['results']['manifest']}/manifest.json")) == manifest


@pytest.mark.parametrize("size", [0, 1, 256 * KIB - 1, 256 * KIB, 256 * KIB + 1, 174 * 256 * KIB, 174 * 256 * KIB + 1])
def test_cids_are_computed_as_kubo_does(pod: Pod, kubo: Any, size: int) -> None:
    from c2d_stages.common.unixfs import OPTIONS, FileCid

    content = os.urandom(size)
    import httpx

    answer = httpx.post(
        f"{kubo.url}/api/v0/add", params=OPTIONS, headers={"Authorization": f"Bearer {kubo.pod_token}"}, files={"file": content}, timeout=60
    )
    cid = FileCid()
    cid.update(memoryview(content))
    assert cid.text() == answer.json()["Hash"]


def test_removing_the_results_leaves_nothing_pinned_in_the_jobs_name(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo)
    _, stores = job.verified(job.publish())
    place = job.results.results
    place.remove(StoreCids.from_json(stores["results"]))
    assert job.job not in kubo.pins().values()
    place.remove(StoreCids.from_json(stores["results"]))  # again is fine


def test_pins_that_a_crash_has_left_are_found_by_the_jobs_name(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo)
    job.verified(job.publish())
    job.results.results.remove(StoreCids())
    assert job.job not in kubo.pins().values()


def test_a_run_that_is_not_recorded_leaves_nothing_pinned(outputs: Pod, kubo: Any) -> None:
    before = kubo.pins()
    assert job_at(outputs, kubo).publish().answer["ok"] is True
    assert kubo.pins() == before


def test_a_second_run_gives_the_same_cids(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo)
    first = job.publish()
    assert job.publish().answer == first.answer
    assert job.verified(first)[0]["files"]


@pytest.mark.parametrize(
    ("prefix", "url"),
    [
        ("http://gateway.example/ipfs/", "http://gateway.example/ipfs/{cid}/data/outputs/sub/a.csv"),
        ("http://gateway.example/ipfs", "http://gateway.example/ipfs/{cid}/data/outputs/sub/a.csv"),
        ("ipfs://", "ipfs://{cid}/data/outputs/sub/a.csv"),
        ("", "{api}/ipfs/{cid}/data/outputs/sub/a.csv"),
    ],
)
def test_urls_have_the_forms_of_operator_engine(outputs: Pod, kubo: Any, prefix: str, url: str) -> None:
    job = job_at(outputs, kubo, IPFS_OUTPUT_PREFIX=prefix)
    manifest, stores = job.verified(job.publish())
    actual = next(f["url"] for f in manifest["files"] if f["path"] == "data/outputs/sub/a.csv")
    assert actual == url.format(cid=stores["results"]["cid"], api=kubo.url)


def test_admin_logs_have_a_node_of_their_own(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo, IPFS_ADMINLOGS=kubo.url, IPFS_ADMINLOGS_PREFIX="ipfs://")
    manifest, stores = job.verified(job.publish())
    for file in manifest["files"]:
        admin = file["path"].startswith("data/adminlogs/")
        assert file["url"].startswith("ipfs://" if admin else kubo.gateway)
        assert kubo.cat(f"{stores['adminLogs' if admin else 'results']['cid']}/{file['path']}")[:1] != b"" or file["size"] == 0
    assert kubo.pins().keys() >= {stores["results"]["cid"], stores["results"]["manifest"], stores["adminLogs"]["cid"]}


def test_ipfs_comes_before_s3(outputs: Pod, kubo: Any, minio: Any) -> None:
    bucket, logs = minio.bucket(), minio.bucket()
    job = job_at(outputs, kubo, **minio.settings(AWS_BUCKET_OUTPUT=bucket, AWS_BUCKET_ADMINLOGS=logs))
    _, stores = job.verified(job.publish())
    assert (stores["results"]["type"], stores["adminLogs"]) == ("ipfs", {"type": "s3", "bucket": logs})
    assert minio.client().list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_encrypted_results_in_ipfs_reveal_nothing(outputs: Pod, kubo: Any) -> None:
    from c2d.jobs.model import Job
    from c2d.results import keys

    job = Publishing(outputs, **kubo.settings())  # encrypt_results: store, where results go to IPFS
    job.filter()
    conf = Job.parse({"algorithm": {"container": {"image": "a", "tag": "1", "entrypoint": "x"}}, "owner": "0x" + "ab" * 20}, job.env.id)
    result_keys = keys.new_keys(job.job, conf, job.env, job.settings.public_key)
    encryption_keys = keys.for_publish(result_keys, job.settings.OPERATOR_PRIVATE_KEY, job.job)
    outcome = job.follow(job.start(change=lambda stage: stage.update(encryption=encryption_keys and encryption_keys.to_json())))
    assert outcome.answer["ok"] is True, outcome
    opened = lambda content: keys.open_manifest(content, result_keys, job.settings.OPERATOR_PRIVATE_KEY, job.job)  # noqa: E731
    published = job.published(outcome, opened)
    manifest, stores = published.manifest.to_json(), published.stores
    root = stores["results"]["cid"]
    for file in manifest["files"]:
        stored = kubo.cat(f"{root}/{file['stored']['path']}")
        assert (len(stored), sha256(stored)) == (file["stored"]["size"], file["stored"]["sha256"])
        assert b"a,b" not in stored and file["filename"] not in str(file["stored"]["path"])


def test_rights_that_allow_more_than_add_are_not_given_to_a_pod(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo, C2D_IPFS_ADD_AUTH=f"bearer:{kubo.operator_token}")
    with pytest.raises(ResultStoreError, match=r"C2D_IPFS_ADD_AUTH: at the IPFS API a pod could do more than add \(pin/ls\)") as e:
        job.results.upload_rights(60)
    assert kubo.operator_token not in str(e.value) and kubo.url not in str(e.value)


def test_a_pod_does_not_get_the_operators_rights(outputs: Pod, kubo: Any) -> None:
    job = job_at(outputs, kubo, IPFS_API_KEY="account", IPFS_API_CLIENT="client")
    right = job.results.upload_rights(60)
    assert isinstance(right.store, IpfsTarget)
    assert right.store.headers == {"Authorization": f"Bearer {kubo.pod_token}", "X-API-KEY": "account", "CLIENT-ID": "client"}
    assert kubo.operator_token not in str(right.store.to_json())


def test_thousands_of_files_in_one_folder_arrive(pod: Pod, kubo: Any) -> None:
    """A folder that large is sharded in IPFS."""
    (pod.data / "outputs").mkdir()
    for number in range(6_000):
        (pod.data / f"outputs/a-rather-long-name-for-a-file-{number:05}").write_bytes(b"%d" % number)
    job = job_at(pod, kubo)
    manifest, _ = job.verified(job.publish())
    assert len(manifest["files"]) == 6_002


def test_a_cluster_pins_the_results_on_the_required_number_of_peers(outputs: Pod, ipfs_cluster: Any) -> None:
    job = job_at(outputs, ipfs_cluster, C2D_IPFS_REPLICATION_MIN="2", IPFS_OUTPUT_PREFIX="ipfs://", IPFS_EXPIRY_TIME="3600")
    _, stores = job.verified(job.publish())
    peer = ipfs_cluster.peers[0]
    for name in ("cid", "manifest"):
        assert peer.pinned_on(stores["results"][name]) == 2
        allocation = peer.api("GET", f"allocations/{stores['results'][name]}").json()
        assert (allocation["name"], allocation["replication_factor_min"]) == (job.job, 2)
        assert allocation["expire_at"] > "2026"
    place = job.results.results
    place.remove(StoreCids())
    assert peer.api("GET", f"allocations/{stores['results']['cid']}").status_code == 404
    place.remove(StoreCids.from_json(stores["results"]))  # again is fine


@pytest.mark.parametrize(
    ("wrong", "error", "sentence"),
    [
        ({"C2D_IPFS_AUTH": "basic:operator:SECRETWRONG"}, ResultStoreError, "the IPFS cluster does not pin what was sent: it answered 401"),
        ({"IPFS_OUTPUT": "http://127.0.0.1:1"}, ConnectionError, "the IPFS cluster does not answer"),
        ({"C2D_IPFS_REPLICATION_MIN": "5", "C2D_IPFS_REPLICATION_MAX": "5"}, ConnectionError, "the IPFS cluster answered 500"),
    ],
    ids=["refuses", "away", "too few peers"],
)
def test_a_cluster_that_does_not_pin_is_reported(
    outputs: Pod, ipfs_cluster: Any, wrong: dict[str, str], error: type[Exception], sentence: str
) -> None:
    job = job_at(outputs, ipfs_cluster, **wrong)
    outcome = job.publish()
    with pytest.raises(error, match=sentence) as e:
        job.verified(outcome)
    assert "SECRET" not in str(e.value) and "127.0.0.1" not in str(e.value)


def test_an_incomplete_directory_is_not_pinned(outputs: Pod, kubo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("c2d.hooks.ipfs.PIN_SECONDS", 2)
    job = job_at(outputs, kubo)
    outcome = job.publish()
    manifest = job.results.results.manifest(StoreCids.from_json(outcome.answer["stores"]["results"]))
    # The log is of this test alone: what another test has pinned too the node would not let go of.
    lost = next(f["cid"] for f in json.loads(manifest)["files"] if f["path"] == "data/logs/algorithm.log")
    assert "Error" not in kubo.api("block/rm", arg=lost).json()
    with pytest.raises(ResultStoreError, match="the node does not pin what was sent"):
        job.verified(outcome)
    assert job.job not in kubo.pins().values()
