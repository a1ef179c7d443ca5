"""IpfsHook with a real kubo node and a real IPFS Cluster, and with Airflow's connections."""

from __future__ import annotations

import json
from typing import Any

import pytest

from c2d.errors import ResultStoreError, UpstreamUnavailable
from c2d.hooks.ipfs import IpfsAccess, IpfsHook
from c2d.settings import installation
from c2d.settings.environment import Environment

BASE = {"OPERATOR_PRIVATE_KEY": "0x" + "11" * 32, "C2D_DATABASE_URL": "postgresql://x"}


def environment(**variables: str) -> Environment:
    return installation.read({**BASE, **variables}).environments[0]


def define(monkeypatch: pytest.MonkeyPatch, name: str = "ipfs_default", **fields: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps({"conn_type": "ipfs", **fields}))


def fields_of(kubo: Any, **extra: str) -> dict[str, Any]:
    """The connection's fields for a kubo node."""
    extra = {"add_authorization": f"bearer:{kubo.pod_token}", **extra}
    return {"host": "127.0.0.1", "schema": "http", "port": kubo.port, "password": f"bearer:{kubo.operator_token}", "extra": extra}


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"host": "ipfs"}, "http://ipfs"),
        ({"host": "ipfs", "port": 5001}, "http://ipfs:5001"),
        ({"host": "ipfs.example", "schema": "https"}, "https://ipfs.example"),
        ({"host": "https://ipfs.example/"}, "https://ipfs.example"),
        ({"host": "https://ipfs.example", "port": 5001}, "https://ipfs.example:5001"),
    ],
)
def test_host_schema_and_port_are_the_url(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], url: str) -> None:
    define(monkeypatch, **fields)
    assert IpfsHook().pinning_api().url == url


@pytest.mark.parametrize(
    ("fields", "header"),
    [
        ({"password": "bearer:T:1"}, "Bearer T:1"),
        ({"password": "basic:operator:secret"}, "Basic b3BlcmF0b3I6c2VjcmV0"),
        ({"login": "operator", "password": "secret"}, "Basic b3BlcmF0b3I6c2VjcmV0"),
    ],
)
def test_the_password_has_kubos_form_or_belongs_to_the_login(monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], header: str) -> None:
    define(monkeypatch, host="ipfs", **fields)
    assert IpfsHook().pinning_api().headers == {"Authorization": header}


def test_each_node_gets_its_own_authorization_and_all_get_the_gateways_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"add_url": "http://adds:5001", "add_authorization": "bearer:ADD", "read_authorization": "bearer:READ"}
    define(monkeypatch, host="ipfs", password="bearer:PIN", extra={**extra, "api_key": "KEY", "client_id": "CLIENT"})
    hook, gateway = IpfsHook(), {"X-API-KEY": "KEY", "CLIENT-ID": "CLIENT"}
    assert hook.pinning_api().headers == {**gateway, "Authorization": "Bearer PIN"}
    assert (hook.adding_node().url, hook.adding_node().headers) == ("http://adds:5001", {**gateway, "Authorization": "Bearer ADD"})
    assert (hook.reading_node().url, hook.reading_node().headers) == ("http://adds:5001", {**gateway, "Authorization": "Bearer READ"})


def test_settings_take_precedence_over_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "ours", host="ipfs", password="bearer:CONNECTION", extra={"add_authorization": "bearer:ADD", "api_key": "KEY"})
    env = environment(IPFS_OUTPUT="http://settings:5001", C2D_IPFS_AUTH="bearer:SETTING", C2D_IPFS_CONN_ID="ours")
    api = IpfsHook.of(env).pinning_api()
    assert (api.url, api.headers) == ("http://settings:5001", {"Authorization": "Bearer SETTING", "X-API-KEY": "KEY"})
    assert IpfsHook.of(env).adding_node().headers["Authorization"] == "Bearer ADD"
    assert IpfsHook.of(env, "http://logs:5001").pinning_api().url == "http://logs:5001"


def test_without_a_connection_the_settings_alone_count(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, host="ipfs", password="bearer:CONNECTION")
    assert IpfsHook.of(environment(IPFS_OUTPUT="http://settings:5001")).pinning_api().headers == {}


