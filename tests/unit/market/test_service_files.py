"""File objects: decryption of files that Ocean's tools encrypted, and what to fetch for each type."""

from __future__ import annotations

import json
from typing import Any

import pytest

from c2d.crypto import ecies
from c2d.errors import InvalidServiceFiles
from c2d.market import service_files
from c2d.market.ddo import Asset
from c2d.market.service_files import ContractCall, Gateways, Request
from tests.unit import sample_market as m

# `files` of a sample asset of Ocean's Provider, encrypted to the public test key of its development network.
OCEANS = (
    "0x0442b53536ebb3f1ee0301288efc7a14b9f807e9d104647ca052b0fb67954440bf18f9b5143c94ac5e7dedbefacccbf38783728de2f4c8af8468dca630e1e92e5c7c03cb8"
    "2b4956fcfecb9fe6f19771df19e7e8dd06b4d6665bbe5b3d5bf5dbf5781b4f3ee97c7864a98d903df4acea2ad39176aed782b3faad82808ca4709382ccd8fa42561830069293d"
    "7cd6685696a54fc752f6d78fe7b3ed598636c5447fa593ffe4929280f3e6720f159251474035a29bdc11ae73150d3871600010dd97bd7de63cb64b338d4f5c1a9b70c082df80"
    "1864a7d4f6c19e5568361e3cf6a3e795f5ae7c8972019405c113a33b5ae09a4dd5cdeff0"
)
NFT, DATATOKEN = m.address(1), m.address(2)
GATEWAYS = Gateways("https://ipfs.example", "https://arweave.example/")


def asset(version: str = "4.5.0", **fields: Any) -> Asset:
    return Asset.parse(m.document(NFT, [m.service(NFT, DATATOKEN, version=version, **fields)], version=version))


def decrypted(published: Asset) -> tuple[dict[str, Any], ...]:
    return service_files.decrypt(published, published.services[0], m.PROVIDER_KEY)


def encrypted(content: Any) -> str:
    return service_files.encrypt(ecies.public_key(m.PROVIDER_KEY), json.dumps(content).encode())


def test_files_that_oceans_tools_encrypted_are_decrypted() -> None:
    (file,) = decrypted(asset("4.0.0", files=OCEANS))
    assert file["type"] == "url" and file["url"].startswith("https://")


@pytest.mark.parametrize("version", ["4.0.0", "4.1.0", "4.5.0"])
def test_files_of_every_ddo_version_are_decrypted(version: str) -> None:
    assert decrypted(asset(version, of=[m.URL, m.URL])) == (m.URL, m.URL)
    assert decrypted(asset(version, of=[])) == ()


@pytest.mark.parametrize(
    ("version", "content", "fault"),
    [
        ("4.5.0", [m.URL], "Expected an object with datatokenAddress, nftAddress and files"),
        ("4.0.0", {"files": [m.URL]}, "Expected a files list"),
        (
            "4.5.0",
            {"datatokenAddress": m.address(9), "nftAddress": NFT, "files": []},
            "Mismatch of datatokenAddress: the files were encrypted for another asset",
        ),
        (
            "4.5.0",
            {"datatokenAddress": DATATOKEN, "nftAddress": m.address(9), "files": []},
            "Mismatch of nftAddress: the files were encrypted for another asset",
        ),
        ("4.5.0", {"datatokenAddress": DATATOKEN.lower(), "nftAddress": NFT.lower(), "files": "x"}, "Expected a files list"),
        ("4.0.0", ["x"], "Expected a files list of objects"),
        ("4.0.0", [m.URL] * 1001, "Expected a files list of at most 1000"),
    ],
)
def test_files_of_another_asset_or_form_are_rejected(version: str, content: Any, fault: str) -> None:
    with pytest.raises(InvalidServiceFiles) as e:
        decrypted(asset(version, files=encrypted(content)))
    assert str(e.value).startswith(fault)


@pytest.mark.parametrize(
    "files", ["0x", "zz", "0x04" + "11" * 200, service_files.encrypt(ecies.public_key("0x" + "11" * 32), b"[]"), encrypted(1)[:-2]]
)
def test_files_that_cannot_be_decrypted_are_rejected_without_quoting_them(files: str) -> None:
    with pytest.raises(InvalidServiceFiles, match="not encrypted to this Provider's key") as e:
        decrypted(asset("4.0.0", files=files))
    assert e.value.__cause__ is None and files not in str(e.value)


