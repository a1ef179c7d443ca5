"""What a decision about access is made of, and who is asked for it: chains, the metadata cache. Pure; c2d.hooks does the asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from c2d.market.orders import Receipt


@dataclass(frozen=True)
class NftFacts:
    """An asset's NFT on chain. ``state`` is None where it has no metadata; ``metadataHash`` where no event of it was found.

    :param asked: False: the events could not be looked for.
    """

    state: int | None
    owner: str | None
    metadataHash: bytes | None
    asked: bool = True


@dataclass(frozen=True)
class ChainFacts:
    """What a chain says. Keys are in lower case; ``now`` is the latest block's time."""

    now: int
    nfts: Mapping[str, NftFacts]
    deployed: frozenset[tuple[str, str]]
    receipts: Mapping[str, Receipt | None]
    decimals: Mapping[str, int | None]


@dataclass(frozen=True)
class ChainQuestions:
    """nfts: NFT, datatoken, and the metadata event that the cache knows of. tokens: whose decimals are wanted."""

    nfts: frozenset[tuple[str, str, tuple[str, int] | None]] = frozenset()
    transactions: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()

    def __or__(self, other: ChainQuestions) -> ChainQuestions:
        return ChainQuestions(self.nfts | other.nfts, self.transactions | other.transactions, self.tokens | other.tokens)


class Chains(Protocol):
    """:class:`c2d.hooks.datatoken.DatatokenHook`."""

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        """:raises c2d.errors.UpstreamUnavailable:"""
        ...


class Assets(Protocol):
    """:class:`c2d.hooks.aquarius.AssetsHook`."""

    def ddos(self, dids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The DDOs that there are, by DID.

        :raises c2d.errors.UpstreamUnavailable:
        """
        ...
