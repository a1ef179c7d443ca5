"""Ocean's DDO v4 (4.0.0, 4.1.0, 4.5.0): an asset, its services, and who may compute on it with what. Pure: nothing is fetched here.

A DDO comes from a metadata cache that need not be honest. What ties it to the chain: its DID is a digest of NFT address and chain
(:meth:`Asset.parse`), and the NFT's last metadata event holds the document's sha256 (:func:`metadata_hashes`).

Texts of refusals are Ocean Provider's (v2.1.6), for clients map them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.signatures import checksummed

VERSIONS = ("4.0.0", "4.1.0", "4.3.0", "4.5.0")
ACTIVE_STATES = frozenset({0, 5})
"""Of an NFT's metadata, an asset or a service: 0 active, 5 unlisted. Others: 1 end of life, 2 deprecated, 3 revoked, 4 disabled for now."""

# What a metadata cache adds to a document; none of it is covered by the hash on chain.
CACHE_FIELDS = frozenset(
    {"nft", "datatokens", "event", "stats", "purgatory", "accessDetails", "_id", "_index", "_score", "_type", "chain_id", "indexedMetadata"}
)


class Refused(Exception):
    """An asset may not be used like this. Rendered as ``{"error": {resource: message}}``.

    :param resource: what is wrong, in Ocean's words: ``dataset``, ``datasets[1].serviceId``, ``algorithm``, ``order``, ...
    :param message: Ocean's key or text.
    :param detail: the reason at length, for the operator's log; never holds a secret or a URL.
    """

    def __init__(self, resource: str, message: str, detail: str = ""):
        super().__init__(f"{resource}: {message}" + (f" ({detail})" if detail else ""))
        self.resource = resource
        self.message = message
        self.detail = detail


class BadDdo(ValueError):
    """The document is no DDO v4, or not the one that its DID names; the text names the field."""


@dataclass(frozen=True)
class TrustedAlgorithm:
    """An algorithm that a data set's owner trusts. A checksum that is empty is not compared; ``*`` allows any."""

    did: str | None
    filesChecksum: str = ""
    containerSectionChecksum: str = ""


@dataclass(frozen=True)
class ComputeRules:
    """What an owner allows on a data set (``services[].compute``)."""

    allowRawAlgorithm: bool = False
    allowNetworkAccess: bool = False
    publisherTrustedAlgorithms: tuple[TrustedAlgorithm, ...] = ()
    publisherTrustedAlgorithmPublishers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Credentials:
    """Addresses in lower case that may, or may not, use an asset; None: there is no such list. ``*`` stands for everybody."""

    allow: frozenset[str] | None = None
    deny: frozenset[str] | None = None


@dataclass(frozen=True)
class Service:
    """One way to use an asset. ``timeout``: seconds that an order is good for, 0: for ever. ``files``: ECIES, hex."""

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

    :param container: of an algorithm: entrypoint, image, tag, checksum, as published.
    :param cachedState: of the NFT, as the metadata cache says; the chain's own is asked for besides. None: it does not say.
    :param event: the transaction and the block of the last metadata event, as the metadata cache says.
    :param document: the DDO as it came.
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
        """The asset in a DDO.

        :raises BadDdo: naming the field; also where the DID is not the digest of its NFT and chain.
        """
        d = _object(document, "DDO")
        version = _text(d, "version", "")
        if version not in VERSIONS:
            raise BadDdo(f"version: must be one of {', '.join(VERSIONS)}")
        chain_id = d.get("chainId")
        if not isinstance(chain_id, int) or isinstance(chain_id, bool) or chain_id < 0:
            raise BadDdo("chainId: must be a whole number")
        nft = _address(d, "nftAddress", "")
        did = _text(d, "id", "")
        if did != did_of(nft, chain_id):
            raise BadDdo("id: must be the DID of nftAddress and chainId")
        metadata = _object(d.get("metadata"), "metadata")
        kind = _text(metadata, "type", "metadata.")
        algorithm = metadata.get("algorithm") if kind == "algorithm" else None
        algorithm = _object(algorithm, "metadata.algorithm") if algorithm is not None else {}
        container = algorithm.get("container")
        services = [_service(_object(s, f"services[{n}]"), n) for n, s in enumerate(_list(d.get("services"), "services"))]
        if len({s.id for s in services}) < len(services):
            raise BadDdo("services: must not have the same id twice")
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
        """The service with this id."""
        return next((s for s in self.services if s.id == str(service_id)), None)


def did_of(nft_address: str, chain_id: int) -> str:
    """The DID of the asset of an NFT."""
    return "did:op:" + hashlib.sha256((checksummed(nft_address) + str(chain_id)).encode()).hexdigest()


