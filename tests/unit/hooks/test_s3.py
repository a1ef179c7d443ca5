"""The account that S3 clients use: the settings', else the Airflow connection's. With a real MinIO."""

from __future__ import annotations

import json
from typing import Any

import pytest

from c2d.hooks.s3 import s3_client
from c2d.settings import installation
from c2d.settings.environment import Environment

BASE = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "C2D_DATABASE_URL": "postgresql://x"}


def environment(**variables: str) -> Environment:
    return installation.read({**BASE, **variables}).environments[0]


def define(monkeypatch: pytest.MonkeyPatch, minio: Any, **fields: Any) -> None:
    extra = {"endpoint_url": minio.endpoint, "region_name": minio.region}
    connection = {"conn_type": "aws", "login": minio.access_key, "password": minio.secret_key, "extra": extra, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_OUR_STORE", json.dumps(connection))


def buckets(env: Environment) -> list[str]:
    return [bucket["Name"] for bucket in s3_client(env).list_buckets()["Buckets"]]


def test_the_connection_gives_account_and_endpoint(minio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, minio)
    bucket = minio.bucket()
    assert bucket in buckets(environment(C2D_AWS_CONN_ID="our_store", AWS_BUCKET_OUTPUT=bucket))


def test_settings_take_precedence_over_the_connection(minio: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, minio, login="wrong", password="wrong")
    bucket = minio.bucket()
    assert bucket in buckets(environment(C2D_AWS_CONN_ID="our_store", **minio.settings(AWS_BUCKET_OUTPUT=bucket)))
