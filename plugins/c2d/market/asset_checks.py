"""The checks of one asset of a request, in the order of Ocean's Provider: its service, who may use it, which algorithm it allows."""

from __future__ import annotations

import logging
from typing import Any

from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.market import asset_rules
from c2d.market.approval import ApprovedAsset
from c2d.market.asset_rules import AlgorithmIdentity
from c2d.market.case import AlgorithmFiles, Case
from c2d.market.compute_request import AssetRequest, json_object
from c2d.market.ddo import Asset, Service, metadata_hashes
from c2d.market.service_files import own_files

log = logging.getLogger(__name__)

MALFORMED = "Asset malformed or disabled."


def approved_algorithm(case: Case) -> ApprovedAsset | None:
    """The published algorithm that the request names, before its order is verified; None: the request brings raw code.

    :raises AccessDenied: it may not be used, or a file of it cannot be read.
    """
    requested = case.request.algorithm
    if requested.documentId is None and requested.meta is None:
        raise AccessDenied("algorithm", "missing_meta_documentId")
    if not requested.documentId:
        return None
    did = str(requested.documentId)
    if did not in case.assets:
        raise AccessDenied("algorithm", "file_unavailable", case.malformed.get(did, "no DDO"))
    asset = case.assets[did]
    _require_chain(case, asset, "algorithm")
    if asset.type != "algorithm":
        raise AccessDenied("algorithm", "not_algo")
    require_fields(requested, "algorithm", "serviceId")
    service = asset.service(requested.serviceId)
    if service is None:
        raise AccessDenied("algorithm", "file_unavailable", "no such service")
    files = _readable_files(service, case.algorithm_files)
    _require_consumable(case, asset, service, "algorithm.credentials")
    userdata = _userdata(requested.userdata, service.consumerParameters, "algorithm.userdata")
    _userdata(requested.algocustomdata, asset.consumerParameters, "algorithm.algocustomdata")
    return ApprovedAsset(asset, service, userdata, files.objects)


def approved_dataset(
    case: Case, requested: AssetRequest, resource: str, algorithm: ApprovedAsset | None, *, is_main: bool
) -> ApprovedAsset:
    """A data set that the algorithm may use, before its order is verified.

    :param resource: what Ocean calls the data set in error messages.
    :param is_main: the first data set, which must have a compute service.
    :raises AccessDenied: it may not be used, by this consumer or with this algorithm.
    """
    asset, service = _consumable_service(case, requested, resource)
    if service.type not in ("access", "compute"):
        raise AccessDenied(f"{resource}.serviceId", "service_not_access_compute")
    if is_main and service.type != "compute":
        raise AccessDenied(f"{resource}.serviceId", "main_service_compute")
    files = own_files(asset, service, case.rules.key(asset.chainId))
    if service.type == "compute":
        if not files:
            raise AccessDenied(f"{resource}.serviceId", "compute_services_not_in_same_provider")
        identity = _identity(case, algorithm) if algorithm else None
        if key := asset_rules.why_algorithm_refused(service.compute, identity, case.rules.deny_by_default):
            raise AccessDenied(resource, key)
    userdata = _userdata(requested.userdata, service.consumerParameters, f"{resource}.userdata")
    return ApprovedAsset(asset, service, userdata, files or None)


def approved_asset(case: Case, requested: AssetRequest) -> ApprovedAsset:
    """An asset that the consumer may use by itself, for a download.

    :raises AccessDenied: it may not be used by this consumer.
    """
    asset, service = _consumable_service(case, requested, "")
    userdata = _userdata(requested.userdata, service.consumerParameters, "userdata")
    return ApprovedAsset(asset, service, userdata, own_files(asset, service, case.rules.key(asset.chainId)) or None)


def require_fields(requested: AssetRequest, resource: str, *names: str) -> None:
    """:raises AccessDenied: one of the fields is missing."""
    for name in names:
        value = getattr(requested, name)
        if not value and not (name == "serviceId" and value == 0):
            raise AccessDenied(f"{resource}.{name}", "missing")


# -- steps -------------------------------------------------------------------------------------------------------------------------


def _consumable_service(case: Case, requested: AssetRequest, resource: str) -> tuple[Asset, Service]:
    """The asset and the service that are requested, if the consumer may use them."""
    did, prefix = str(requested.documentId), f"{resource}." if resource else ""
    if did in case.malformed:
        raise AccessDenied(resource, MALFORMED, case.malformed[did])
    if did not in case.assets:
        raise AccessDenied(f"{prefix}documentId", "did_not_found")
    asset = case.assets[did]
    _require_chain(case, asset, resource)
    service = asset.service(requested.serviceId)
    if service is None:
        raise AccessDenied(f"{prefix}serviceId", "not_found")
    _require_consumable(case, asset, service, resource)
    return asset, service


def _require_chain(case: Case, asset: Asset, resource: str) -> None:
    """Every asset is checked, not just the first: any of them may pay the fee, and another chain's token may be worthless."""
    chains = case.request.chains
    if chains and asset.chainId not in chains:
        raise AccessDenied(resource, f"The environment takes assets of chain {', '.join(map(str, sorted(chains)))} only.")


def _require_consumable(case: Case, asset: Asset, service: Service, resource: str) -> None:
    nft = case.nft(asset)
    if case.rules.check_metadata_hash:
        if not nft.asked:
            raise UpstreamUnavailable(
                f"chain {asset.chainId}: the RPC servers give no events of {asset.nftAddress} (eth_getLogs over all blocks)"
            )
        if nft.metadataHash not in metadata_hashes(asset.document):
            log.warning("%s: its DDO does not match the hash on chain %s", asset.did, asset.chainId)
            raise AccessDenied(resource, MALFORMED)
    if why := asset_rules.why_not_consumable(asset, service, case.request.consumerAddress, nft.state, case.check_credentials):
        raise AccessDenied(resource, why)


def _readable_files(service: Service, files: AlgorithmFiles | None) -> AlgorithmFiles:
    """The algorithm's files, if there are any and this Provider can decrypt and read them all."""
    if files is None and service.type == "compute":
        raise AccessDenied("algorithm", "compute_services_not_in_same_provider")
    if files is None or not files.all_readable:
        raise AccessDenied("algorithm", "file_unavailable", "a file cannot be read")
    if not files.objects:
        raise AccessDenied("algorithm", "did_not_found", "it has no files")
    return files


def _identity(case: Case, algorithm: ApprovedAsset) -> AlgorithmIdentity:
    container = algorithm.asset.container or {}
    return AlgorithmIdentity(
        did=algorithm.asset.did,
        publisher=case.nft(algorithm.asset).owner,
        filesChecksum=asset_rules.files_checksum(case.algorithm_files.checksums if case.algorithm_files else ()),
        containerSectionChecksum=asset_rules.container_checksum(container.get("entrypoint", ""), container.get("checksum", "")),
    )


def _userdata(value: Any, schema: tuple[dict[str, Any], ...], resource: str) -> dict[str, Any] | None:
    userdata = json_object(value, resource, "must be a JSON object")
    if why := asset_rules.why_bad_userdata(userdata, schema):
        raise AccessDenied(resource, why)
    return userdata