def metadata_hashes(document: Mapping[str, Any]) -> frozenset[bytes]:
    """What the sha256 of the document on chain may be (32 bytes each).

    The publisher's library hashed its own JSON text, which the metadata cache hands on decoded and with fields of its own. ocean.js writes
    letters as they are, ocean.py escapes those beyond ASCII; both leave no blanks.
    """
    published = {k: v for k, v in document.items() if k not in CACHE_FIELDS}
    texts = {json.dumps(d, separators=(",", ":"), ensure_ascii=a) for d in (published, document) for a in (False, True)}
    return frozenset(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in texts)


# -- may it be used? ---------------------------------------------------------------------------------------------------------------


def why_not_consumable(asset: Asset, service: Service, consumer: str, nft_state: int | None, credentials: bool = True) -> str | None:
    """Why ``consumer`` may not use the service, in Ocean's words; None: it may.

    :param nft_state: of the NFT's metadata, from the chain; None: the NFT has no metadata or does not exist.
    :param credentials: whether allow and deny lists are looked at (a policy server stands in for them).
    """
    if nft_state is None:
        return "Asset malformed or disabled."
    if nft_state not in ACTIVE_STATES:
        return "Asset is not consumable."
    code = None
    if (asset.cachedState is not None and asset.cachedState not in ACTIVE_STATES) or service.state not in ACTIVE_STATES:
        code = "ASSET_DISABLED"
    elif credentials:
        code = _credential_code(asset.credentials, consumer) or _credential_code(service.credentials, consumer)
    return f"Error: Access to asset {asset.did} was denied with code: ConsumableCodes.{code}." if code else None


def _credential_code(credentials: Credentials, consumer: str) -> str | None:
    address = consumer.lower()
    if credentials.allow and not credentials.allow & {address, "*"}:
        return "CREDENTIAL_NOT_IN_ALLOW_LIST"
    if credentials.deny and credentials.deny & {address, "*"}:
        return "CREDENTIAL_IN_DENY_LIST"
    return None


# -- which algorithm? --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AlgorithmFacts:
    """What trust lists are compared with.

    :param publisher: owner of the algorithm's NFT, from the chain.
    :param filesChecksum: see :func:`files_checksum`.
    :param containerSectionChecksum: see :func:`container_checksum`.
    """

    did: str
    publisher: str | None
    filesChecksum: str
    containerSectionChecksum: str


def why_algorithm_refused(rules: ComputeRules, algorithm: AlgorithmFacts | None, deny_by_default: bool = False) -> str | None:
    """Why an owner does not allow the algorithm, as Ocean's key; None: it is allowed.

    :param algorithm: None: raw code of the consumer's.
    :param deny_by_default: two empty lists allow nothing (ocean-node) rather than everything (Provider).
    """
    if algorithm is None:
        return None if rules.allowRawAlgorithm else "no_raw_algo_allowed"
    trusted, publishers = rules.publisherTrustedAlgorithms, rules.publisherTrustedAlgorithmPublishers
    if not trusted and not publishers:
        return "not_trusted_algo" if deny_by_default else None
    if publishers and "*" not in publishers and (algorithm.publisher or "").lower() not in {p.lower() for p in publishers}:
        return "not_trusted_algo_publisher"
    if not trusted:
        return None
    if any(t.did is None for t in trusted):
        return "no_publisherTrustedAlgorithms"
    named = [t for t in trusted if t.did in (algorithm.did, "*")]
    if not named:
        return "not_trusted_algo"
    return _why_no_entry_fits(named, algorithm)


def _why_no_entry_fits(named: Iterable[TrustedAlgorithm], algorithm: AlgorithmFacts) -> str | None:
    reason: str | None = None
    for entry in named:
        if entry.filesChecksum not in ("", "*") and entry.filesChecksum.lower() != algorithm.filesChecksum.lower():
            reason = reason or "algorithm_file_checksum_mismatch"
        elif (
            entry.containerSectionChecksum not in ("", "*")
            and entry.containerSectionChecksum.lower() != algorithm.containerSectionChecksum.lower()
        ):
            reason = reason or "algorithm_container_checksum_mismatch"
        else:
            return None
    return reason


def files_checksum(of_files: Iterable[str]) -> str:
    """The sha256 (hex) of each file's content, one after the other, as the Provider's."""
    return "".join(of_files).lower()


def container_checksum(entrypoint: str, checksum: str) -> str:
    """The sha256 (hex) of the container's entrypoint and checksum."""
    return hashlib.sha256((entrypoint + checksum).encode()).hexdigest()


