"""DDOs: how they are parsed, that their DID must be their own, and the hashes that the chain may hold for them."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from c2d.errors import InvalidDdo
from c2d.market import ddo
from c2d.market.ddo import Asset
from tests.unit import sample_market as m

NFT, DATATOKEN = m.address(1), m.address(2)


def doc(**changes: Any) -> dict[str, Any]:
    return {**m.document(NFT, [m.service(NFT, DATATOKEN)]), **changes}


@pytest.mark.parametrize("version", ["4.0.0", "4.1.0", "4.5.0"])
def test_every_version_of_ddo_v4_is_parsed(version: str) -> None:
    asset = Asset.parse(m.document(NFT, [m.service(NFT, DATATOKEN, version=version)], version=version))
    service = asset.service("compute_1")
    assert (asset.version, asset.type, asset.nftAddress) == (version, "dataset", NFT)
    assert service is not None and (service.index, service.type, service.timeout, service.datatokenAddress) == (
        0,
        "compute",
        3600,
        DATATOKEN,
    )
    assert service.compute.allowRawAlgorithm is True and "0x04" not in repr(asset)


def test_a_did_is_the_digest_of_nft_and_chain() -> None:
    assert (
        ddo.did_of("0x7358776DACe83a4b48E698645F32B043481daCBA", 1)
        == "did:op:" + hashlib.sha256(b"0x7358776DACe83a4b48E698645F32B043481daCBA1").hexdigest()
    )
    assert ddo.did_of(NFT.lower(), 8996) == ddo.did_of(NFT, 8996)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"version": "3.0.0"}, "version: must be one of 4.0.0, 4.1.0"),
        ({"chainId": "8996"}, "chainId: must be a whole number"),
        ({"chainId": 1}, "id: must be the DID of nftAddress and chainId"),
        ({"nftAddress": "0x12"}, "nftAddress: must be 0x and 40 hex digits"),
        ({"metadata": None}, "metadata: must be an object"),
        ({"metadata": {}}, "metadata.type: must be a non-empty string"),
        ({"services": {}}, "services: must be a list"),
        ({"services": [m.service(NFT, DATATOKEN), m.service(NFT, DATATOKEN)]}, "services: must not have the same id twice"),
        ({"services": [{**m.service(NFT, DATATOKEN), "timeout": -1}]}, "services[0].timeout: must be a whole number of seconds"),
        ({"services": [{**m.service(NFT, DATATOKEN), "datatokenAddress": 5}]}, "services[0].datatokenAddress: must be a non-empty string"),
        ({"services": [{**m.service(NFT, DATATOKEN), "compute": []}]}, "services[0].compute: must be an object"),
        ({"credentials": {"allow": [{"type": "address", "values": [5]}]}}, "credentials.allow.values: must be strings"),
    ],
)
def test_an_invalid_ddo_is_rejected_with_the_name_of_the_field(change: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidDdo) as e:
        Asset.parse(doc(**change))
    assert str(e.value).startswith(fault)


@pytest.mark.parametrize("document", [None, [], "x", {}])
def test_a_document_that_is_not_an_object_is_rejected(document: object) -> None:
    with pytest.raises(InvalidDdo):
        Asset.parse(document)


def test_the_hash_covers_the_text_of_ocean_js_or_ocean_py_without_the_caches_fields() -> None:
    published = doc()
    of_js = hashlib.sha256(json.dumps(published, separators=(",", ":"), ensure_ascii=False).encode()).digest()
    of_py = hashlib.sha256(json.dumps(published, separators=(",", ":")).encode()).digest()
    assert of_js != of_py  # it contains a non-ASCII letter
    cached = {**published, "nft": {"state": 0}, "event": {}, "datatokens": [], "stats": {}, "purgatory": {}}
    assert {of_js, of_py} <= ddo.metadata_hashes(cached)
    assert not {of_js, of_py} & ddo.metadata_hashes({**cached, "version": "4.1.0"})


@pytest.mark.parametrize(
    ("credentials", "allow", "deny"),
    [
        (None, None, None),
        ({"allow": [], "deny": []}, None, None),
        ({"allow": [{"type": "address", "values": []}]}, None, None),
        ({"allow": [{"type": "address", "values": ["0xAB"]}]}, {"0xab"}, None),
        ({"deny": [{"type": "address", "values": ["*"]}]}, None, {"*"}),
        ({"allow": [{"type": "accessList", "values": []}]}, {"-"}, None),
        ({"allow": [{"type": "address", "values": ["*"]}, {"type": "SSIpolicy", "values": [{"a": 1}]}]}, {"-"}, None),
        ({"allow": [{"type": "address", "values": ["0xAB"]}, {"type": "accessList", "values": []}]}, {"0xab"}, None),
        ({"deny": [{"type": "accessList", "values": ["0xcd"]}]}, None, {"*"}),
        ({"deny": [{"type": "accessList", "values": []}]}, None, None),
    ],
)
def test_credentials_are_addresses_and_other_types_never_widen_access(
    credentials: Any, allow: set[str] | None, deny: set[str] | None
) -> None:
    parsed = Asset.parse(doc(credentials=credentials)).credentials
    assert (parsed.allow, parsed.deny) == (allow, deny)


def test_the_caches_event_is_used_only_if_it_is_well_formed() -> None:
    tx = "0x" + "Ab" * 32
    assert Asset.parse(doc(event={"tx": tx, "block": 7})).event == (tx.lower(), 7)
    for event in ({"tx": "0x12", "block": 7}, {"tx": tx, "block": -1}, {"tx": tx, "block": True}, {"tx": tx}, "x", None):
        assert Asset.parse(doc(event=event)).event is None
