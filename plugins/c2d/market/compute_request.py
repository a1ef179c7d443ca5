"""A compute start as a client asks for it, and what is granted. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, NamedTuple, Protocol

from c2d.errors import AccessDenied
from c2d.market.ddo import Asset, Service
from c2d.market.orders import VerifiedOrder

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
    :param chains: whose assets the environment takes; empty: of every chain.
    """

    consumerAddress: str
    environment: str
    priceMinute: Decimal
    dataset: AssetRequest
    algorithm: AlgorithmRequest
    additionalDatasets: Any = None
    output: Any = None
    policyServer: Any = None
    chains: frozenset[int] = frozenset()

    @property
    def datasets(self) -> tuple[AssetRequest, ...]:
        """:raises AccessDenied: additionalDatasets is no list."""
        more = self.additionalDatasets or []
        if not isinstance(more, list):
            raise AccessDenied("additional_input", "invalid")
        return (self.dataset, *(AssetRequest.of(each) for each in more))

    @classmethod
    def of_body(cls, body: Mapping[str, Any], price_minute: Decimal, chains: frozenset[int] = frozenset()) -> ComputeRequest:
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
            chains=chains,
        )


# -- what is granted ---------------------------------------------------------------------------------------------------------------


class OrderKey(NamedTuple):
    """Which order it is, however often it was used on. ``txId``: of the transaction that paid the datatoken, in lower case."""

    chainId: int
    txId: str
    did: str


@dataclass(frozen=True)
class ApprovedAsset:
    """An asset that may be used.

    :param order: None in initializeCompute where there is none yet, or none that is good.
    :param files: the decrypted file objects (never to be logged or stored); None: another Provider hands them out.
    :param fee_paid: initializeCompute: its fee's time is not over either.
    """

    asset: Asset
    service: Service
    userdata: dict[str, Any] | None
    order: VerifiedOrder | None
    files: tuple[dict[str, Any], ...] | None = field(repr=False)
    fee_paid: bool = False

    @property
    def order_key(self) -> OrderKey | None:
        return OrderKey(self.asset.chainId, self.order.startedTxId.lower(), self.asset.did) if self.order else None


@dataclass(frozen=True)
class ApprovedCompute:
    """A compute start that may begin.

    :param algorithm: None: raw code of the consumer's.
    :param container: the algorithm's: entrypoint, image, tag, checksum.
    :param agreementId: the transaction that paid the environment's fee.
    :param validUntil: when the paid time ends, seconds since 1970; 0: it has no end.
    :param allowNetworkAccess: the owner of each data set allows the algorithm the network.
    :param algorithmChecksums: sha256 (hex) of the algorithm's files as they were trusted: what is fetched later must be the same.
    """

    datasets: tuple[ApprovedAsset, ...]
    algorithm: ApprovedAsset | None
    container: Mapping[str, str]
    agreementId: str
    validUntil: int
    allowNetworkAccess: bool
    algorithmChecksums: tuple[str, ...] = ()

    @property
    def orders(self) -> tuple[OrderKey, ...]:
        """What was paid for it, for C2D_ORDERS_ONCE."""
        return tuple(key for each in (*self.datasets, self.algorithm) if each and (key := each.order_key))


class Policies(Protocol):
    """:class:`c2d.hooks.policy_server.PolicyHook`: RBAC and policy server."""

    @property
    def replaces_credentials(self) -> bool:
        """Whether it decides in place of the assets' allow and deny lists."""
        ...

    def check_start(self, request: ComputeRequest, datasets: Sequence[ApprovedAsset], algorithm: ApprovedAsset | None) -> None:
        """:raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable:"""
        ...

    def check_download(self, request: ComputeRequest, granted: ApprovedAsset) -> None:
        """:raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable:"""
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
