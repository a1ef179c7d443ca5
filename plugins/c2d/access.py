"""The validation of a compute start: which assets, which algorithm, whose order. The Provider API and the DAG call the same code.

All facts are gathered first (DDOs, chain, checksums of the algorithm's files), then checked in the order of Ocean's Provider with its
texts: the first that fails is a :class:`~c2d.ddo.Refused`. What cannot be asked (a chain, the metadata cache, RBAC) is an
:class:`Unavailable`, never a pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from c2d.ddo import Asset, Service
from c2d.orders import Order, Receipt


class Unavailable(Exception):
    """Something that has to be asked does not answer; asking again later may help. The text names what, and holds no URL."""


# -- what is asked for -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AssetRequest:
    """An asset as a client names it; anything may be missing or wrong."""

    documentId: Any = None
    serviceId: Any = None
    transferTxId: Any = None
    userdata: Any = None

    @classmethod
    def of(cls, given: object) -> AssetRequest:
        d = given if isinstance(given, Mapping) else {}
        return cls(d.get("documentId"), d.get("serviceId"), d.get("transferTxId"), d.get("userdata"))


@dataclass(frozen=True)
class AlgorithmRequest(AssetRequest):
    """The algorithm: an asset, or ``meta`` (raw code or url, and container)."""

    meta: Any = None
    algocustomdata: Any = None

    @classmethod
    def of(cls, given: object) -> AlgorithmRequest:
        d = given if isinstance(given, Mapping) else {}
        return cls(
            d.get("documentId"), d.get("serviceId"), d.get("transferTxId"), d.get("userdata"), d.get("meta"), d.get("algocustomdata")
        )


@dataclass(frozen=True)
class ComputeRequest:
    """A compute start (or initializeCompute, whose assets need no transaction yet).

    :param consumerAddress: who asks; the caller has checked the signature.
    :param environment: the environment's id.
    :param priceMinute: of the environment, in whole tokens.
    :param additionalDatasets: as it came: must be a list, or empty.
    """

    consumerAddress: str
    environment: str
    priceMinute: Decimal
    dataset: AssetRequest
    algorithm: AlgorithmRequest
    additionalDatasets: Any = None
    output: Any = None
    policyServer: Any = None

    @classmethod
    def of_body(cls, body: Mapping[str, Any], price_minute: Decimal) -> ComputeRequest:
        """Of the Provider's ``POST compute``."""
        return cls(
            consumerAddress=str(body.get("consumerAddress")),
            environment=str(body.get("environment")),
            priceMinute=price_minute,
            dataset=AssetRequest.of(body.get("dataset")),
            algorithm=AlgorithmRequest.of(body.get("algorithm")),
            additionalDatasets=body.get("additionalDatasets"),
            output=body.get("output"),
            policyServer=body.get("policyServer"),
        )


# -- what is granted ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GrantedAsset:
    """An asset that may be used.

    :param order: None in initializeCompute where there is none yet, or none that is good.
    :param files: the decrypted file objects (never to be logged or stored); None: another Provider hands them out.
    :param valid_order: initializeCompute: the order is good, apart from its fee's time.
    :param fee_paid: initializeCompute: its fee's time is not over either.
    """

    asset: Asset
    service: Service
    userdata: dict[str, Any] | None
    order: Order | None
    files: tuple[dict[str, Any], ...] | None = field(repr=False)
    fee_paid: bool = False


@dataclass(frozen=True)
class Granted:
    """A compute start that may begin.

    :param algorithm: None: raw code of the consumer's.
    :param container: the algorithm's: entrypoint, image, tag, checksum.
    :param agreementId: the transaction that paid the environment's fee.
    :param validUntil: when the paid time ends, seconds since 1970; 0: it has no end.
    :param allowNetworkAccess: the owner of each data set allows the algorithm the network.
    """

    datasets: tuple[GrantedAsset, ...]
    algorithm: GrantedAsset | None
    container: Mapping[str, str]
    agreementId: str
    validUntil: int
    allowNetworkAccess: bool


# -- who is asked ------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NftFacts:
    """An asset's NFT on chain. ``state`` is None where it has no metadata; ``metadataHash`` where no event of it was found."""

    state: int | None
    owner: str | None
    metadataHash: bytes | None


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


class Chains(Protocol):
    """:class:`c2d.hooks.datatoken.DatatokenHook`."""

    def facts(self, chain_id: int, questions: ChainQuestions) -> ChainFacts:
        """:raises Unavailable:"""
        ...


class Assets(Protocol):
    """:class:`c2d.hooks.assets.AssetsHook`."""

    def ddos(self, dids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
        """The DDOs that there are, by DID.

        :raises Unavailable:
        """
        ...


class Policies(Protocol):
    """:class:`c2d.hooks.policy.PolicyHook`: RBAC and policy server."""

    replaces_credentials: bool

    def check_start(self, request: ComputeRequest, datasets: Sequence[GrantedAsset], algorithm: GrantedAsset | None) -> None:
        """:raises c2d.ddo.Refused:
        :raises Unavailable:
        """
        ...


@dataclass(frozen=True)
class Rules:
    """The operator's choices.

    :param key: the Provider's private key on a chain; None: it has none there.
    :param fee_token: the token of fees on a chain.
    :param deny_by_default: a data set whose trust lists are both empty allows no algorithm.
    :param check_metadata_hash: a DDO must be the one whose hash is on chain.
    """

    key: Callable[[int], str | None] = field(repr=False)
    fee_token: Callable[[int], str | None]
    deny_by_default: bool = False
    check_metadata_hash: bool = True


class Access:
    """Checks compute starts.

    :param checksum: the sha256 (hex) of a file object's content, fetched under guard; None: it cannot be had, or is too large.
        Arguments: file object, userdata, chain id.
    """

    def __init__(
        self,
        rules: Rules,
        assets: Assets,
        chains: Chains,
        policies: Policies,
        checksum: Callable[[Mapping[str, Any], Mapping[str, Any] | None, int], str | None],
        now: Callable[[], float] = time.time,
    ):
        self.rules, self.assets, self.chains, self.policies, self.checksum, self.now = rules, assets, chains, policies, checksum, now

    def start(self, request: ComputeRequest) -> Granted:
        """What a compute start may use.

        :raises c2d.ddo.Refused: with Ocean's resource and message.
        :raises Unavailable: something cannot be asked.
        """
        raise NotImplementedError

    def initialize(self, request: ComputeRequest) -> tuple[tuple[GrantedAsset, ...], GrantedAsset | None]:
        """The same without orders: the data sets and the algorithm (None: raw code) of an initializeCompute, each with what its
        transaction, if it names one, is good for.

        :raises c2d.ddo.Refused, Unavailable: as :meth:`start`.
        """
        raise NotImplementedError

    def consume(self, did: str, service_id: str, consumer: str, tx: str | None) -> GrantedAsset:
        """One asset for ``initialize`` (``tx`` None) and ``download`` of an access service.

        :raises c2d.ddo.Refused, Unavailable: as :meth:`start`.
        """
        raise NotImplementedError
