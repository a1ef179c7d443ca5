"""The assets that are kept here, opened for configure: what has to be fetched for each, in the form of stage.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from c2d.access.asset_content import AssetFiles
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.guarded_http import Fetcher
from c2d.market.compute_request import ApprovedAsset, ApprovedCompute
from c2d.market.service_files import ContractCall, Gateways, to_fetch
from c2d.settings.provider import ProviderSettings

CALLED_BYTES = 128 * 1024  # of a contract's answer: it goes into the stage's Secret


def asset_files(own: ProviderSettings, chains: DatatokenHook) -> AssetFiles:
    """How the content of file objects is had."""
    fetcher = Fetcher(own.ALLOW_NON_PUBLIC_IP, own.REQUEST_TIMEOUT, max(1, own.REQUEST_RETRIES))
    return AssetFiles(fetcher, gateways(own), chains, own.MAX_CHECKSUM_LENGTH)


def gateways(own: ProviderSettings) -> Gateways:
    return Gateways(own.IPFS_GATEWAY, own.ARWEAVE_GATEWAY)


@dataclass(frozen=True)
class OwnAsset:
    """An asset that is kept here, ready to be fetched by configure: its files as stage.json has them, and its DDO."""

    files: tuple[dict[str, Any], ...] = field(repr=False)
    ddo: Mapping[str, Any] = field(repr=False)


def own_assets(granted: ApprovedCompute, own: ProviderSettings, files: AssetFiles) -> dict[str, OwnAsset]:
    """The assets of a start whose files we open ourselves, by DID.

    :raises c2d.errors.InvalidServiceFiles: a file object is malformed.
    :raises c2d.errors.FetchError: a contract that is called for a file does not answer.
    """
    found = {each.asset.did: _kept(each, own, files, ()) for each in granted.datasets if each.files is not None}
    if granted.algorithm:
        found[granted.algorithm.asset.did] = _kept(granted.algorithm, own, files, granted.algorithmChecksums)
    return found


def _kept(asset: ApprovedAsset, own: ProviderSettings, files: AssetFiles, checksums: Sequence[str]) -> OwnAsset:
    made = [_source(file, asset, own, files) for file in asset.files or ()]
    for source, checksum in zip(made, checksums, strict=False):
        source["checksum"] = f"sha256:{checksum}"  # of the code that was trusted; it could be another one by the time that it is fetched
    return OwnAsset(tuple(made), asset.asset.document)


def _source(file: Mapping[str, Any], asset: ApprovedAsset, own: ProviderSettings, files: AssetFiles) -> dict[str, Any]:
    wanted = to_fetch(file, asset.userdata, gateways(own), asset.asset.chainId)
    if isinstance(wanted, ContractCall):
        with files.open(file, asset.userdata, asset.asset.chainId) as answer:
            content = b"".join(answer.chunks(CALLED_BYTES))
        return {"type": "text", "text": content.decode()}
    source = {"type": "url", "url": wanted.url, "method": wanted.method, "headers": dict(wanted.headers)}
    if wanted.body is not None:
        source["body"] = wanted.body.decode()
    return source
