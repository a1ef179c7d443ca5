"""Whose jobs an environment accepts (``access_control``), and the owner's signature of a job that is started in Airflow. Pure.

* ``open``: jobs of anybody who may start a run, and of Providers. For a laptop.
* ``provider``: jobs that a Provider sent and has checked: another Provider through the operator-service API, or our own Provider API.
* ``datatoken``: jobs whose inputs all have orders. We check the orders on chain and the owners' rules ourselves, whoever sent the job.

In every environment, orders in a job are checked, and a run with orders that is started in Airflow needs its owner's signature.
"""

from __future__ import annotations

import json
from typing import Any

from c2d.crypto import signatures
from c2d.errors import InvalidJob, InvalidSignature
from c2d.jobs.assets import Input, Remote
from c2d.jobs.model import Job
from c2d.market.approval import ApprovedCompute
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.settings.environment import Environment

OWNERS_SIGNATURE = "the owner's signature over owner + id of the first ordered input + nonce"


def check(job: Job, env: Environment, provider: str | None, own_address: str) -> None:
    """Check that the environment accepts this kind of job. The orders themselves are checked later.

    :param job: with its secrets decrypted.
    :param provider: address of the Provider that sent it; None: a run that was started in Airflow.
    :param own_address: under which our own Provider API submits jobs.
    :raises InvalidJob: the environment does not accept the job. The text names the field.
    """
    if provider is None:
        if env.access_control == "provider":
            raise InvalidJob("access_control: this environment accepts jobs from Ocean Providers only (operator-service or Provider API)")
        if job.remotes:
            # Only the asset's Provider checks who may use the order, and with which algorithm.
            raise InvalidJob("remote: is accepted from Ocean Providers only (operator-service API); use files instead")
        if job.orders:
            check_signature(job)
    if job.orders and job.chainId is None:
        raise InvalidJob("chainId: is required with orders")
    if env.access_control == "datatoken":
        _check_ordered(job, from_us=provider is not None and provider.lower() == own_address.lower())


def _check_ordered(job: Job, from_us: bool) -> None:
    if not job.inputs:
        raise InvalidJob("inputs: this environment accepts ordered data sets only; name one with its order")
    for n, asset in enumerate(job.inputs):
        # Our own Provider API has verified the orders of remote inputs, which another Provider serves. They are verified again later.
        if asset.order is None and not (from_us and asset.remote):
            raise InvalidJob(f"inputs[{n}].order: is required, this environment accepts ordered data sets only")
    if job.algorithm.remote:
        raise InvalidJob("algorithm.remote: is not accepted by this environment; use order, files or rawcode instead")


def signed_text(job: Job) -> str:
    """What the owner signs for a run with orders: owner, id of the first ordered input, nonce, as for the Provider API's compute start."""
    did = next((i.id for i in job.inputs if i.order), job.algorithm.id)
    return f"{job.owner}{did}{job.nonce}"


def check_signature(job: Job) -> None:
    """:raises InvalidJob: the owner has not signed this job."""
    if job.nonce is None or not isinstance(job.signature, str):
        raise InvalidJob(f"signature: a job with orders needs a nonce and {OWNERS_SIGNATURE}")
    try:
        signer = signatures.signer_of_hash(signed_text(job), job.signature)
    except InvalidSignature as e:
        raise InvalidJob(f"signature: {e}") from None
    if signer.lower() != job.owner.lower():
        raise InvalidJob(f"signature: must be {OWNERS_SIGNATURE}")


# -- orders ------------------------------------------------------------------------------------------------------------------------


def request_of(job: Job, env: Environment) -> ComputeRequest:
    """The compute start that the orders in a job amount to.

    :raises InvalidJob: none of the inputs has an order.
    """
    datasets = tuple(_dataset(i, order) for i in job.inputs if (order := i.order or i.remote))
    if not datasets:
        raise InvalidJob("inputs: an ordered algorithm needs an ordered data set")
    return ComputeRequest(
        consumerAddress=job.owner,
        environment=env.id,
        priceMinute=env.priceMinute,
        datasets=datasets,
        algorithm=_algorithm(job),
        chains=env.chains,
        policyServer=_policy_server(job),
    )


def _policy_server(job: Job) -> Any:
    """What the client sent for the policy server; None: nothing."""
    if not isinstance(job.policyServer, str):
        return None
    try:
        return json.loads(job.policyServer)
    except (ValueError, RecursionError):
        raise InvalidJob("policyServer: must be JSON text") from None


def _dataset(asset: Input, order: Remote) -> AssetRequest:
    return AssetRequest(asset.id, order.serviceId, order.txId, order.userdata)


def _algorithm(job: Job) -> AlgorithmRequest:
    algorithm, custom = job.algorithm, job.algorithm.algocustomdata or None
    if order := algorithm.order or algorithm.remote:
        return AlgorithmRequest(algorithm.id, order.serviceId, order.txId, order.userdata, None, custom)
    # Code that is part of the image is the consumer's own too: it counts as raw code.
    source = {"url": "files"} if algorithm.files else {"rawcode": algorithm.rawcode or "in the image"}
    container = {n: v for n, v in algorithm.container.model_dump().items() if v}
    return AlgorithmRequest(meta={**source, "container": container}, algocustomdata=custom)


def check_approved(job: Job, env: Environment, approved: ApprovedCompute, now: float | None) -> None:
    """Check that the job stays within what was approved for its orders.

    :param now: seconds since 1970, for a run that was started in Airflow: its maxJobDuration must not exceed the paid time. None: the
        API that accepted the job has limited it.
    :raises InvalidJob: the container is not the published one, or maxJobDuration is too long.
    """
    if job.algorithm.order:
        container = job.algorithm.container
        for name in ("image", "checksum", "entrypoint") if container.checksum else ("image", "tag", "checksum", "entrypoint"):
            if getattr(container, name) != (approved.container.get(name) or None):
                raise InvalidJob(f"algorithm.container.{name}: must be the one in the algorithm's DDO")
    if now is not None and approved.validUntil:
        left = int(approved.validUntil - now)
        if (job.maxJobDuration or env.maxJobDuration) > left:
            raise InvalidJob(f"maxJobDuration: must be at most {max(0, left)}, the seconds left of the ordered time")
