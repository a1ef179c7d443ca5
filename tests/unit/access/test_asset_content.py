"""The content of an asset's files, from servers on loopback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest

from c2d.access.asset_content import AssetFiles
from c2d.hooks.guarded_http import Fetcher
from c2d.market.service_files import Gateways
from tests.conformance.provider_server import Files

OPEN = Fetcher(allow_non_public=True, timeout=5)


@pytest.fixture
def served() -> Iterator[Files]:
    server = Files()
    yield server
    server.shutdown()
    server.server_close()


class Contract:
    def call(self, chain_id: int, address: str, abi: Any, arguments: Any) -> Any:
        if "no" in arguments:
            raise ValueError("the contract refuses the call")
        return {"chain": chain_id, "value": b"\x01"}


def files(served: Files, most: int = 0) -> AssetFiles:
    return AssetFiles(OPEN, Gateways(served.url, served.url), Contract(), most)


def test_a_files_info_is_read_without_its_content(served: Files) -> None:
    file = {"type": "url", "url": f"{served.url}/table.csv?token=SECRET"}
    assert files(served).info(file, None, 1) == {"contentLength": "8", "contentType": "text/plain", "filename": "table.csv"}
    assert [method for method, *_ in served.asked] == ["HEAD"]
    checked = files(served).info(file, {"page": 2}, 1, checksum=True)
    assert checked is not None and checked["checksum"] == hashlib.sha256(b"a,b\n1,2\n").hexdigest() and checked["checksumType"] == "sha256"
    assert served.asked[-1][1] == "/table.csv?token=SECRET&page=2"
    served.answers["/table.csv"] = (200, {"Content-Disposition": 'attachment; filename="../x y.csv"'})
    assert files(served).info(file, None, 1)["filename"] == "x y.csv"  # type: ignore[index]
    assert files(served).info({"type": "url", "url": f"{served.url}/nothing"}, None, 1) is None


def test_a_checksum_covers_the_whole_file_or_is_none(served: Files) -> None:
    file = {"type": "url", "url": f"{served.url}/table.csv"}
    assert files(served).checksum(file, None, 1) == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert files(served, 8).checksum(file, None, 1) == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert files(served, 7).checksum(file, None, 1) is None
    assert files(served).checksum({"type": "url", "url": f"{served.url}/nothing"}, None, 1) is None
    assert files(served).checksum({"type": "ftp"}, None, 1) is None


def test_every_type_of_file_is_fetched(served: Files) -> None:
    served.contents |= {"/ipfs/QmHash": b"of ipfs", "/arweaveTx": b"of arweave", "/graph": b'{"data": 1}'}
    asked: list[tuple[Any, bytes]] = [
        ({"type": "ipfs", "hash": "QmHash"}, b"of ipfs"),
        ({"type": "arweave", "transactionId": "arweaveTx"}, b"of arweave"),
        ({"type": "graphql", "url": f"{served.url}/graph", "query": "{a}"}, b'{"data": 1}'),
    ]
    for file, content in asked:
        with files(served).open(file, {"v": 1} if file["type"] == "graphql" else None, 1) as answer:
            assert b"".join(answer.chunks()) == content
    method, _, _, body = served.asked[-1]
    assert method == "POST" and json.loads(body) == {"query": "{a}", "variables": {"v": 1}}
    abi = {"type": "function", "name": "f", "stateMutability": "view", "inputs": [{"name": "x", "type": "uint256"}]}
    contract = {"type": "smartcontract", "address": "0x" + "11" * 20, "abi": abi}
    with files(served).open(contract, {"x": 1}, 8996) as answer:
        content = b"".join(answer.chunks())
    assert json.loads(content) == {"chain": 8996, "value": "0x01"} and answer.length == len(content)
    refused = {**contract, "abi": {**abi, "inputs": [{"name": "no", "type": "uint256"}]}}
    assert files(served).info(refused, {"no": 1}, 8996) is None