def test_an_undefined_connection_makes_ipfs_unavailable() -> None:
    env = environment(IPFS_OUTPUT="http://settings:5001", C2D_IPFS_CONN_ID="missing")
    with pytest.raises(UpstreamUnavailable, match=r"connection missing \(C2D_IPFS_CONN_ID\): is not defined in Airflow"):
        IpfsHook.of(env).pinning_api()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"password": "TOPSECRET"}, "authorization: "),
        ({"extra": {"add_authorization": "TOPSECRET"}}, "add_authorization: "),
        ({"extra": {"add_url": "TOPSECRET"}}, "add_url: must be an http:// or https:// URL"),
        ({"extra": {"add_auth": "bearer:TOPSECRET"}}, "add_auth: is not a known field"),
        ({"schema": "ftp"}, "api_url: must be an http:// or https:// URL"),
    ],
)
def test_a_malformed_connection_is_reported_by_field_without_its_value(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], sentence: str
) -> None:
    define(monkeypatch, **{"host": "ipfs", **fields})
    with pytest.raises(UpstreamUnavailable) as e:
        IpfsHook().pinning_api()
    assert str(e.value).startswith(f"connection ipfs_default: {sentence}") and "TOPSECRET" not in str(e.value)
    assert IpfsHook().test_connection() == (False, str(e.value))


def test_the_secrets_of_a_connection_are_masked_in_logs_and_hidden_in_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk._shared.secrets_masker import redact

    extra = {"add_authorization": "bearer:one-SECRET", "read_authorization": "basic:user:two-SECRET", "api_key": "three-SECRET"}
    define(monkeypatch, host="ipfs", password="bearer:four-SECRET", extra=extra)
    hook = IpfsHook()
    assert "SECRET" not in f"{hook.get_conn()!r} {hook.pinning_api()!r} {hook.adding_node()!r}"
    assert "SECRET" not in str(redact("Bearer one-SECRET, user:two-SECRET, three-SECRET, Bearer four-SECRET"))


def test_a_cluster_needs_a_node_that_pods_add_to(monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "ours", host="cluster")
    hook = IpfsHook.of(environment(IPFS_TYPE="CLUSTER", IPFS_OUTPUT="http://cluster:9094", C2D_IPFS_CONN_ID="ours"))
    with pytest.raises(ResultStoreError, match=r"C2D_IPFS_ADD_URL \(or add_url in the connection\): must name a kubo node"):
        hook.adding_node()


# -- the test button ---------------------------------------------------------------------------------------------------------------


def test_the_test_button_finds_a_kubo_node_where_pods_can_only_add(kubo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, **fields_of(kubo))
    assert IpfsHook().test_connection() == (True, "kubo answers, and pods can only add")


def test_the_test_button_warns_of_pods_that_could_do_more(kubo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, **fields_of(kubo, add_authorization=f"bearer:{kubo.operator_token}"))
    assert IpfsHook().test_connection() == (False, "kubo answers, but add_authorization allows more than adding (pin/ls)")


def test_the_test_button_misses_the_node_beside_a_cluster(ipfs_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = ipfs_cluster.peers[0]
    define(monkeypatch, host="127.0.0.1", port=peer.port, login=peer.user, password=peer.password)
    assert IpfsHook().test_connection() == (False, "IPFS Cluster answers, but add_url is not set: pods cannot add to a cluster")


def test_the_test_button_accepts_a_cluster_with_a_node_that_pods_add_to(ipfs_cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, node = ipfs_cluster.peers[0], ipfs_cluster.adds
    extra = {"add_url": node.url, "add_authorization": f"bearer:{node.pod_token}"}
    define(monkeypatch, host="127.0.0.1", port=peer.port, login=peer.user, password=peer.password, extra=extra)
    assert IpfsHook().test_connection() == (True, "IPFS Cluster answers, and pods can only add")


def test_the_test_button_reports_a_wrong_authorization_and_a_dead_node(kubo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, "wrong", **{**fields_of(kubo), "password": "bearer:wrong"})
    ok, text = IpfsHook("wrong").test_connection()
    assert not ok and "the authorization is wrong" in text
    define(monkeypatch, "dead", host="127.0.0.1", port=1, password="bearer:TOPSECRET")
    assert IpfsHook("dead").test_connection() == (False, "the IPFS node does not answer (ConnectError)")
    define(monkeypatch, "empty", password="bearer:TOPSECRET")
    assert IpfsHook("empty").test_connection() == (False, "the URL of the IPFS API is not set: it is IPFS_OUTPUT, or the connection's host")


def test_values_that_are_set_come_before_those_of_another_access() -> None:
    first, second = IpfsAccess(api_url="http://a/", api_key=" "), IpfsAccess(api_url="http://b", api_key="KEY")
    assert first.or_else(second) == IpfsAccess(api_url="http://a", api_key="KEY")
