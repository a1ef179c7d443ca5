"""Translates an approved compute start to our job. It names its assets by their orders, which the configure stage checks again."""

from __future__ import annotations

import json
from typing import Any

from c2d.api.common.job_fields import CONTAINER, algorithm_conf, parameters, run_seconds
from c2d.jobs.model import Job
from c2d.market.approval import ApprovedAsset, ApprovedCompute
from c2d.market.compute_request import ComputeRequest
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings


def job_of(approved: ApprovedCompute, request: ComputeRequest, env: Environment, settings: Settings, public_key: str | None = None) -> Job:
    """The job that a compute start asks for.

    :param public_key: the key that its results are encrypted to, unless the request names another one.
    :raises InvalidJob: fields are wrong; the text names each.
    """
    provider = settings.provider
    has_remote_asset = any(asset is not None and asset.files is None for asset in (*approved.datasets, approved.algorithm))
    conf: dict[str, Any] = {
        "inputs": [{"id": asset.asset.did, **_order(asset)} for asset in approved.datasets],
        "algorithm": _algorithm(approved, request),
        "owner": request.consumerAddress,
        "environment": env.id,
        "agreementId": approved.agreementId,
        "chainId": approved.datasets[0].asset.chainId,
        "maxJobDuration": run_seconds(approved.validUntil, env, settings),
        "output": _output(request.output, provider.AQUARIUS_URL if has_remote_asset else None, public_key),
        # Sealed like a secret. configure sends it to the policy server again before it fetches anything.
        "policyServer": json.dumps(request.policyServer) if provider.POLICY_SERVER_URL and request.policyServer else None,
    }
    return Job.parse(conf, env.id)


def _algorithm(approved: ApprovedCompute, request: ComputeRequest) -> dict[str, Any]:
    custom = parameters(request.algorithm.algocustomdata, "algorithm.algocustomdata")
    container = {name: approved.container[name] for name in CONTAINER if approved.container.get(name)}
    if approved.algorithm is None:
        meta = request.algorithm.meta if isinstance(request.algorithm.meta, dict) else {}
        return algorithm_conf({**meta, "id": None, "container": container, "algocustomdata": custom})
    conf = {"id": approved.algorithm.asset.did, "container": container, **_order(approved.algorithm)}
    return conf | ({"algocustomdata": custom} if custom else {})


def _order(approved: ApprovedAsset) -> dict[str, Any]:
    """The asset's order: as ``order`` if we have its files, as ``remote`` if its own Provider has them."""
    if approved.order is None:
        raise AssertionError("an asset that is approved for a start has an order")
    order: dict[str, Any] = {"txId": approved.order.txId, "serviceId": approved.service.id}
    if approved.userdata:
        order["userdata"] = approved.userdata
    return {"remote" if approved.files is None else "order": order}


def _output(output: Any, metadata_uri: str | None, public_key: str | None) -> dict[str, Any] | None:
    """The key that results are encrypted to, and the metadata cache. Ocean's own fields of ``output`` have no meaning here."""
    key = parameters(output, "output").get("publicKey") or public_key
    return {name: value for name, value in (("publicKey", key), ("metadataUri", metadata_uri)) if value} or None
