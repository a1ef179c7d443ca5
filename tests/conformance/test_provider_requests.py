"""The validation of requests, route by route, with the error texts of Provider v2.1.6."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from c2d.api.provider import rules, validation
from tests.conformance.consumer import SERVICES, Consumer
from tests.conformance.test_provider_api import INVALID_SIGNATURE, client, faults, service  # noqa: F401

DATASET = {"documentId": "did:op:aa", "serviceId": "s", "transferTxId": "0x1"}
ALGORITHM = {"documentId": "did:op:cc", "serviceId": "s", "transferTxId": "0x2"}
SIGNED = {"consumerAddress": "0x1", "nonce": "2", "signature": "0x3"}
START = {"dataset": DATASET, "algorithm": ALGORITHM, **SIGNED}
INITIALIZE = {"datasets": [DATASET], "algorithm": ALGORITHM, "compute": {"env": "e", "validUntil": 1}, "consumerAddress": "0x1"}
DOWNLOAD = {**DATASET, **SIGNED, "fileIndex": 0}
RESULT = {"jobId": "j", "index": 0, **SIGNED}
DECRYPT = {"decrypterAddress": "0x1", "chainId": 1, "dataNftAddress": "0x2", "transactionId": "0x3", "nonce": "1", "signature": "0x4"}
TOKEN = {"address": "0x1", "nonce": "2", "signature": "0x3", "expiration": 2**40}


def without(body: Any, path: str) -> Any:
    first, dot, rest = path.partition(".")
    if not dot:
        return {k: v for k, v in body.items() if k != first}
    return {**body, first: without(body[first], rest)}


def required(*names: str) -> dict[str, list[str]]:
    return {name: [f"The {name} field is required."] for name in names}


@pytest.mark.parametrize(
    ("method", "route", "body", "missing", "expected"),
    [
        ("GET", "nonce", {}, "userAddress", required("userAddress")),
        # start: a rule with `bail` stops at the first error, the others do not
        ("POST", "compute", START, "dataset.documentId", required("dataset.documentId")),
        ("POST", "compute", START, "dataset.serviceId", required("dataset.serviceId")),
        ("POST", "compute", START, "dataset.transferTxId", {**required("dataset.transferTxId"), **INVALID_SIGNATURE}),
        ("POST", "compute", START, "consumerAddress", required("consumerAddress")),
        ("POST", "compute", START, "nonce", required("nonce")),
        ("POST", "compute", START, "signature", INVALID_SIGNATURE),
        ("PUT", "compute", SIGNED, "consumerAddress", required("consumerAddress")),
        ("PUT", "compute", SIGNED, "nonce", required("nonce")),
        ("PUT", "compute", SIGNED, "signature", INVALID_SIGNATURE),
        ("DELETE", "compute", SIGNED, "consumerAddress", required("consumerAddress")),
        ("DELETE", "compute", SIGNED, "nonce", required("nonce")),
        ("DELETE", "compute", SIGNED, "signature", INVALID_SIGNATURE),
        ("GET", "compute", {"jobId": "j"}, "consumerAddress", required("consumerAddress")),
        ("GET", "computeResult", RESULT, "jobId", required("jobId")),
        ("GET", "computeResult", RESULT, "index", required("index")),
        ("GET", "computeResult", RESULT, "consumerAddress", required("consumerAddress")),
        ("GET", "computeResult", RESULT, "nonce", required("nonce")),
        ("GET", "computeResult", RESULT, "signature", INVALID_SIGNATURE),
        ("POST", "initializeCompute", INITIALIZE, "datasets", required("datasets")),
        ("POST", "initializeCompute", INITIALIZE, "compute.env", required("compute.env")),
        ("POST", "initializeCompute", INITIALIZE, "compute.validUntil",
         {"compute.validUntil": ["The compute.validUntil field is required.", "The compute.validUntil must be an integer."]}),
        ("POST", "initializeCompute", INITIALIZE, "compute",
         {**required("compute.env"),
          "compute.validUntil": ["The compute.validUntil field is required.", "The compute.validUntil must be an integer."]}),
        ("POST", "initializeCompute", INITIALIZE, "consumerAddress", required("consumerAddress")),
        ("GET", "initialize", {**DATASET, "consumerAddress": "0x1"}, "documentId", required("documentId")),
        ("GET", "initialize", {**DATASET, "consumerAddress": "0x1"}, "serviceId", required("serviceId")),
        ("GET", "initialize", {**DATASET, "consumerAddress": "0x1"}, "consumerAddress", required("consumerAddress")),
        ("GET", "download", DOWNLOAD, "documentId", required("documentId")),
        ("GET", "download", DOWNLOAD, "serviceId", {**required("serviceId"), **INVALID_SIGNATURE}),
        ("GET", "download", DOWNLOAD, "consumerAddress", required("consumerAddress")),
        ("GET", "download", DOWNLOAD, "transferTxId", required("transferTxId")),
        ("GET", "download", DOWNLOAD, "fileIndex", {**required("fileIndex"), **INVALID_SIGNATURE}),
        ("GET", "download", DOWNLOAD, "nonce", required("nonce")),
        ("GET", "download", DOWNLOAD, "signature", INVALID_SIGNATURE),
        ("POST", "decrypt", DECRYPT, "decrypterAddress", {**required("decrypterAddress"), **INVALID_SIGNATURE}),
        ("POST", "decrypt", DECRYPT, "chainId", {**required("chainId"), **INVALID_SIGNATURE}),
        ("POST", "decrypt", DECRYPT, "dataNftAddress", {**required("dataNftAddress"), **INVALID_SIGNATURE}),
        ("POST", "decrypt", DECRYPT, "nonce",
         {"nonce": ["The nonce field is required.", "The nonce must be a number."], **INVALID_SIGNATURE}),
        ("POST", "decrypt", DECRYPT, "signature", INVALID_SIGNATURE),
        ("GET", "createAuthToken", TOKEN, "address", required("address")),
        ("GET", "createAuthToken", TOKEN, "expiration", required("expiration")),
        ("GET", "createAuthToken", TOKEN, "nonce", required("nonce")),
        ("DELETE", "deleteAuthToken", {**TOKEN, "token": "t"}, "address", required("address")),
        ("DELETE", "deleteAuthToken", {**TOKEN, "token": "t"}, "token", required("token")),
        ("DELETE", "deleteAuthToken", {**TOKEN, "token": "t"}, "nonce", required("nonce")),
    ],
)  # fmt: skip
def test_an_error_names_the_missing_field_in_the_providers_words(
    client: TestClient, method: str, route: str, body: Any, missing: str, expected: Any
) -> None:
    fields = without(body, missing) if missing.split(".")[0] in body else body
    flat = method == "GET"
    sent = {"params": fields} if flat else {"json": fields}
    assert faults(client.request(method, f"{SERVICES}/{route}", **sent)) == expected


def check(data: Any, name: str) -> dict[str, list[str]]:
    return validation.faults(data, getattr(rules, name), lambda: True)


@pytest.mark.parametrize("name", ["COMPUTE_START", "INITIALIZE_COMPUTE"])
def test_an_algorithm_must_be_an_asset_or_have_meta(name: str) -> None:
    body = {**START, **INITIALIZE}
    neither = check({**body, "algorithm": {}}, name)
    assert neither == {
        "algorithm.documentId": ["The algorithm.documentId field is required when algorithm.meta is not present."],
        "algorithm.meta": ["The algorithm.meta field is required when algorithm.documentId is not present."],
    }
    orphan = {"serviceId": "s", "transferTxId": "0x", "meta": {"rawcode": "x"}}
    assert check({**body, "algorithm": orphan}, name) == {
        "algorithm.documentId": ["The algorithm.documentId field is required when algorithm.serviceId, algorithm.transferTxId are present."]
    }
    for good in ({"meta": {"rawcode": "x"}}, ALGORITHM, {"documentId": "did:op:cc"}):
        assert check({**body, "algorithm": good}, name) == {}


def test_decrypt_needs_a_transaction_id_or_the_document_itself() -> None:
    fields = {"encryptedDocument": "0x1", "flags": 0, "documentHash": "0x2"}
    assert check(DECRYPT, "DECRYPT") == check({**without(DECRYPT, "transactionId"), **fields}, "DECRYPT") == {}
    missing = check(without(DECRYPT, "transactionId"), "DECRYPT")
    others = "dataNftAddress, encryptedDocument, flags, documentHash"
    assert missing == {
        "transactionId": [f"The transactionId field is required when {others} is not present."],
        "encryptedDocument": ["The encryptedDocument field is required when transactionId is not present."],
        "flags": ["The flags field is required when transactionId is not present."],
        "documentHash": ["The documentHash field is required when transactionId is not present."],
    }
    half = check({**DECRYPT, "flags": 1}, "DECRYPT")
    assert half == {
        "encryptedDocument": ["The encryptedDocument field is required when flags, documentHash is present."],
        "documentHash": ["The documentHash field is required when encryptedDocument, flags is present."],
    }


def test_fileinfo_needs_an_asset_or_a_file_object() -> None:
    assert check({}, "FILE_INFO") == {
        "type": ["The type field is required when did is not present.", "The selected type is invalid."],
        "did": ["The did field is required when type is not present.", "The did format is invalid."],
        "serviceId": ["The serviceId field is required when type is not present."],
    }
    for body, field, sentence in (
        ({"type": "url"}, "url", "The url field is required when type is url."),
        ({"type": "ipfs"}, "hash", "The hash field is required when type is ipfs."),
        ({"type": "arweave"}, "transactionId", "The transactionId field is required when type is arweave."),
        ({"type": "ftp"}, "type", "The selected type is invalid."),
        ({"did": "x", "serviceId": "s"}, "did", "The did format is invalid."),
    ):
        assert check(body, "FILE_INFO") == {field: [sentence]}
    for good in ({"did": "did:op:a", "serviceId": "s"}, {"type": "url", "url": "http://a"}, {"type": "graphql"}, {"type": "smartcontract"}):
        assert check(good, "FILE_INFO") == {}


@pytest.mark.parametrize(
    ("name", "body", "expected"),
    [
        ("INITIALIZE", {"documentId": "d", "serviceId": "s", "consumerAddress": "c", "fileIndex": "x"},
         {"fileIndex": ["The fileIndex must be an integer."]}),
        ("INITIALIZE", {"documentId": "d", "serviceId": 0, "consumerAddress": "c", "fileIndex": "-1"},
         {"fileIndex": ["The fileIndex must be an integer.", "The fileIndex must be at least 0."]}),
        ("COMPUTE_STOP", {**SIGNED, "nonce": "soon"}, {"nonce": ["The nonce must be a number."]}),
        ("COMPUTE_START", {**START, "nonce": True}, {"nonce": ["The nonce must be a number."]}),
        ("INITIALIZE_COMPUTE", {**INITIALIZE, "compute": {"env": "e", "validUntil": "1.5"}},
         {"compute.validUntil": ["The compute.validUntil must be an integer."]}),
        ("INITIALIZE_COMPUTE", {**INITIALIZE, "datasets": []}, {"datasets": ["The datasets field is required."]}),
        ("CREATE_TOKEN", {**TOKEN, "expiration": int(time.time()) - 5}, {"expiration": ["Invalid timestamp provided."]}),
        ("CREATE_TOKEN", {**TOKEN, "expiration": "soon"}, {"expiration": ["The expiration must be an integer."]}),
        ("CREATE_TOKEN", {**TOKEN, "expiration": 2**70}, {"expiration": ["Invalid timestamp provided."]}),
        ("COMPUTE_RESULT", {**RESULT, "index": ""}, {"index": ["The index field is required."]}),
        ("COMPUTE_RESULT", RESULT, {}),
    ],
)  # fmt: skip
def test_an_error_names_the_invalid_field_in_the_providers_words(name: str, body: Any, expected: Any) -> None:
    assert check(body, name) == expected


@pytest.mark.parametrize("body", [{"dataset": "x"}, {"dataset": ["a"]}, {"dataset": None, "algorithm": 3}, {"algorithm": "x" * 10}])
def test_a_field_of_the_wrong_type_counts_as_missing(client: TestClient, body: Any) -> None:
    assert "dataset.documentId" in faults(client.post(f"{SERVICES}/compute", json={**SIGNED, **body}))


def test_a_rejected_body_does_not_use_up_the_nonce(client: TestClient) -> None:
    consumer = Consumer(client)
    signed = consumer.signed(consumer.address, "did:op:aa")
    assert faults(client.post(f"{SERVICES}/compute", json={**signed, "dataset": DATASET, "algorithm": {}}))
    assert consumer.next_nonce() == "2"


NASTY: list[Any] = ["\x00", "\ud800", "9" * 5000, 10**30, 1e400, -1, [], {"a": 1}, "٣", None]


@pytest.mark.parametrize("value", NASTY, ids=lambda v: repr(v)[:12])
def test_no_value_of_any_field_makes_the_server_fail(client: TestClient, service: Any, value: Any) -> None:
    """Each value is tried in each field of each request, with a valid signature if possible."""
    consumer = Consumer(client)
    bodies = {
        ("POST", "compute"): START,
        ("PUT", "compute"): {**SIGNED, "jobId": "j", "documentId": "did:op:aa"},
        ("GET", "compute"): {"consumerAddress": "0x1", "jobId": "j", "documentId": "d", "agreementId": "a"},
        ("GET", "computeResult"): RESULT,
        ("POST", "initializeCompute"): INITIALIZE,
        ("GET", "initialize"): {**DATASET, "consumerAddress": "0x1", "fileIndex": 0, "validUntil": 1, "environment": "e", "userdata": "{}"},
        ("GET", "download"): DOWNLOAD,
        ("POST", "decrypt"): {**DECRYPT, "encryptedDocument": "0x", "flags": 0, "documentHash": "0x"},
        ("POST", "fileinfo"): {"did": "did:op:aa", "serviceId": "s", "type": "url", "url": "http://127.0.0.1:9/x", "checksum": True},
        ("POST", "validateContainer"): {"entrypoint": "x", "image": "127.0.0.1:9/x", "checksum": "sha256:" + "0" * 64},
        ("GET", "createAuthToken"): TOKEN,
        ("DELETE", "deleteAuthToken"): {**TOKEN, "token": "t"},
        ("GET", "nonce"): {"userAddress": "0x1"},
    }
    for (method, route), body in bodies.items():
        for name in body:
            changed = {**body, name: value}
            if name not in ("nonce", "signature", "consumerAddress", "address", "decrypterAddress") and "signature" in body:
                changed |= signed_as(consumer, route, method, changed)
            text = json.dumps(changed)
            answer = client.request(method, f"{SERVICES}/{route}", content=text, headers={"Content-Type": "application/json"})
            away = answer.status_code == 503 and answer.json()["error"].startswith("chain 8996")
            assert answer.status_code < 500 or away, (route, name, answer.text)
    for chain in ("9" * 5000, "٣", "-1"):
        answer = client.post(f"{SERVICES}/encrypt", params={"chainId": chain}, headers={"Content-Type": "application/octet-stream"})
        assert answer.status_code == 400


def signed_as(consumer: Consumer, route: str, method: str, body: dict[str, Any]) -> dict[str, Any]:
    """A valid signature of the request, if its text can be signed."""
    who = {"decrypt": "decrypterAddress", "createAuthToken": "address", "deleteAuthToken": "address"}.get(route, "consumerAddress")
    dataset = body.get("dataset")
    did = {
        ("POST", "compute"): dataset.get("documentId") if isinstance(dataset, dict) else "",
        ("GET", "computeResult"): body.get("index"),
    }.get((method, route), body.get("documentId"))
    parts: tuple[Any, ...] = (consumer.address, body.get("jobId"), did)
    if route == "download":
        parts = (did,)
    elif route == "decrypt":
        parts = (body.get("transactionId") or body.get("dataNftAddress"), consumer.address, body.get("chainId"))
    try:
        return consumer.signed(*("" if p in (None, "") else str(p) for p in parts), who=who)
    except UnicodeEncodeError:
        return {}
