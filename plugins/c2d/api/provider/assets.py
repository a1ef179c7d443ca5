"""Assets as the routes need them, refused in the Provider's words."""

from __future__ import annotations

from typing import Any

from c2d.api.provider.service import ProviderService
from c2d.errors import AccessDenied, InvalidDdo, InvalidRequest, InvalidServiceFiles, InvalidSettings, RequestDenied
from c2d.jobs.model import MOST_INPUTS
from c2d.market.approval import ApprovedAsset
from c2d.market.ddo import Asset
from c2d.market.service_files import decrypt
from c2d.settings.environment import Environment


def consumed(
    service: ProviderService,
    did: str,
    service_id: str,
    consumer: str,
    tx: str | None = None,
    userdata: Any = None,
    policy_server: Any = None,
) -> ApprovedAsset:
    """An asset for somebody who is about to order it, or (``tx``) has done so.

    :raises RequestDenied:
    """
    try:
        with service.asking():
            return service.access.approve_download(did, service_id, consumer, tx, userdata, policy_server)
    except AccessDenied as e:
        raise in_a_sentence(e, tx) from None


def a_few(given: Any) -> bool:
    """Whether these can be the data sets of one job: a list, or nothing, and not longer than a job takes. Each is asked for at once."""
    return not given or not isinstance(given, list) or len(given) <= MOST_INPUTS


def in_a_sentence(refused: AccessDenied, tx: str | None = None) -> Exception:
    """What ``initialize`` and ``download`` say."""
    if refused.resource == "RBAC":
        return InvalidRequest([{"RBAC": refused.message}])
    sentences = {
        "did_not_found": "Cannot resolve DID",
        "not_found": "Invalid serviceId",
        "order_invalid": f"Order with tx_id {tx} could not be validated due to error: {refused.detail}",
    }
    text = refused.message if refused.resource in ("", "documentId", "serviceId") else f"{refused.resource}: {refused.message}"
    return RequestDenied(sentences.get(refused.message, text))


def by_resource(refused: AccessDenied) -> Exception:
    """What ``initializeCompute`` and ``compute`` say."""
    if refused.resource == "RBAC":
        return InvalidRequest([{"RBAC": refused.message}])
    return RequestDenied({refused.resource: refused.message})


def files_of(service: ProviderService, did: str, service_id: Any) -> tuple[Asset, tuple[dict[str, Any], ...]]:
    """An asset's file objects, for those who only want to know what they are.

    :raises RequestDenied:
    """
    with service.asking():
        document = service.access.assets.ddos([did]).get(did)
    if document is None:
        raise RequestDenied("Cannot resolve DID")
    try:
        asset = Asset.parse(document)
    except InvalidDdo:
        raise RequestDenied("Asset malformed or disabled.") from None
    found = asset.service(service_id)
    if asset.did != did or found is None:
        raise RequestDenied("Invalid serviceId" if asset.did == did else "Cannot resolve DID")
    key = service.own.key(asset.chainId)
    if key is None:
        raise RequestDenied("Unable to get dataset files")
    try:
        return asset, decrypt(asset, found, key)
    except InvalidServiceFiles as e:
        raise RequestDenied(f"Unable to get dataset files: {e}") from None


def environment_of(service: ProviderService, environment_id: str) -> Environment:
    """:raises RequestDenied: there is none."""
    try:
        return service.settings.environment(environment_id)
    except InvalidSettings:
        raise RequestDenied("Compute environment does not exist") from None
