"""Ocean's DDO v4 (4.0.0 to 4.5.0): an asset, its services, and who may compute on it with which algorithm. Pure.

A DDO comes from a metadata cache, which may be dishonest. Two things tie it to the chain: its DID is a digest of the NFT's address and the
chain id (:meth:`Asset.parse`), and the NFT's last metadata event contains the document's sha256 (:func:`metadata_hashes`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.crypto.signatures import checksummed
from c2d.errors import InvalidDdo
from c2d.jobs.patterns import ADDRESS, TRANSACTION

VERSIONS = ("4.0.0", "4.1.0", "4.3.0", "4.5.0")
ACTIVE_STATES = frozenset({0, 5})
"""States in which an NFT's metadata, an asset or a service may be used: 0 active, 5 unlisted.

The others: 1 end of life, 2 deprecated, 3 revoked, 4 ordering temporarily disabled.
"""

# Fields that metadata caches add to a document. The hash on chain does not cover them.
CACHE_FIELDS = frozenset(
    {"nft", "datatokens", "event", "stats", "purgatory", "accessDetails", "_id", "_index", "_score", "_type", "chain_id", "indexedMetadata"}
)


@dataclass(frozen=True)
class TrustedAlgorithm:
    """An algorithm that a data set's owner trusts. ``*`` as the DID stands for any algorithm; a checksum of "" or ``*`` matches any."""

    did: str | None
    filesChecksum: str = ""
    containerSectionChecksum: str = ""


