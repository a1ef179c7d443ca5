"""The rules that publishers set for an asset: who may use it, with which algorithm, with which parameters.

Pure. The texts are those of Ocean's Provider (v2.1.6), except for parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from c2d.market.ddo import ACTIVE_STATES, Asset, ComputeRules, Credentials, Service, TrustedAlgorithm

# -- consumers ---------------------------------------------------------------------------------------------------------------------


def why_not_consumable(asset: Asset, service: Service, consumer: str, nft_state: int | None, credentials: bool = True) -> str | None:
    """Why ``consumer`` may not use the service, as Ocean's error text; None: it may.

    :param nft_state: of the NFT's metadata on chain; None: the NFT has no metadata or does not exist.
    :param credentials: whether to check the allow and deny lists; a policy server may replace them.
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


# -- algorithms --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AlgorithmIdentity:
    """What trust lists are compared with.

    :param publisher: owner of the algorithm's NFT on chain.
    :param filesChecksum: see :func:`files_checksum`.
    :param containerSectionChecksum: see :func:`container_checksum`.
    """

    did: str
    publisher: str | None
    filesChecksum: str
    containerSectionChecksum: str


def why_algorithm_refused(rules: ComputeRules, algorithm: AlgorithmIdentity | None, deny_by_default: bool = False) -> str | None:
    """Why the data set's owner does not allow the algorithm, as Ocean's error key; None: it is allowed.

    :param algorithm: None: the consumer's raw code.
    :param deny_by_default: if both trust lists are empty, allow no algorithm, as ocean-node does; Ocean's Provider allows every algorithm.
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
    entries = [t for t in trusted if t.did in (algorithm.did, "*")]
    if not entries:
        return "not_trusted_algo"
    return _why_no_entry_matches(entries, algorithm)


def _why_no_entry_matches(entries: Iterable[TrustedAlgorithm], algorithm: AlgorithmIdentity) -> str | None:
    """The first entry's mismatch, as Ocean's error key; None: an entry matches."""
    reason: str | None = None
    for entry in entries:
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
    """The sha256 (hex) of each file's content, concatenated as Ocean's Provider does."""
    return "".join(of_files).lower()


def container_checksum(entrypoint: str, checksum: str) -> str:
    """The sha256 (hex) of the container's entrypoint and checksum."""
    return hashlib.sha256((entrypoint + checksum).encode()).hexdigest()


def why_bad_container(container: Mapping[str, Any] | None) -> str | None:
    """What is wrong with an algorithm's container, as Ocean's error key; None: nothing."""
    container = container or {}
    if not all(container.get(key) for key in ("entrypoint", "image", "checksum")):
        return "missing_entrypoint_image_checksum"
    return None if str(container["checksum"]).startswith("sha256:") else "checksum_prefix"


# -- consumer parameters -----------------------------------------------------------------------------------------------------------


def why_bad_userdata(userdata: Mapping[str, Any] | None, schema: Collection[Mapping[str, Any]]) -> str | None:
    """What is wrong with the consumer's parameters, in one sentence; None: nothing.

    :param schema: the publisher's ``consumerParameters``. An empty schema accepts any parameters: DDOs before 4.1.0 have none.

    A number or boolean may also be sent as text, as forms do.
    """
    if not schema:
        return None
    values = userdata or {}
    parameters = {str(p.get("name")): p for p in schema}
    for name in values:
        if name not in parameters:
            return f"userdata.{name}: is not a parameter of this asset"
    for name, parameter in parameters.items():
        value = values.get(name)
        if value is None or value == "":
            if parameter.get("required") is True and parameter.get("default") in (None, ""):
                return f"userdata.{name}: is required"
        elif why := _why_bad_value(value, parameter):
            return f"userdata.{name}: {why}"
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
    """The values of a select: the keys of ``[{"key": "Label"}, ...]``, which may be JSON text."""
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except (ValueError, RecursionError):
            return []
    return [str(key) for option in options if isinstance(option, dict) for key in option] if isinstance(options, list) else []
