"""What a chain reports about assets, orders and tokens, and the questions that get it. :mod:`c2d.hooks.datatoken` does the asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from c2d.market.orders import Receipt


@dataclass(frozen=True)
class NftFacts:
    """An asset's NFT on chain.

    :param state: of its metadata; None: the NFT has no metadata, or does not exist.
    :param metadataHash: of its last metadata event; None: no such event was found.
    :param asked: False: the RPC servers refuse to search for events.
    """

    state: int | None
    owner: str | None
    metadataHash: bytes | None
    asked: bool = True


@dataclass(frozen=True)
class ChainFacts:
    """One chain's answers. All keys are in lower case.

    :param now: time of the latest block, seconds since 1970.
    :param nfts: by address.
    :param deployed: pairs of an NFT and a datatoken that this NFT deployed.
    :param receipts: by transaction; None: not on chain. Transactions that an ``OrderReused`` refers to are included.
    :param decimals: by token; None: the contract does not report them.
    """

    now: int
    nfts: Mapping[str, NftFacts]
    deployed: frozenset[tuple[str, str]]
    receipts: Mapping[str, Receipt | None]
    decimals: Mapping[str, int | None]


@dataclass(frozen=True)
class ChainQuestions:
    """What to ask one chain.

    :param nfts: NFT, one of its datatokens, and the metadata event that the metadata cache names (transaction and block), if any.
    :param transactions: whose receipts are needed.
    :param tokens: whose decimals are needed.
    """

    nfts: frozenset[tuple[str, str, tuple[str, int] | None]] = frozenset()
    transactions: frozenset[str] = frozenset()
    tokens: frozenset[str] = frozenset()

    def __or__(self, other: ChainQuestions) -> ChainQuestions:
        return ChainQuestions(self.nfts | other.nfts, self.transactions | other.transactions, self.tokens | other.tokens)
