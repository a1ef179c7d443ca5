"""What Airflow shows of our connection types, through its own providers managers."""

from __future__ import annotations

import json

import pytest


@pytest.mark.parametrize(("connection_type", "hook"), [("ocean", "c2d.hooks.datatoken.DatatokenHook"), ("ipfs", "c2d.hooks.ipfs.IpfsHook")])
def test_airflow_can_test_connections_of_our_types(connection_type: str, hook: str) -> None:
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    known = ProvidersManagerTaskRuntime().hooks[connection_type]
    assert known is not None and known.connection_testable and known.hook_class_name == hook


def test_airflows_test_button_reaches_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.sdk import Connection

    extra = json.dumps({"add_url": "http://127.0.0.1:1"})
    monkeypatch.setenv("AIRFLOW_CONN_OUR_IPFS", json.dumps({"conn_type": "ipfs", "host": "127.0.0.1", "port": 1}))
    connection = Connection(conn_id="our_ipfs", conn_type="ipfs", host="127.0.0.1", port=1, extra=extra)
    assert connection.test_connection() == (False, "the IPFS node does not answer (ConnectError)")


def test_the_forms_have_names_fields_and_hidden_secrets() -> None:
    from airflow.providers_manager import ProvidersManager

    manager = ProvidersManager()
    widgets = {name: widget for name, widget in manager.connection_form_widgets.items() if name.startswith("extra__ipfs__")}
    secret = {widget.field_name for widget in widgets.values() if widget.is_sensitive}
    assert secret == {"add_authorization", "read_authorization", "api_key"}
    assert {widget.field_name for widget in widgets.values()} == secret | {"add_url", "client_id"}
    assert manager.field_behaviours["ipfs"]["relabeling"]["host"] == "API host"
    assert manager.field_behaviours["ocean"]["hidden_fields"] == ["host", "schema", "login", "password", "port"]


@pytest.mark.parametrize("field", ["add_authorization", "read_authorization", "api_key"])
def test_airflow_masks_the_secret_fields_by_their_names(field: str) -> None:
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    assert should_hide_value_for_key(field)


def test_every_field_of_the_ipfs_form_is_one_that_the_hook_reads() -> None:
    from c2d.hooks.ipfs import IpfsAccess
    from c2d.provider_info import get_provider_info

    (ipfs,) = (t for t in get_provider_info()["connection-types"] if t["connection-type"] == "ipfs")
    assert set(ipfs["conn-fields"]) | {"api_url", "authorization"} == set(IpfsAccess.model_fields)
