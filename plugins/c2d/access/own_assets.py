"""The assets of a compute start whose files this Provider can decrypt, in the form that configure's stage.json has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from c2d.access.asset_content import AssetFiles
from c2d.contract import TextFile, UrlFile
from c2d.market.approval import ApprovedAsset, ApprovedCompute
from c2d.market.service_files import ContractCall, to_fetch

CONTRACT_RESULT_BYTES = 128 * 1024
"""Limit of a contract's result, which becomes a part of the stage's Secret."""


@dataclass(frozen=True)
class OwnAsset:
    """An asset of ours, ready for configure: where its files are fetched, as in stage.json, and its DDO."""

    files: tuple[UrlFile | TextFile, ...] = field(repr=False)
    ddo: Mapping[str, Any] = field(repr=False)


def own_assets(approved: ApprovedCompute, files: AssetFiles) -> dict[str, OwnAsset]:
    """The assets whose files this Provider has decrypted, by DID. Those of other Providers are left out.

    :raises c2d.errors.InvalidServiceFiles: a file object is malformed.
    :raises c2d.errors.FetchError: a contract whose result is a file cannot be called.
    """
    assets = {each.asset.did: _own_asset(each, files) for each in approved.datasets if each.files is not None}
    if approved.algorithm:
        assets[approved.algorithm.asset.did] = _own_asset(approved.algorithm, files, approved.algorithmChecksums)
    return assets


def _own_asset(asset: ApprovedAsset, files: AssetFiles, checksums: Sequence[str] = ()) -> OwnAsset:
    """:param checksums: sha256 (hex) of each file, which configure verifies: the files could change after their approval."""
    sources = [_source(file, asset, files) for file in asset.files or ()]
    for index, (source, checksum) in enumerate(zip(sources, checksums, strict=False)):
        if isinstance(source, UrlFile):
            sources[index] = replace(source, checksum=f"sha256:{checksum}")
    return OwnAsset(tuple(sources), asset.asset.document)


def _source(file: Mapping[str, Any], asset: ApprovedAsset, files: AssetFiles) -> UrlFile | TextFile:
    source = to_fetch(file, asset.userdata, files.gateways, asset.asset.chainId)
    if isinstance(source, ContractCall):
        with files.open(file, asset.userdata, asset.asset.chainId) as answer:
            content = b"".join(answer.chunks(CONTRACT_RESULT_BYTES))
        return TextFile(text=content.decode())
    body = None if source.body is None else source.body.decode()
    return UrlFile(url=source.url, method=source.method, headers=dict(source.headers), body=body)
