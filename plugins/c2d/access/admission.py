"""Whose jobs an environment takes (``access_control``), and the owner's proof in a job that comes by Airflow's REST API. Pure.

* ``open``: anybody who may start a run, and Providers. The laptop's.
* ``provider``: jobs that a Provider sent, who has checked them: another one by the operator-service API, or our own Provider API.
* ``datatoken``: every input has an order that we check on chain ourselves, and the owners' rules hold, whoever sent the job.

Whatever the environment says, an order in a job is checked, and so is, in a run that was started in Airflow, that its owner signed for it.
"""

from __future__ import annotations

import json
from typing import Any

from c2d.crypto import signatures
from c2d.errors import InvalidJob, InvalidSignature
from c2d.jobs.model import Input, Job
from c2d.market.compute_request import AlgorithmRequest, ApprovedCompute, AssetRequest, ComputeRequest
from c2d.settings.installation import Environment


def check(job: Job, env: Environment, provider: str | None, own: str) -> None:
    """Whether the environment takes such a job at all; orders are looked at later.

    :param job: opened.
    :param provider: address of the Provider that sent it; None: a run that was started in Airflow.
    :param own: the address that our own Provider API's jobs are entered under.
    :raises InvalidJob: naming the field.
    """
    if provider is None:
        if env.access_control == "provider":
            raise InvalidJob("access_control: this environment takes jobs from Ocean Providers only (operator-service or Provider API)")
        if job.remotes:
            # Who may use an order, and with which algorithm, only the asset's Provider checks.
            raise InvalidJob("remote: an order is taken from an Ocean Provider only (the operator-service API); give files")
        if job.orders:
            check_signature(job)
    if job.orders and job.chainId is None:
        raise InvalidJob("chainId: is required with orders")
    if env.access_control == "datatoken":
        _check_ordered(job, ours=provider is not None and provider.lower() == own.lower())


def _check_ordered(job: Job, ours: bool) -> None:
    if not job.inputs:
        raise InvalidJob("inputs: this environment computes on data sets that were ordered; name one with its order")
    for n, asset in enumerate(job.inputs):
        # An additional data set that another Provider hands out: our own Provider API has its order too, and it is checked again.
        if asset.order is None and not (ours and asset.remote):
            raise InvalidJob(f"inputs[{n}].order: is required, this environment takes nothing but data sets that were ordered")
    if job.algorithm.remote:
        raise InvalidJob("algorithm.remote: this environment takes algorithms that are kept here (order), files or rawcode")


def signed_text(job: Job) -> str:
    """What the owner signs for a run with orders, as for the Provider API's compute start: owner, first ordered data set, nonce."""
    did = next((i.id for i in job.inputs if i.order), job.algorithm.id)
    return f"{job.owner}{did}{job.nonce}"


def check_signature(job: Job) -> None:
    """:raises InvalidJob: the owner has not signed for this job."""
    if job.nonce is None or not isinstance(job.signature, str):
        raise InvalidJob("signature: with orders, nonce and signature are required: the owner's, over owner + first input's id + nonce")
    try:
        signer = signatures.signer_of_hash(signed_text(job), job.signature)
    except InvalidSignature as e:
        raise InvalidJob(f"signature: {e}") from None
    if signer.lower() != job.owner.lower():
        raise InvalidJob("signature: must be the owner's, over owner + first input's id + nonce")


# -- orders ------------------------------------------------------------------------------------------------------------------------


def request_of(job: Job, env: Environment) -> ComputeRequest:
    """What the orders in a job ask for, in the words of the Provider API's compute start.

    :raises InvalidJob: none of the inputs has one.
    """
    ordered = [i for i in job.inputs if i.order or i.remote]
    if not ordered:
        raise InvalidJob("inputs: an algorithm that was ordered needs a data set that was ordered")
    first, *others = (_asset(i) for i in ordered)
    return ComputeRequest(
        consumerAddress=job.owner,
        environment=env.id,
        priceMinute=env.priceMinute,
        dataset=first,
        algorithm=_algorithm(job),
        additionalDatasets=[vars(other) for other in others],
        chains=env.chains,
        policyServer=_for_the_policy_server(job),
    )


def _for_the_policy_server(job: Job) -> Any:
    """As the request had it; None where it had nothing."""
    if not isinstance(job.policyServer, str):
        return None
    try:
        return json.loads(job.policyServer)
    except (ValueError, RecursionError):
        raise InvalidJob("policyServer: must be JSON text") from None


def _asset(asset: Input) -> AssetRequest:
    order = asset.order or asset.remote
    return AssetRequest(asset.id, order.serviceId, order.txId, order.userdata) if order else AssetRequest(asset.id)


def _algorithm(job: Job) -> AlgorithmRequest:
    algorithm, custom = job.algorithm, job.algorithm.algocustomdata or None
    if order := algorithm.order or algorithm.remote:
        return AlgorithmRequest(algorithm.id, order.serviceId, order.txId, order.userdata, None, custom)
    # Code in the image is the consumer's own as well: only an owner who allows raw code allows it.
    source = {"url": "files"} if algorithm.files else {"rawcode": algorithm.rawcode or "in the image"}
    container = {n: v for n, v in algorithm.container.model_dump().items() if v}
    return AlgorithmRequest(meta={**source, "container": container}, algocustomdata=custom)


def check_granted(job: Job, env: Environment, granted: ApprovedCompute, now: float | None) -> None:
    """Whether the job is what its orders allow.

    :param now: of a run that was started in Airflow: seconds since 1970; its algorithm ends with the time that was paid for. None: an
        API has seen to that.
    :raises InvalidJob: the container is another one, or the time too long.
    """
    if job.algorithm.order:
        own = job.algorithm.container
        for name in ("image", "checksum", "entrypoint") if own.checksum else ("image", "tag", "checksum", "entrypoint"):
            if getattr(own, name) != (granted.container.get(name) or None):
                raise InvalidJob(f"algorithm.container.{name}: must be the one in the algorithm's DDO")
    if now is not None and granted.validUntil:
        left = int(granted.validUntil - now)
        if (job.maxJobDuration or env.maxJobDuration) > left:
            raise InvalidJob(f"maxJobDuration: must be at most {max(0, left)}, the seconds that are left of the time that was ordered")
