"""What each stage's Secret holds. The JSON is written out here: pods of other versions of the stage image read it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from c2d.contract import ConfigureInput, DirectoryTarget, FilterInput, IpfsTarget, PublishInput, Target
from c2d.crypto import ecies
from c2d.jobs.model import Job
from c2d.jobs.status import Stage
from c2d.market import download_grants
from c2d.pods.stage_input import algorithm_secret_content, configure_input, filter_input, publish_input, secret_content
from c2d.settings.environment import Environment
from c2d.settings.installation import read
from c2d.shared.records import Record
from tests.unit.examples import REMOTE, job, remote_job

KEY = ecies.new_private_key()
ENV: Environment = read({"OPERATOR_PRIVATE_KEY": KEY, "C2D_DATABASE_URL": "postgresql://u:DBSECRET@h/d", "diskGB": "3"}).environments[0]
VOLUME: Target = DirectoryTarget(path="/results")
DISK = 3 * 2**30


def parsed(conf: dict[str, Any]) -> Job:
    return Job.parse(conf, "ocean-compute")


def as_json(stage_input: Record) -> Any:
    content = secret_content(stage_input)
    assert list(content) == ["stage.json"]
    return json.loads(content["stage.json"])


def test_configure_gets_the_files_and_the_limits() -> None:
    file = {"type": "url", "url": "https://data.example/table.csv?token=TOPSECRET", "method": "GET", "headers": {"X-Key": "HEADERSECRET"}}
    assert as_json(configure_input("j1", parsed(job()), ENV)) == {
        "stage": "configure",
        "job": "j1",
        "inputs": [{"id": "did:op:aa", "files": [file], "ddo": None}],
        "algorithm": {"id": "did:op:cc", "files": [], "ddo": None, "rawcode": "print('hello')"},
        "customData": {},
        "limits": {"totalBytes": DISK, "seconds": 3600, "connections": 4, "publicOnly": False},
    }


def test_configure_gets_the_grants_of_remote_assets_and_not_the_operators_key() -> None:
    grants = download_grants.grant(KEY, ["did:op:aa", "did:op:cc"], 1000, 8, 60)
    content = as_json(configure_input("j1", parsed(remote_job()), ENV, grants=grants, public_only=True))
    own = [[list(grant) for grant in of_asset] for of_asset in grants.of_assets]
    remote = [{**REMOTE, "userdata": None, "grants": of_asset} for of_asset in own]
    assert content == {
        "stage": "configure",
        "job": "j1",
        "inputs": [{"id": "did:op:aa", "files": [], "ddo": None, "remote": remote[0]}],
        "algorithm": {"id": "did:op:cc", "files": [], "ddo": None, "rawcode": None, "remote": remote[1]},
        "customData": {},
        "limits": {"totalBytes": DISK, "seconds": 3600, "connections": 4, "publicOnly": True},
        "metadataUri": "https://aquarius.example",
        "consumerAddress": grants.consumer,
    }
    assert KEY[2:] not in json.dumps(content)


def test_the_algorithm_gets_the_jobs_secret_and_no_stage_json() -> None:
    assert algorithm_secret_content(parsed(job())) == {"secret": "JOBSECRET"}


def test_filter_gets_its_limits() -> None:
    limits = {"files": 10000, "totalBytes": DISK, "fileBytes": DISK, "depth": 16, "nameBytes": 255, "logBytes": 10 * 2**20}
    assert as_json(filter_input("j1", ENV)) == {"stage": "filter", "job": "j1", "limits": limits}


def test_publish_gets_its_store_and_limits() -> None:
    assert as_json(publish_input("j1", ENV, {Stage.FILTER: True}, VOLUME)) == {
        "stage": "publish",
        "job": "j1",
        "release": "filtered",
        "store": {"type": "directory", "path": "/results"},
        "encryption": None,
        "limits": {"logBytes": 10 * 2**20, "seconds": 3600, "retrySeconds": 600},
    }


def test_publish_gets_a_store_of_their_own_for_the_admin_logs() -> None:
    target = IpfsTarget(url="http://ipfs:5001", headers={"Authorization": "Bearer x"}, prefix="ipfs://")
    content = as_json(publish_input("j1", ENV, {}, VOLUME, target))
    admin_logs = {"type": "ipfs", "url": "http://ipfs:5001", "headers": {"Authorization": "Bearer x"}, "prefix": "ipfs://"}
    assert (content["store"], content["adminLogs"]) == ({"type": "directory", "path": "/results"}, admin_logs)


@pytest.mark.parametrize(("filtered", "release"), [(True, "filtered"), (False, "logs"), (None, "logs")])
def test_publish_releases_outputs_only_if_the_filter_succeeded(filtered: bool | None, release: str) -> None:
    ends_ok = {} if filtered is None else {Stage.FILTER: filtered}
    assert as_json(publish_input("j1", ENV, ends_ok, VOLUME))["release"] == release


def test_a_stage_reads_exactly_what_the_operator_wrote() -> None:
    grants = download_grants.grant(KEY, ["did:op:aa", "did:op:cc"], 1000, 8, 60)
    written: list[Record] = [
        configure_input("j1", parsed(job()), ENV),
        configure_input("j1", parsed(remote_job()), ENV, grants=grants),
        filter_input("j1", ENV),
        publish_input("j1", ENV, {}, VOLUME),
    ]
    kinds: list[type[Record]] = [ConfigureInput, ConfigureInput, FilterInput, PublishInput]
    assert [kind.from_json(as_json(record)) for kind, record in zip(kinds, written, strict=True)] == written


def test_a_job_whose_files_are_sealed_is_not_given_to_configure() -> None:
    sealed = parsed(job()).sealed(ecies.public_key(KEY), "j1")
    with pytest.raises(TypeError, match="must be opened"):
        configure_input("j1", sealed, ENV)