def why_bad_container(container: Mapping[str, Any] | None) -> str | None:
    """What is wrong with an algorithm's container, as Ocean's key; None: nothing."""
    container = container or {}
    if not all(container.get(key) for key in ("entrypoint", "image", "checksum")):
        return "missing_entrypoint_image_checksum"
    return None if str(container["checksum"]).startswith("sha256:") else "checksum_prefix"


# -- the consumer's parameters -----------------------------------------------------------------------------------------------------


def why_bad_userdata(userdata: Mapping[str, Any] | None, schema: Collection[Mapping[str, Any]]) -> str | None:
    """What is wrong with the consumer's parameters by the publisher's ``consumerParameters``, in one sentence; None: nothing.

    Without a schema any parameters are taken, as before 4.1.0. Values may be texts, as forms send them.
    """
    if not schema:
        return None
    given = userdata or {}
    named = {str(p.get("name")): p for p in schema}
    for name in given:
        if name not in named:
            return f"userdata.{name}: is not a parameter of this asset"
    for name, parameter in named.items():
        value = given.get(name)
        if value is None or value == "":
            if parameter.get("required") is True and parameter.get("default") in (None, ""):
                return f"userdata.{name}: is required"
        elif (wrong := _why_bad_value(value, parameter)) is not None:
            return f"userdata.{name}: {wrong}"
    return None


def _why_bad_value(value: Any, parameter: Mapping[str, Any]) -> str | None:
    kind = parameter.get("type")
    if kind == "number":
        try:
            if isinstance(value, bool):
                raise ValueError
            float(value)
        except (TypeError, ValueError):
            return "must be a number"
    elif kind == "boolean":
        if value not in (True, False, "true", "false"):
            return "must be true or false"
    elif kind == "select":
        options = _options(parameter.get("options"))
        if not isinstance(value, str) or value not in options:
            return f"must be one of {', '.join(options)}"
    elif not isinstance(value, str):
        return "must be text"
    return None


def _options(options: Any) -> list[str]:
    """``[{"key": "Label"}, ...]``; the keys are the values."""
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except ValueError:
            return []
    return [str(key) for option in options if isinstance(option, dict) for key in option] if isinstance(options, list) else []


# -- reading -----------------------------------------------------------------------------------------------------------------------


def _service(s: dict[str, Any], n: int) -> Service:
    at = f"services[{n}]."
    compute = s.get("compute")
    timeout = s.get("timeout", 0)
    if not isinstance(timeout, int) or isinstance(timeout, bool) or timeout < 0:
        raise BadDdo(f"{at}timeout: must be a whole number of seconds")
    state = s.get("state", 0)
    return Service(
        id=_text(s, "id", at),
        index=n,
        type=_text(s, "type", at),
        datatokenAddress=_address(s, "datatokenAddress", at),
        serviceEndpoint=_text(s, "serviceEndpoint", at),
        files=_text(s, "files", at),
        timeout=timeout,
        compute=_rules(_object(compute, at + "compute"), at + "compute") if compute is not None else ComputeRules(),
        consumerParameters=_parameters(s.get("consumerParameters"), at + "consumerParameters"),
        credentials=_credentials(s.get("credentials"), at + "credentials"),
        state=state if isinstance(state, int) else -1,
    )


def _rules(c: dict[str, Any], at: str) -> ComputeRules:
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
    # Only a real true allows: "false" as text is true for a careless reader.
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
            raise BadDdo(f"{at}.{name}.values: must be texts")
        if entries and not values and name == "allow" and any(e.get("type") != "address" for e in entries):
            # A list that is kept by means unknown here must not turn into "everybody".
            return frozenset({"-"})
        return frozenset(v.lower() for v in values) or None

    return Credentials(addresses("allow"), addresses("deny"))


def _event(value: Any) -> tuple[str, int] | None:
    if not isinstance(value, dict):
        return None
    tx, block = value.get("tx") or value.get("txid"), value.get("block")
    return (tx, block) if isinstance(tx, str) and isinstance(block, int) else None


def _parameters(value: Any, at: str) -> tuple[dict[str, Any], ...]:
    return tuple(_object(p, f"{at}[{n}]") for n, p in enumerate(_list(value, at)))


def _object(value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadDdo(f"{at}: must be an object")
    return value


def _list(value: Any, at: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadDdo(f"{at}: must be a list")
    return value


def _text(d: dict[str, Any], name: str, at: str) -> str:
    value = d.get(name)
    if not isinstance(value, str) or not value:
        raise BadDdo(f"{at}{name}: must be text")
    return value


def _address(d: dict[str, Any], name: str, at: str) -> str:
    value = _text(d, name, at)
    if len(value) != 42 or not value.startswith("0x") or any(c not in "0123456789abcdefABCDEF" for c in value[2:]):
        raise BadDdo(f"{at}{name}: must be 0x and 40 hex digits")
    return checksummed(value)