@dataclass(frozen=True)
class ComputeRules:
    """What a data set's owner allows (``services[].compute``)."""

    allowRawAlgorithm: bool = False
    allowNetworkAccess: bool = False
    publisherTrustedAlgorithms: tuple[TrustedAlgorithm, ...] = ()
    publisherTrustedAlgorithmPublishers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """Addresses, in lower case, that may and may not use an asset; None: there is no such list. ``*`` stands for every address."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] | None = None


@dataclass(frozen=True)
class Service:
    """One way to use an asset.

    :param index: position in the DDO, which order events refer to.
    :param type: ``access`` or ``compute``.
    :param files: encrypted to the Provider (ECIES, hex).
    :param timeout: seconds for which an order is valid; 0: for ever.
    """

    id: str
    index: int
    type: str
    datatokenAddress: str
    serviceEndpoint: str
    files: str = field(repr=False)
    timeout: int = 0
    compute: ComputeRules = ComputeRules()
    consumerParameters: tuple[dict[str, Any], ...] = ()
    credentials: Credentials = Credentials()
    state: int = 0


@dataclass(frozen=True)
class Asset:
    """A data set or an algorithm.

    :param container: of an algorithm, as published: entrypoint, image, tag, checksum.
    :param cachedState: the NFT's state according to the metadata cache, checked in addition to the chain's; None: not in the document.
    :param event: transaction and block of the last metadata event according to the metadata cache.
    :param document: the DDO as received.
    """

    did: str
    version: str
    chainId: int
    nftAddress: str
    type: str
    services: tuple[Service, ...]
    credentials: Credentials
    container: Mapping[str, str] | None
    consumerParameters: tuple[dict[str, Any], ...]
    cachedState: int | None
    event: tuple[str, int] | None
    document: Mapping[str, Any] = field(repr=False, hash=False, compare=False)

    @classmethod
    def parse(cls, document: object) -> Asset:
        """The asset that a DDO describes.

        :raises InvalidDdo: a field is wrong, or the DID is not the digest of the NFT's address and the chain id. The text names the field.
        """
        d = _object(document, "DDO")
        version = _text(d, "version", "")
        if version not in VERSIONS:
            raise InvalidDdo(f"version: must be one of {', '.join(VERSIONS)}")
        chain_id = d.get("chainId")
        if not isinstance(chain_id, int) or isinstance(chain_id, bool) or chain_id < 0:
            raise InvalidDdo("chainId: must be a whole number")
        nft = _address(d, "nftAddress", "")
        did = _text(d, "id", "")
        if did != did_of(nft, chain_id):
            raise InvalidDdo("id: must be the DID of nftAddress and chainId")
        metadata = _object(d.get("metadata"), "metadata")
        kind = _text(metadata, "type", "metadata.")
        algorithm = metadata.get("algorithm") if kind == "algorithm" else None
        algorithm = _object(algorithm, "metadata.algorithm") if algorithm is not None else {}
        container = algorithm.get("container")
        services = [_service(_object(s, f"services[{n}]"), n) for n, s in enumerate(_list(d.get("services"), "services"))]
        if len({s.id for s in services}) < len(services):
            raise InvalidDdo("services: must not have the same id twice")
        cached = d.get("nft")
        state = cached.get("state") if isinstance(cached, dict) else None
        return cls(
            did=did,
            version=version,
            chainId=chain_id,
            nftAddress=nft,
            type=kind,
            services=tuple(services),
            credentials=_credentials(d.get("credentials"), "credentials"),
            container={k: v for k, v in container.items() if isinstance(v, str)} if isinstance(container, dict) else None,
            consumerParameters=_parameters(algorithm.get("consumerParameters"), "metadata.algorithm.consumerParameters"),
            cachedState=state if isinstance(state, int) else None,
            event=_event(d.get("event")),
            document=d,
        )

    def service(self, service_id: object) -> Service | None:
        """The service with this id; None: there is none."""
        return next((s for s in self.services if s.id == str(service_id)), None)


def did_of(nft_address: str, chain_id: int) -> str:
    """The DID of the asset of an NFT."""
    return "did:op:" + hashlib.sha256((checksummed(nft_address) + str(chain_id)).encode()).hexdigest()


def metadata_hashes(document: Mapping[str, Any]) -> frozenset[bytes]:
    """The hashes (sha256, 32 bytes) that the chain may hold for this document.

    The publisher's library hashes its own JSON text. The metadata cache returns the parsed document, with fields of its own, so the text
    has to be made again: ocean.js does not escape non-ASCII characters, ocean.py does; neither writes spaces.
    """
    published = {k: v for k, v in document.items() if k not in CACHE_FIELDS}
    texts = {json.dumps(d, separators=(",", ":"), ensure_ascii=a) for d in (published, document) for a in (False, True)}
    return frozenset(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)


# -- reading -----------------------------------------------------------------------------------------------------------------------


def _service(s: dict[str, Any], n: int) -> Service:
    at = f"services[{n}]."
    compute = s.get("compute")
    timeout = s.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise InvalidDdo(f"{at}timeout: must be a whole number of seconds")
    state = s.get("state", 0)
    return Service(
        id=_text(s, "id", at),
        index=n,
        type=_text(s, "type", at),
        datatokenAddress=_address(s, "datatokenAddress", at),
        serviceEndpoint=_text(s, "serviceEndpoint", at),
        files=_text(s, "files", at),
        timeout=timeout,
        compute=_compute_rules(_object(compute, at + "compute"), at + "compute") if compute is not None else ComputeRules(),
        consumerParameters=_parameters(s.get("consumerParameters"), at + "consumerParameters"),
        credentials=_credentials(s.get("credentials"), at + "credentials"),
        state=state if isinstance(state, int) else -1,
    )


def _compute_rules(c: dict[str, Any], at: str) -> ComputeRules:
    trusted = []
    for n, entry in enumerate(_list(c.get("publisherTrustedAlgorithms"), f"{at}.publisherTrustedAlgorithms")):
        e = _object(entry, f"{at}.publisherTrustedAlgorithms[{n}]")
        did = e.get("did")
        trusted.append(
            TrustedAlgorithm(
                did if isinstance(did, str) else None,
                str(e.get("filesChecksum") or ""),
                str(e.get("containerSectionChecksum") or ""),
            )
        )
    publishers = _list(c.get("publisherTrustedAlgorithmPublishers"), f"{at}.publisherTrustedAlgorithmPublishers")
    # Only `true` allows: a string such as "false" is truthy.
    return ComputeRules(
        c.get("allowRawAlgorithm") is True, c.get("allowNetworkAccess") is True, tuple(trusted), tuple(str(p) for p in publishers)
    )


def _credentials(value: Any, at: str) -> Credentials:
    if value is None:
        return Credentials()
    c = _object(value, at)

    def addresses(name: str) -> frozenset[str] | None:
        entries = [_object(e, f"{at}.{name}[{n}]") for n, e in enumerate(_list(c.get(name), f"{at}.{name}"))]
        values = [v for e in entries if e.get("type") == "address" for v in _list(e.get("values"), f"{at}.{name}.values")]
        if any(not isinstance(v, str) for v in values):
            raise InvalidDdo(f"{at}.{name}.values: must be strings")
        others = [e for e in entries if e.get("type") != "address"]
        # Entries of other types (a policy server may understand them) must not turn a list into "every address".
        if name == "allow" and others and (not values or any(e.get("values") for e in others)):
            return frozenset({"-"})
        if name == "deny" and any(e.get("values") for e in others):
            return frozenset({"*"})
        return frozenset(v.lower() for v in values) or None

    return Credentials(addresses("allow"), addresses("deny"))


def _event(value: Any) -> tuple[str, int] | None:
    if not isinstance(value, dict):
        return None
    tx, block = value.get("tx") or value.get("txid"), value.get("block")
    if not isinstance(tx, str) or not re.match(TRANSACTION, tx):
        return None
    return (tx.lower(), block) if isinstance(block, int) and not isinstance(block, bool) and block >= 0 else None


def _parameters(value: Any, at: str) -> tuple[dict[str, Any], ...]:
    return tuple(_object(p, f"{at}[{n}]") for n, p in enumerate(_list(value, at)))


def _object(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidDdo(f"{at}: must be an object")
    return value


def _list(value: Any, at: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidDdo(f"{at}: must be a list")
    return value


def _text(d: dict[str, Any], name: str, at: str) -> str:
    value = d.get(name)
    if not isinstance(value, str) or not value:
        raise InvalidDdo(f"{at}{name}: must be a non-empty string")
    return value


def _address(d: dict[str, Any], name: str, at: str) -> str:
    value = _text(d, name, at)
    if not re.match(ADDRESS, value):
        raise InvalidDdo(f"{at}{name}: must be 0x and 40 hex digits")
    return checksummed(value)
