"""A case to decide: a request, the operator's rules, and every fact that the decision needs, collected beforehand. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.errors import InvalidDdo
from c2d.market.chain_facts import ChainFacts, NftFacts
from c2d.market.compute_request import ComputeRequest
from c2d.market.ddo import Asset


@dataclass(frozen=True)
class OperatorRules:
    """The operator's choices.

    :param key: the Provider's private key for a chain id; None: it has none there.
    :param fee_token: the token that fees are paid in, by chain id; the zero address: nothing is charged; None: not configured.
    :param deny_by_default: a data set whose trust lists are both empty allows no algorithm.
    :param check_metadata_hash: a DDO must match the hash on chain.
    """

    key: Callable[[int], str | None] = field(repr=False)
    fee_token: Callable[[int], str | None]
    deny_by_default: bool = False
    check_metadata_hash: bool = True


@dataclass(frozen=True)
class AlgorithmFiles:
    """The files of an algorithm, decrypted with the Provider's key.

    :param objects: the file objects, never to be logged or stored.
    :param checksums: sha256 (hex) of the content of each file that could be read.
    """

    objects: tuple[dict[str, Any], ...] = field(repr=False)
    checksums: tuple[str, ...]

    @property
    def all_readable(self) -> bool:
        return len(self.checksums) == len(self.objects)


@dataclass(frozen=True)
class Case:
    """A request with everything needed to decide it.

    :param assets: by DID, each asset that the request names and the metadata cache knows.
    :param malformed: by DID, what is wrong with a document that is not a DDO of this DID.
    :param chains: by chain id, of each named asset that has the named service.
    :param algorithm_files: None: raw code, or the Provider cannot decrypt the algorithm's files.
    :param now: seconds since 1970.
    :param check_credentials: compare the consumer with the assets' allow and deny lists; False: a policy server does that.
    """

    request: ComputeRequest
    rules: OperatorRules
    assets: Mapping[str, Asset]
    malformed: Mapping[str, str]
    chains: Mapping[int, ChainFacts]
    algorithm_files: AlgorithmFiles | None
    now: float
    check_credentials: bool

    def nft(self, asset: Asset) -> NftFacts:
        """What the chain reports about the asset's NFT."""
        return self.chains[asset.chainId].nfts[asset.nftAddress.lower()]


def parsed_assets(documents: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Asset], dict[str, str]]:
    """The assets in a metadata cache's documents, and what is wrong with each of the others; both by the DID that was asked for."""
    assets, malformed = {}, {}
    for did, document in documents.items():
        try:
            asset = Asset.parse(document)
        except InvalidDdo as e:
            malformed[did] = str(e)
            continue
        if asset.did == did:
            assets[did] = asset
        else:
            malformed[did] = "id: is not the DID that was asked for"
    return assets, malformed
