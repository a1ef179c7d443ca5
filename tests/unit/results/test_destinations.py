"""Which stores an environment's settings choose."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from c2d.errors import UpstreamUnavailable
from c2d.hooks import connections
from c2d.results.destinations import VOLUME, Destination, Destinations, destinations, storage_term
from c2d.settings import installation
from c2d.settings.environment import Environment


def environment(**variables: str) -> Environment:
    base = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "C2D_DATABASE_URL": "postgresql://x"}
    return installation.read({**base, **variables}).environments[0]


S3, IPFS = Destination("s3", "bucket"), Destination("ipfs", "http://ipfs:5001", "http://ipfs:5001/ipfs/")


@pytest.mark.parametrize(
    ("variables", "results", "admin_logs"),
    [
        ({}, VOLUME, VOLUME),
        ({"AWS_BUCKET_OUTPUT": "bucket"}, S3, S3),
        ({"AWS_BUCKET_OUTPUT": "bucket", "IPFS_OUTPUT": "http://ipfs:5001/"}, IPFS, IPFS),
        ({"AWS_BUCKET_ADMINLOGS": "bucket"}, VOLUME, S3),
        ({"AWS_BUCKET_OUTPUT": "bucket", "IPFS_ADMINLOGS": "http://ipfs:5001"}, S3, IPFS),
        ({"AWS_BUCKET_ADMINLOGS": "bucket", "IPFS_ADMINLOGS": "http://ipfs:5001"}, VOLUME, IPFS),
    ],
)
def test_ipfs_comes_before_s3_and_s3_before_the_volume(variables: dict[str, str], results: Destination, admin_logs: Destination) -> None:
    chosen = destinations(environment(**variables))
    assert chosen == Destinations(results, admin_logs)
    assert chosen.include_volume == (VOLUME in (results, admin_logs))


@pytest.mark.parametrize(("prefix", "expected"), [("ipfs://", "ipfs://"), ("http://gateway/ipfs", "http://gateway/ipfs/")])
def test_a_prefix_ends_with_a_slash(prefix: str, expected: str) -> None:
    assert destinations(environment(IPFS_OUTPUT="http://ipfs:5001", IPFS_OUTPUT_PREFIX=prefix)).results.prefix == expected


@pytest.mark.parametrize("destination", [VOLUME, S3, Destination("ipfs", "http://ipfs:5001")])
def test_the_record_in_a_jobs_row_leads_back_to_the_store(destination: Destination) -> None:
    assert Destination.of_record(json.loads(json.dumps(destination.dump(cid="bafy")))) == destination


@pytest.mark.parametrize(
    ("variables", "destination", "term"),
    [
        ({}, IPFS, None),
        ({"STORAGE_EXPIRY": "2"}, S3, timedelta(hours=2)),
        ({"STORAGE_EXPIRY": "2", "IPFS_EXPIRY_TIME": "60"}, S3, timedelta(hours=2)),
        ({"STORAGE_EXPIRY": "2", "IPFS_EXPIRY_TIME": "60"}, IPFS, timedelta(seconds=60)),
        ({"IPFS_EXPIRY_TIME": "60"}, IPFS, timedelta(seconds=60)),
    ],
)
def test_the_shorter_term_counts(variables: dict[str, str], destination: Destination, term: timedelta | None) -> None:
    assert storage_term(environment(**variables), destination) == term


# -- the URL in an Airflow connection ----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connections._connection.cache_clear()
    monkeypatch.setenv("AIRFLOW_CONN_OURS", json.dumps({"conn_type": "ipfs", "host": "connected", "port": 5001}))
    monkeypatch.setenv("AIRFLOW_CONN_CREDENTIALS", json.dumps({"conn_type": "ipfs", "password": "bearer:x"}))


def test_the_host_of_the_connection_is_where_results_go() -> None:
    env = environment(C2D_IPFS_CONN_ID="ours", AWS_BUCKET_OUTPUT="bucket")
    assert destinations(env).results == Destination("ipfs", "http://connected:5001", "http://connected:5001/ipfs/")
    assert env.encryption == "store", "as all that goes to IPFS"


def test_a_url_in_the_settings_comes_before_the_connection() -> None:
    assert destinations(environment(C2D_IPFS_CONN_ID="ours", IPFS_OUTPUT="http://ipfs:5001")).results == IPFS


def test_a_connection_without_a_host_chooses_no_store() -> None:
    assert destinations(environment(C2D_IPFS_CONN_ID="credentials", AWS_BUCKET_OUTPUT="bucket")).results == S3


def test_a_connection_that_is_missing_never_sends_results_to_another_store() -> None:
    with pytest.raises(UpstreamUnavailable, match="connection missing"):
        destinations(environment(C2D_IPFS_CONN_ID="missing", AWS_BUCKET_OUTPUT="bucket"))
