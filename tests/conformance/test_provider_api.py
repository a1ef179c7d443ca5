"""The API of Ocean's Provider, as far as it needs no chain. For the rest, see test_provider_market.py."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ecies
import jwt
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from fastapi.testclient import TestClient

from c2d.api.operator_service.app import create_app as create_operator
from c2d.api.provider.app import create_app
from c2d.api.provider.service import ProviderService
from c2d.api.provider.trailing_slash import PROVIDER_PATH, AddTrailingSlash
from c2d.crypto.signatures import address_of
from c2d.settings import installation
from tests.conformance.conftest import Runs, unprotected
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.provider import OTHER_KEY, OWNER

# The public test key of Ocean's provider repository.
PROVIDER_KEY = "0xfd5c1ccea015b6d663618850824154a3b3fb2882c46cefb05b9a93fea8c3d215"
DID = "did:op:aa"


@pytest.fixture
def service(variables: dict[str, str], runs: Runs) -> ProviderService:
    provider_settings = {
        "PROVIDER_PRIVATE_KEY": PROVIDER_KEY,
        "NETWORK_URL": '{"8996": "http://127.0.0.1:9"}',
        "PROVIDER_FEE_TOKEN": "0x" + "ab" * 20,
        "ALLOW_NON_PUBLIC_IP": "1",
    }
    loaded = installation.read({**variables, **provider_settings})
    return ProviderService(create_operator(loaded, runs, work=False).state.service)


@pytest.fixture
def client(service: ProviderService) -> Iterator[TestClient]:
    with TestClient(create_app(service), raise_server_exceptions=False) as c:
        yield c


@pytest.fixture
def consumer(client: TestClient) -> Consumer:
    return Consumer(client)


def faults(answer: Any) -> dict[str, list[str]]:
    body = answer.json()
    assert (answer.status_code, body["message"], body["success"]) == (400, "Validation error", False), answer.text
    errors: dict[str, list[str]] = body["errors"]
    return errors


def error(answer: Any) -> tuple[int, Any]:
    assert set(answer.json()) == {"error"}, answer.text
    return answer.status_code, answer.json()["error"]


INVALID_SIGNATURE = {"signature": ["Invalid signature provided. Please check the nonce or documentId."]}
INVALID_NONCE = {"nonce": ["The nonce must be higher than every nonce that this address has used before."]}


# -- the service ----------------------------------------------------------------------------------------------------------


def test_the_root_lists_the_endpoints_and_addresses_that_clients_need(client: TestClient) -> None:
    root = client.get("/").json()
    assert root["software"] == "Provider" and root["chainIds"] == [8996]
    assert root["providerAddresses"] == {"8996": address_of(PROVIDER_KEY)}
    endpoints = {
        "nonce": "GET",
        "encrypt": "POST",
        "decrypt": "POST",
        "fileinfo": "POST",
        "initialize": "GET",
        "initializeCompute": "POST",
        "download": "GET",
        "computeEnvironments": "GET",
        "computeStart": "POST",
        "computeStop": "PUT",
        "computeStatus": "GET",
        "computeDelete": "DELETE",
        "computeResult": "GET",
    }
    for name, method in endpoints.items():
        listed_method, path = root["serviceEndpoints"][name]
        assert listed_method == method and path.startswith("/api/services/")


def test_every_listed_endpoint_exists(client: TestClient) -> None:
    for method, path in client.get("/").json()["serviceEndpoints"].values():
        answer = client.request(method, path)
        assert answer.status_code not in (403, 404, 405), (method, path, answer.text)


def test_the_root_answers_with_and_without_a_trailing_slash(client: TestClient) -> None:
    airflow = FastAPI()
    airflow.mount(PROVIDER_PATH, client.app)
    airflow.get("/{rest:path}")(lambda: PlainTextResponse("the web page"))
    airflow.add_middleware(AddTrailingSlash)
    with TestClient(airflow, follow_redirects=False) as c:
        assert c.get("/provider").json() == c.get("/provider/").json() == client.get("/").json()
        assert c.get(f"/provider{SERVICES}/nonce?userAddress=0x1").json() == {"nonce": "1"}
        assert c.get("/providers").text == c.get("/").text == "the web page"


def test_web_pages_of_other_sites_can_call_it(client: TestClient) -> None:
    asked = {"Origin": "https://market.example", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "AuthToken"}
    allowed = client.options(f"{SERVICES}/compute", headers=asked)
    assert allowed.status_code == 200 and "PUT" in allowed.headers["access-control-allow-methods"]
    for answer in (client.get("/", headers=asked), client.get(f"{SERVICES}/nonce", headers=asked)):
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["access-control-expose-headers"] == "Content-Disposition"
        assert "access-control-allow-credentials" not in answer.headers


def test_every_route_declares_who_may_use_it(client: TestClient) -> None:
    assert unprotected(client) == []


def test_errors_about_unknown_routes_are_json(client: TestClient) -> None:
    assert error(client.get("/nothing")) == (404, "Not Found")
    assert error(client.patch(f"{SERVICES}/compute")) == (405, "Method Not Allowed")
    assert error(client.post(f"{SERVICES}/compute", content=b"{")) == (400, "body: must be valid JSON")
    assert error(client.post(f"{SERVICES}/compute", content=b"[1]")) == (400, "payload seems empty.")
    assert error(client.post(f"{SERVICES}/compute", content=b"x" * (2 * 2**20 + 1)))[0] == 413


def test_an_internal_error_is_answered_503_without_its_text(client: TestClient, service: ProviderService, monkeypatch: Any) -> None:
    def broken(address: str) -> str:
        raise RuntimeError("https://rpc.example/SECRET")

    monkeypatch.setattr(service.consumers, "nonce", broken)
    answer = client.get(f"{SERVICES}/nonce", params={"userAddress": OWNER, "documentId": DID})
    assert answer.status_code == 503 and "SECRET" not in answer.text
    assert answer.json() == {"error": "internal error; the operator's log says more", "context": {"documentId": DID}}


def test_the_environments_are_listed_by_chain(client: TestClient, service: ProviderService) -> None:
    (env,) = client.get(f"{SERVICES}/computeEnvironments").json()["8996"]
    assert env["id"] == "ocean-compute" and env["priceMin"] == 0.5 and env["feeToken"] == "0x" + "ab" * 20
    assert env["consumerAddress"] == service.settings.address


# -- nonces and signatures --------------------------------------------------------------------------------------------------


def test_a_nonce_is_text_and_starts_at_one_for_an_unknown_address(client: TestClient, consumer: Consumer) -> None:
    asked = {"userAddress": consumer.address}
    assert client.get(f"{SERVICES}/nonce", params=asked).json() == {"nonce": "1"}
    for nonce in ("2", "1700000000123.456", "1700000000124"):
        assert client.put(f"{SERVICES}/compute", json=consumer.signed(consumer.address, nonce=nonce)).status_code == 200
        assert client.get(f"{SERVICES}/nonce", params=asked).json() == {"nonce": nonce}
    assert client.get(f"{SERVICES}/nonce", params={"userAddress": consumer.address.lower()}).json() == {"nonce": "1700000000124"}
    assert faults(client.get(f"{SERVICES}/nonce")) == {"userAddress": ["The userAddress field is required."]}


@pytest.mark.parametrize("v", [0, 27])
def test_a_signature_is_accepted_with_both_kinds_of_recovery_id(client: TestClient, consumer: Consumer, v: int) -> None:
    for nonce in range(2, 6):  # enough for both recovery ids
        signed = consumer.signed(consumer.address, nonce=str(nonce))
        raw = bytes.fromhex(signed["signature"][2:])
        signed["signature"] = "0x" + (raw[:64] + bytes([raw[64] % 27 + v])).hex()
        assert client.put(f"{SERVICES}/compute", json=signed).status_code == 200


def test_only_one_of_many_concurrent_replays_succeeds(client: TestClient, consumer: Consumer) -> None:
    signed = consumer.signed(consumer.address, nonce="7")
    gate = threading.Barrier(8)

    def send(n: int) -> int:
        gate.wait()
        return client.put(f"{SERVICES}/compute", json=signed).status_code

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(send, range(8))) == [200] + [400] * 7


def test_a_replay_on_another_route_is_rejected(client: TestClient, consumer: Consumer) -> None:
    signed = consumer.signed(consumer.address, who="address")
    asked = {**signed, "expiration": int(time.time()) + 60}
    assert client.get(f"{SERVICES}/createAuthToken", params=asked).status_code == 200
    # The signed text of a token is also that of a request to stop all jobs.
    assert faults(client.put(f"{SERVICES}/compute", json={**signed, "consumerAddress": consumer.address})) == INVALID_NONCE

    result = consumer.signed(consumer.address, "a" * 32, "0")
    asked = {**result, "jobId": "a" * 32, "index": "0"}
    assert client.get(f"{SERVICES}/computeResult", params=asked).status_code == 404
    assert faults(client.get(f"{SERVICES}/computeResult", params=asked)) == INVALID_NONCE


def test_a_signature_cannot_be_used_for_another_request(client: TestClient, consumer: Consumer) -> None:
    """Index 12 with nonce 3 has the same signed text as index 1 with nonce 23."""
    job = "a" * 32
    signed = consumer.signed(consumer.address, job, "12", nonce="3")
    asked = {**signed, "jobId": job, "index": "12"}
    assert client.get(f"{SERVICES}/computeResult", params=asked).status_code == 404
    assert faults(client.get(f"{SERVICES}/computeResult", params={**asked, "index": "1", "nonce": "23"})) == INVALID_NONCE
    # The thief's attempt has used up 23, but the owner can continue.
    later = consumer.signed(consumer.address, job, "1")
    assert client.get(f"{SERVICES}/computeResult", params={**later, "jobId": job, "index": "1"}).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "5"},
        {"signature": "0x" + "11" * 65},
        {"signature": "nothing"},
        {"signature": ""},
        {"jobId": "b" * 32},
        {"consumerAddress": OWNER},
        {"consumerAddress": "me"},
        {"nonce": "-3"},
        {"nonce": "1e3"},
    ],
)
def test_an_invalid_signature_is_rejected(client: TestClient, consumer: Consumer, change: dict[str, str]) -> None:
    signed = consumer.signed(consumer.address, "a" * 32, nonce="4")
    assert faults(client.put(f"{SERVICES}/compute", json={**signed, "jobId": "a" * 32, **change})) == INVALID_SIGNATURE
    assert consumer.next_nonce() == "2"  # no nonce was used up


# -- auth tokens ------------------------------------------------------------------------------------------------------------


def token_of(client: TestClient, consumer: Consumer, seconds: int = 60) -> str:
    asked = {**consumer.signed(consumer.address, who="address"), "expiration": int(time.time()) + seconds}
    token: str = client.get(f"{SERVICES}/createAuthToken", params=asked).json()["token"]
    return token


def stop_with(client: TestClient, token: str, address: str, nonce: str) -> Any:
    return client.put(f"{SERVICES}/compute", json={"consumerAddress": address, "nonce": nonce}, headers={"AuthToken": token})


def test_a_token_replaces_a_signature_until_it_is_revoked(client: TestClient, consumer: Consumer) -> None:
    token = token_of(client, consumer)
    assert set(jwt.decode(token, options={"verify_signature": False})) == {"exp", "address", "jti"}
    assert stop_with(client, token, consumer.address, "10").status_code == 200
    assert faults(stop_with(client, token, consumer.address, "10")) == INVALID_NONCE
    assert faults(stop_with(client, token, OWNER, "11")) == INVALID_SIGNATURE
    assert faults(stop_with(client, token + "x", consumer.address, "11")) == INVALID_SIGNATURE

    asked = {**consumer.signed(consumer.address, who="address"), "token": token}
    assert client.request("DELETE", f"{SERVICES}/deleteAuthToken", json=asked).json() == {"success": "Token has been deactivated."}
    assert faults(stop_with(client, token, consumer.address, "20")) == INVALID_SIGNATURE
    again = {**consumer.signed(consumer.address, who="address"), "token": token}
    assert error(client.request("DELETE", f"{SERVICES}/deleteAuthToken", json=again)) == (400, "Token is expired.")


def test_a_forged_or_expired_token_is_rejected(client: TestClient, consumer: Consumer, service: ProviderService) -> None:
    claims = {"exp": int(time.time()) + 60, "address": consumer.address}
    for token in (
        jwt.encode(claims, "another key, which is long enough for HS256", algorithm="HS256"),
        jwt.encode(claims, "", algorithm="none"),
        jwt.encode({"address": consumer.address}, service.consumers._key, algorithm="HS256"),
        jwt.encode({**claims, "exp": 1}, service.consumers._key, algorithm="HS256"),
    ):
        assert faults(stop_with(client, token, consumer.address, "10")) == INVALID_SIGNATURE
    foreign = {**consumer.signed(consumer.address, who="address"), "token": token_of(client, Consumer(client, OTHER_KEY))}
    assert error(client.request("DELETE", f"{SERVICES}/deleteAuthToken", json=foreign)) == (400, "Token is invalid.")


def test_a_token_with_an_expiration_in_milliseconds_stays_revoked(client: TestClient, consumer: Consumer) -> None:
    """JavaScript's clock counts milliseconds. Tokens of Ocean's Provider would be identical, so a new one would revive a revoked one."""
    expiration = (int(time.time()) + 3600) * 1000

    def new() -> str:
        asked = {**consumer.signed(consumer.address, who="address"), "expiration": expiration}
        return str(client.get(f"{SERVICES}/createAuthToken", params=asked).json()["token"])

    stolen = new()
    revoke = {**consumer.signed(consumer.address, who="address"), "token": stolen}
    assert client.request("DELETE", f"{SERVICES}/deleteAuthToken", json=revoke).json() == {"success": "Token has been deactivated."}
    fresh = new()
    assert stop_with(client, fresh, consumer.address, "20").status_code == 200
    assert faults(stop_with(client, stolen, consumer.address, "21")) == INVALID_SIGNATURE


def test_a_token_cannot_be_used_to_create_a_token(client: TestClient, consumer: Consumer) -> None:
    token = token_of(client, consumer)
    asked = {"address": consumer.address, "nonce": "9", "expiration": int(time.time()) + 10**6}
    refused = faults(client.get(f"{SERVICES}/createAuthToken", params=asked, headers={"AuthToken": token}))
    assert refused == {"signature": ["The signature field is required.", *INVALID_SIGNATURE["signature"]]}


# -- encrypt ----------------------------------------------------------------------------------------------------------------


def test_only_the_provider_can_decrypt_what_it_has_encrypted(client: TestClient) -> None:
    text = json.dumps({"files": [{"type": "url", "url": "https://data.example/ö"}]})
    answer = client.post(f"{SERVICES}/encrypt?chainId=8996", content=text.encode(), headers={"Content-Type": "application/octet-stream"})
    assert answer.status_code == 201 and answer.headers["content-type"].startswith("text/plain")
    assert answer.text.startswith("0x04")
    assert ecies.decrypt(PROVIDER_KEY, bytes.fromhex(answer.text[2:])).decode() == text


@pytest.mark.parametrize(
    ("query", "content_type", "text"),
    [
        ("?chainId=8996", "application/json", "Invalid request content type: should be application/octet-stream"),
        ("", "application/octet-stream", "Missing chainId query parameter."),
        ("?chainId=1", "application/octet-stream", "Failed to encrypt."),
        ("?chainId=x", "application/octet-stream", "Failed to encrypt."),
    ],
)
def test_an_invalid_encrypt_request_is_rejected(client: TestClient, query: str, content_type: str, text: str) -> None:
    answer = client.post(f"{SERVICES}/encrypt{query}", content=b"{}", headers={"Content-Type": content_type})
    assert error(answer) == (400, text)
