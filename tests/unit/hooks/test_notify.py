"""NotifyHook with a real receiver: operator-engine's body, the receiver's credentials, and errors without secrets."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from c2d.crypto import ecies
from c2d.crypto.signatures import address_of, signer_of_text
from c2d.hooks.notify import NotifyHook, signed_body
from c2d.settings import installation
from tests.unit.crypto.test_signatures import ENGINE, NOTIFY_SIGNATURE

if TYPE_CHECKING:
    from tests.unit.hooks.conftest import Server

KEY = ecies.new_private_key()


def hook(server: Server, **variables: str) -> NotifyHook:
    urls = {"NOTIFY_START_URL": f"{server.url}/start?token=URLSECRET", "NOTIFY_STOP_URL": f"{server.url}/stop"}
    allowed = {"C2D_NOTIFY_HOSTS": "127.0.0.1", "C2D_NOTIFY_SECONDS": "1"}
    base = {"OPERATOR_PRIVATE_KEY": KEY, "C2D_DATABASE_URL": "postgresql://x"}
    settings = installation.read({**base, **allowed, **urls, **variables})
    return NotifyHook(settings, settings.environments[0])


def send(hook: NotifyHook, event: str = "start", **fields: Any) -> str | None:
    job = {"job_id": "j1", "algorithm_did": "did:op:algo", "input_dids": ["did:op:data"], "sealed_secret": None, **fields}

    async def sent() -> str | None:
        async with httpx.AsyncClient(follow_redirects=False) as client:
            return await hook.send(client, event, **job)

    return asyncio.run(sent())


def define(monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_RECEIVER", json.dumps({"conn_type": "http", **fields}))


def headers_of(server: Server) -> dict[str, str]:
    """The headers of the last request."""
    return {name.lower(): value for name, value in server.asked[-1][1].items()}


def test_the_receiver_gets_operator_engines_signed_body(server: Server) -> None:
    sealed = ecies.seal(ecies.public_key(KEY), "hush", "j1")
    assert send(hook(server), sealed_secret=sealed) is None
    ((path, _, body),) = server.asked
    assert path == "/start?token=URLSECRET"
    signature = body.pop("signature")
    assert body == {"algoDID": "did:op:algo", "jobId": "j1", "secret": "hush", "DID": ["did:op:data"]}
    assert signer_of_text('"hush"["did:op:data"]"j1""did:op:algo"', signature) == address_of(KEY)


def test_body_and_signature_are_those_of_operator_engine() -> None:
    assert signed_body(ENGINE, "j1", "did:op:cc", ["did:op:aa", "did:op:bb"], "s3cr3t") == {
        "algoDID": "did:op:cc",
        "jobId": "j1",
        "secret": "s3cr3t",
        "DID": ["did:op:aa", "did:op:bb"],
        "signature": NOTIFY_SIGNATURE,
    }


def test_an_algorithm_without_a_did_is_null(server: Server) -> None:
    assert send(hook(server), "stop", algorithm_did="raw") is None
    assert (server.asked[0][0], server.asked[0][2]["algoDID"]) == ("/stop", None)


@pytest.mark.parametrize("status", [302, 401, 500])
def test_only_a_2xx_answer_is_a_delivery(server: Server, status: int) -> None:
    server.status = status
    assert send(hook(server)) == f"answered {status}"
    assert len(server.asked) == 1, "redirects are not followed"


def test_errors_contain_neither_url_nor_secret(server: Server) -> None:
    dead = hook(server, NOTIFY_START_URL="http://127.0.0.1:1/start?token=URLSECRET")
    assert send(dead) == "ConnectError"
    assert send(hook(server), sealed_secret=ecies.seal(ecies.public_key(KEY), "hush", "another job")) == "InvalidSeal"
    server.silent = True
    assert send(hook(server, C2D_NOTIFY_SECONDS="0.2")) == "no answer within 0.2 s"


def test_the_list_of_hosts_holds_when_it_is_sent_too(server: Server) -> None:
    it = hook(server)
    it.settings = it.settings.model_copy(update={"C2D_NOTIFY_HOSTS": ("example.com",)})
    assert send(it) == "its host is not in C2D_NOTIFY_HOSTS, or it is not https://"
    assert server.asked == []


# -- the receiver's credentials ----------------------------------------------------------------------------------------------------


def test_a_connection_has_the_receivers_password_and_headers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, login="operator", password="SECRET", extra={"X-Tenant": "7", "timeout": 3, "verify": False})
    assert send(hook(server, C2D_NOTIFY_CONN_ID="receiver")) is None
    headers = headers_of(server)
    assert headers["authorization"] == "Basic " + base64.b64encode(b"operator:SECRET").decode()
    assert headers["x-tenant"] == "7" and "timeout" not in headers and "verify" not in headers


def test_a_connection_can_have_a_token_as_header(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, extra={"Authorization": "Bearer SECRET"})
    assert send(hook(server, C2D_NOTIFY_CONN_ID="receiver")) is None
    assert headers_of(server)["authorization"] == "Bearer SECRET"


def test_the_user_in_a_setting_takes_precedence_over_the_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, login="operator", password="SECRET")
    url = server.url.replace("http://", "http://other:word@")
    assert send(hook(server, C2D_NOTIFY_CONN_ID="receiver", NOTIFY_START_URL=url)) is None
    assert headers_of(server)["authorization"] == "Basic " + base64.b64encode(b"other:word").decode()


@pytest.mark.parametrize(
    ("host", "port", "schema", "sent"),
    [
        ("127.0.0.1", None, None, True),
        ("http://127.0.0.1", None, None, True),
        ("127.0.0.1", "own", "http", True),
        ("receiver.example", None, None, False),
        ("127.0.0.1", 1, None, False),
        ("127.0.0.1", None, "https", False),
        ("https://127.0.0.1", None, None, False),
    ],
)
def test_only_the_connections_own_host_gets_its_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch, host: str, port: int | str | None, schema: str | None, sent: bool
) -> None:
    fields = {"host": host, "schema": schema, "port": server.http.server_port if port == "own" else port}
    define(monkeypatch, login="operator", password="SECRET", extra={"X-Token": "SECRET"}, **{n: v for n, v in fields.items() if v})
    assert send(hook(server, C2D_NOTIFY_CONN_ID="receiver")) is None
    assert ("authorization" in headers_of(server), "x-token" in headers_of(server)) == (sent, sent)


def test_without_its_connection_nothing_is_sent(server: Server) -> None:
    error = send(hook(server, C2D_NOTIFY_CONN_ID="missing"))
    assert error is not None and error.startswith("connection missing (C2D_NOTIFY_CONN_ID): is not defined in Airflow")
    assert server.asked == []


def test_a_header_that_cannot_be_sent_is_an_error_without_its_value(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    define(monkeypatch, extra={"X-Token": "SECRET\n"})
    assert send(hook(server, C2D_NOTIFY_CONN_ID="receiver")) == "LocalProtocolError"
