"""The assets that configure gets in stage.json: where to fetch each file, and the checksums that were approved."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from c2d.access.asset_content import AssetFiles
from c2d.access.own_assets import CONTRACT_RESULT_BYTES, own_assets
from c2d.contract import TextFile, UrlFile
from c2d.errors import FetchError
from c2d.hooks.guarded_http import Fetcher
from c2d.market.approval import ApprovedCompute
from c2d.market.service_files import Gateways
from tests.unit import sample_market as m

ABI = {"type": "function", "name": "f", "stateMutability": "view", "inputs": []}
CONTRACT_FILE = {"type": "smartcontract", "address": m.address(40), "abi": ABI}


class Contract:
    """Stands in for the chains."""

    def __init__(self, result: Any):
        self.result = result

    def call(self, *_: Any) -> Any:
        if self.result is None:
            raise ValueError("the contract reverts the call")
        return self.result


def files(contract_result: Any = None) -> AssetFiles:
    chains: Any = Contract(contract_result)
    return AssetFiles(Fetcher(), Gateways(), chains)


def approved(*file_objects: dict[str, Any]) -> ApprovedCompute:
    """A start whose data set has these files."""
    it = m.market()
    start = it.world.access().approve_start(it.request)
    return dataclasses.replace(start, datasets=(dataclasses.replace(start.datasets[0], files=file_objects),))


def test_each_file_becomes_a_request() -> None:
    start = approved(m.URL, {"type": "url", "url": "https://h/x", "method": "POST", "headers": {"X-Key": "k"}})
    start = dataclasses.replace(start, datasets=(dataclasses.replace(start.datasets[0], userdata={"n": 1}),))
    asset = own_assets(start, files())[start.datasets[0].asset.did]
    assert asset.files == (
        UrlFile(url=m.URL["url"] + "?n=1"),
        UrlFile(url="https://h/x", method="POST", headers={"X-Key": "k", "Content-Type": "application/json"}, body='{"n": 1}'),
    )
    assert asset.ddo["id"] == start.datasets[0].asset.did and "https://" not in repr(asset)


def test_the_algorithms_files_carry_the_approved_checksums() -> None:
    start = approved(m.URL)
    assert start.algorithm is not None
    assets = own_assets(start, files())
    assert assets[start.algorithm.asset.did].files == (UrlFile(url=m.URL["url"], checksum=f"sha256:{m.CHECKSUM}"),)
    assert assets[start.datasets[0].asset.did].files == (UrlFile(url=m.URL["url"]),)


def test_assets_of_other_providers_and_raw_code_are_left_out() -> None:
    start = approved(m.URL)
    start = dataclasses.replace(start, datasets=(dataclasses.replace(start.datasets[0], files=None),), algorithm=None)
    assert own_assets(start, files()) == {}


def test_a_contracts_result_becomes_text() -> None:
    start = approved(CONTRACT_FILE)
    asset = own_assets(start, files(contract_result=[1, "a"]))[start.datasets[0].asset.did]
    assert asset.files == (TextFile(text='[1, "a"]'),)


@pytest.mark.parametrize(("checksum", "accepted"), [(hashlib.sha256(b'"code"').hexdigest(), True), (m.CHECKSUM, False)])
def test_an_algorithm_in_a_contract_must_be_the_one_that_was_approved(checksum: str, accepted: bool) -> None:
    """Its publisher could make the contract return other code after the checksum was computed."""
    start = approved(m.URL)
    assert start.algorithm is not None
    algorithm = dataclasses.replace(start.algorithm, files=(CONTRACT_FILE,))
    start = dataclasses.replace(start, algorithm=algorithm, algorithmChecksums=(checksum,))
    if accepted:
        assert own_assets(start, files(contract_result="code"))[algorithm.asset.did].files == (TextFile(text='"code"'),)
    else:
        with pytest.raises(FetchError, match="a contract's result is not the file that was approved"):
            own_assets(start, files(contract_result="code"))


@pytest.mark.parametrize("result", [None, "x" * CONTRACT_RESULT_BYTES], ids=["reverted", "too large"])
def test_a_contract_that_cannot_be_read_fails_the_job(result: Any) -> None:
    with pytest.raises(FetchError):
        own_assets(approved(CONTRACT_FILE), files(contract_result=result))
