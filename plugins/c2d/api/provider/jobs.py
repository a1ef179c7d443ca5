"""What was granted as our job: its assets by their orders, which the job's first stage checks again before it opens a file."""

from __future__ import annotations

import json
from typing import Any

from c2d.api.operator_service.workflow import algorithm_of, parameters_of, seconds_of
from c2d.jobs.model import Job
from c2d.market.approval import ApprovedAsset, ApprovedCompute
from c2d.market.compute_request import ComputeRequest
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings

CONTAINER = ("image", "tag", "checksum", "entrypoint")


def job_of(granted: ApprovedCompute, request: ComputeRequest, env: Environment, settings: Settings, public_key: str | None = None) -> Job:
    """The job that a compute start asks for.

    :param public_key: what its results are encrypted to, if the request names no other.
    :raises InvalidJob: naming each field that is wrong.
    """
    algorithm = _algorithm(granted, request)
    remote = [each for each in (*granted.datasets, granted.algorithm) if each is not None and each.files is None]
    conf: dict[str, Any] = {
        "inputs": [{"id": each.asset.did, **_order(each)} for each in granted.datasets],
        "algorithm": algorithm,
        "owner": request.consumerAddress,
        "environment": env.id,
        "agreementId": granted.agreementId,
        "chainId": granted.datasets[0].asset.chainId,
        "maxJobDuration": seconds_of(granted.validUntil, env, settings),
        "output": _output(request.output, settings.provider.AQUARIUS_URL if remote else None, public_key),
        # Sealed like a secret: the policy server is asked again before anything is fetched.
        "policyServer": json.dumps(request.policyServer) if settings.provider.POLICY_SERVER_URL and request.policyServer else None,
    }
    return Job.parse(conf, env.id)


def _algorithm(granted: ApprovedCompute, request: ComputeRequest) -> dict[str, Any]:
    custom = parameters_of(request.algorithm.algocustomdata, "algorithm.algocustomdata")
    container = {name: granted.container[name] for name in CONTAINER if granted.container.get(name)}
    if granted.algorithm is None:
        meta = request.algorithm.meta if isinstance(request.algorithm.meta, dict) else {}
        return algorithm_of({**meta, "id": None, "container": container, "algocustomdata": custom})
    of_asset = {"id": granted.algorithm.asset.did, "container": container, **_order(granted.algorithm)}
    return of_asset | ({"algocustomdata": custom} if custom else {})


def _order(granted: ApprovedAsset) -> dict[str, Any]:
    """How the job names an asset: kept here, or handed out by its own Provider."""
    if granted.order is None:
        raise AssertionError("what is granted to a start has an order")
    order: dict[str, Any] = {"txId": granted.order.txId, "serviceId": granted.service.id}
    if granted.userdata:
        order["userdata"] = granted.userdata
    return {"remote" if granted.files is None else "order": order}


def _output(given: Any, metadata_uri: str | None, public_key: str | None) -> dict[str, Any] | None:
    """The consumer's key for its results, where it gives one; Ocean's own fields of ``output`` have no meaning here."""
    key = parameters_of(given, "output").get("publicKey") or public_key
    kept = {"publicKey": key} if key else {}
    return {**kept, **({"metadataUri": metadata_uri} if metadata_uri else {})} or None