FETCHED: dict[str, tuple[dict[str, Any], dict[str, Any] | None, Request]] = {
    "url": ({"type": "url", "url": "https://h/x?a=1"}, None, Request("https://h/x?a=1")),
    "url with parameters": (
        {"type": "url", "url": "https://h/x?a=1", "headers": {"X-Key": "k"}},
        {"b": "ü &", "c": [1]},
        Request("https://h/x?a=1&b=%C3%BC+%26&c=%5B1%5D", headers={"X-Key": "k"}),
    ),
    "POST": ({"type": "url", "url": "https://h/x", "method": "post"}, None, Request("https://h/x", "POST")),
    "POST with parameters": (
        {"type": "url", "url": "https://h/x", "method": "POST", "headers": [{"X-Key": "k"}, {"content-type": "x"}]},
        {"b": 1},
        Request("https://h/x", "POST", {"X-Key": "k", "Content-Type": "application/json"}, b'{"b": 1}'),
    ),
    "ipfs": ({"type": "ipfs", "hash": "QmX/a b.csv"}, None, Request("https://ipfs.example/ipfs/QmX/a%20b.csv")),
    "arweave": ({"type": "arweave", "transactionId": "a_B-1"}, {"p": "1"}, Request("https://arweave.example/a_B-1?p=1")),
    "graphql": (
        {"type": "graphql", "url": "https://h/g", "query": "{ x }"},
        {"n": 1},
        Request("https://h/g", "POST", {"Content-Type": "application/json"}, b'{"query": "{ x }", "variables": {"n": 1}}'),
    ),
}


@pytest.mark.parametrize("what", FETCHED)
def test_each_type_of_file_becomes_a_request(what: str) -> None:
    file, userdata, request = FETCHED[what]
    assert service_files.to_fetch(file, userdata, GATEWAYS, 8996) == request
    assert "https://h" not in repr(request)


ABI = {"type": "function", "name": "swapFee", "stateMutability": "view", "inputs": [{"name": "who", "type": "address"}], "outputs": []}


def test_a_contracts_result_is_a_file() -> None:
    call = service_files.to_fetch({"type": "smartcontract", "address": NFT, "abi": ABI}, {"who": DATATOKEN, "other": 1}, GATEWAYS, 8996)
    assert call == ContractCall(8996, NFT, ABI, {"who": DATATOKEN})


@pytest.mark.parametrize(
    ("file", "fault"),
    [
        ("x", "malformed service files"),
        ({}, "Unsupported type for service files: must be one of url, ipfs, arweave, graphql, smartcontract"),
        ({"type": "ftp"}, "Unsupported type for service files"),
        ({"type": "url"}, "malformed service files, missing required keys."),
        ({"type": "url", "url": "file:///etc/passwd"}, "malformed service files, url must begin with http"),
        ({"type": "url", "url": "https://h/", "method": "DELETE"}, "Unsafe method"),
        ({"type": "url", "url": "https://h/", "headers": {"A": "b\r\nHost: c"}}, "malformed service files, each header"),
        ({"type": "url", "url": "https://h/", "headers": ["x"]}, "malformed service files, headers must be an object"),
        ({"type": "url", "url": "https://h/?p=1"}, "userdata.p: is set by the asset itself"),
        ({"type": "ipfs"}, "malformed service files, missing required keys."),
        ({"type": "ipfs", "hash": "../api/v0/x"}, "malformed service files, the hash"),
        ({"type": "ipfs", "hash": "Qm/../../x"}, "malformed service files, the hash"),
        ({"type": "arweave"}, "malformed service files, missing transactionId."),
        ({"type": "graphql", "query": "{ x }"}, "missing graphql endpoint"),
        ({"type": "graphql", "url": "https://h/"}, "missing graphql query"),
        ({"type": "smartcontract", "abi": ABI}, "malformed smartcontract type, missing contract address"),
        ({"type": "smartcontract", "address": NFT, "abi": {}}, "invalid abi"),
        ({"type": "smartcontract", "address": NFT, "abi": {**ABI, "stateMutability": "payable"}}, "only view functions are allowed"),
        ({"type": "smartcontract", "address": NFT, "abi": {**ABI, "name": ""}}, "missing name"),
        ({"type": "smartcontract", "address": NFT, "abi": ABI}, "Missing userparam: who"),
    ],
)
def test_a_malformed_file_object_is_rejected(file: Any, fault: str) -> None:
    with pytest.raises(InvalidServiceFiles) as e:
        service_files.to_fetch(file, {"p": "2"}, GATEWAYS, 8996)
    assert str(e.value).startswith(fault)


@pytest.mark.parametrize(
    ("file", "name"), [({"type": "ipfs", "hash": "Qm"}, "IPFS"), ({"type": "arweave", "transactionId": "x"}, "ARWEAVE")]
)
def test_a_missing_gateway_is_named(file: Any, name: str) -> None:
    with pytest.raises(InvalidServiceFiles, match=f"No {name}_GATEWAY defined"):
        service_files.to_fetch(file, None, Gateways(), 8996)


def test_own_files_are_those_that_the_providers_key_decrypts() -> None:
    published = asset()
    assert service_files.own_files(published, published.services[0], m.PROVIDER_KEY) == (m.URL,)
    assert service_files.own_files(published, published.services[0], m.OTHER_PROVIDER_KEY) is None
    assert service_files.own_files(published, published.services[0], None) is None
