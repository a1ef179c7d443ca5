"""The assets of a compute start whose files this Provider can decrypt, in the form that configure's stage.json has them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c2d.access.asset_content import AssetFiles
from c2d.contract import TextFile, UrlFile
from c2d.errors import FetchError
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
    :raises c2d.errors.FetchError: a contract whose result is a file cannot be called, or returns something else than was approved.
    """
    assets = {each.asset.did: _own_asset(each, files) for each in approved.datasets if each.files is not None}
    if approved.algorithm:
        assets[approved.algorithm.asset.did] = _own_asset(approved.algorithm, files, approved.algorithmChecksums)
    return assets


def _own_asset(asset: ApprovedAsset, files: AssetFiles, checksums: Sequence[str] = ()) -> OwnAsset:
    """:param checksums: sha256 (hex) of each file as approved; none for data sets."""
    objects = asset.files or ()
    approved: Sequence[str | None] = checksums or [None] * len(objects)
    sources = (_source(file, checksum, asset, files) for file, checksum in zip(objects, approved, strict=True))
    return OwnAsset(tuple(sources), asset.asset.document)


def _source(file: Mapping[str, Any], checksum: str | None, asset: ApprovedAsset, files: AssetFiles) -> UrlFile | TextFile:
    """Where configure gets the file from. The file may change after its approval, so its checksum must be verified again: by configure for
    a download, here for a contract's result.
    """
    source = to_fetch(file, asset.userdata, files.gateways, asset.asset.chainId)
    if isinstance(source, ContractCall):
        with files.open(file, asset.userdata, asset.asset.chainId) as answer:
            content = b"".join(answer.chunks(CONTRACT_RESULT_BYTES))
        if checksum is not None and hashlib.sha256(content).hexdigest() != checksum:
            raise FetchError(f"{asset.asset.did}: a contract's result is not the file that was approved")
        return TextFile(text=content.decode())
    return UrlFile(
        url=source.url,
        method=source.method,
        headers=dict(source.headers),
        body=None if source.body is None else source.body.decode(),
        checksum=None if checksum is None else f"sha256:{checksum}",
    )
