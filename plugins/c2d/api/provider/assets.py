"""Assets and environments that a request names. What is wrong with them is denied with the texts of Ocean's Provider."""

from __future__ import annotations

from typing import Any

from c2d.api.provider.service import ProviderService
from c2d.errors import AccessDenied, InvalidDdo, InvalidRequest, InvalidServiceFiles, InvalidSettings, RequestDenied
from c2d.jobs.model import MOST_INPUTS
from c2d.market.approval import ApprovedAsset
from c2d.market.ddo import Asset
from c2d.market.service_files import decrypt
from c2d.settings.environment import Environment


def approved_asset(
    service: ProviderService,
    did: str,
    service_id: str,
    consumer: str,
    tx: str | None = None,
    userdata: Any = None,
    policy_server: Any = None,
) -> ApprovedAsset:
    """An asset that the consumer may order, or (with ``tx``) has ordered.

    :raises RequestDenied: the consumer may not.
    """
    try:
        with service.query_slot():
            return service.access.approve_download(did, service_id, consumer, tx, userdata, policy_server)
    except AccessDenied as e:
        raise denial_as_sentence(e, tx) from None


def asset_files(service: ProviderService, did: str, service_id: Any) -> tuple[Asset, tuple[dict[str, Any], ...]]:
    """An asset and its service's file objects. Never show the latter: anybody may ask what the files are.

    :raises RequestDenied: there is no such asset or service, or its files are not encrypted to this Provider.
    """
    with service.query_slot():
        document = service.access.assets.ddos([did]).get(did)
    if document is None:
        raise RequestDenied("Cannot resolve DID")
    try:
        asset = Asset.parse(document)
    except InvalidDdo:
        raise RequestDenied("Asset malformed or disabled.") from None
    if asset.did != did:
        raise RequestDenied("Cannot resolve DID")
    asset_service = asset.service(service_id)
    if asset_service is None:
        raise RequestDenied("Invalid serviceId")
    key = service.provider.key(asset.chainId)
    if key is None:
        raise RequestDenied("Unable to get dataset files")
    try:
        return asset, decrypt(asset, asset_service, key)
    except InvalidServiceFiles as e:
        raise RequestDenied(f"Unable to get dataset files: {e}") from None


def requested_environment(service: ProviderService, environment_id: str) -> Environment:
    """:raises RequestDenied: there is no such environment."""
    try:
        return service.settings.environment(environment_id)
    except InvalidSettings:
        raise RequestDenied("Compute environment does not exist") from None


def fit_one_job(datasets: Any) -> bool:
    """Whether a job can have so many data sets: all are requested from the metadata cache at once. ``datasets`` may also be malformed."""
    return not isinstance(datasets, list) or len(datasets) <= MOST_INPUTS


def denial_as_sentence(denied: AccessDenied, tx: str | None = None) -> InvalidRequest | RequestDenied:
    """The error of ``initialize`` and ``download``."""
    if denied.resource == "RBAC":
        return InvalidRequest([{"RBAC": denied.message}])
    sentences = {
        "did_not_found": "Cannot resolve DID",
        "not_found": "Invalid serviceId",
        "order_invalid": f"Order with tx_id {tx} could not be validated due to error: {denied.detail}",
    }
    text = denied.message if denied.resource in ("", "documentId", "serviceId") else f"{denied.resource}: {denied.message}"
    return RequestDenied(sentences.get(denied.message, text))


def denial_by_resource(denied: AccessDenied) -> InvalidRequest | RequestDenied:
    """The error of ``initializeCompute`` and ``compute``."""
    if denied.resource == "RBAC":
        return InvalidRequest([{"RBAC": denied.message}])
    return RequestDenied({denied.resource: denied.message})
