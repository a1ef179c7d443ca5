"""What an order will cost, before it is made."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from fastapi import APIRouter, Request

from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import rules
from c2d.api.provider.assets import approved_asset, denial_as_sentence, denial_by_resource, fit_one_job, requested_environment
from c2d.api.provider.auth import Public
from c2d.api.provider.quotes import JobTerms, QuotedAsset, job_quotes, signed_fee
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import whole_number
from c2d.errors import AccessDenied, RequestDenied
from c2d.market.approval import ApprovedAsset
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest

router = APIRouter(tags=["consume"])


@router.get("/initialize", summary="Datatoken and fee of an asset with an access service")
@requires(Public(rules.INITIALIZE))
def initialize(request: Request) -> dict[str, Any]:
    """Arguments: `documentId`, `serviceId`, `consumerAddress`; `fileIndex` checks that the file can be fetched.

    With `transferTxId`, the answer has `validOrder` if this order can still be used. Another Provider asks here for the fee of an asset in
    one of its jobs, with `environment` and `validUntil`.
    """
    service, data = service_of(request), data_of(request)
    did, service_id, consumer = (str(data[name]) for name in ("documentId", "serviceId", "consumerAddress"))
    try:
        service.policies.check_rbac("initialize", consumer, [{"did": did, "serviceId": service_id}])
    except AccessDenied as e:
        raise denial_as_sentence(e) from None
    approved = approved_asset(service, did, service_id, consumer, userdata=data.get("userdata"))
    environment = _environment_of_other_providers_job(service, data) if approved.service.type == "compute" else None
    if data.get("fileIndex") not in (None, ""):
        _check_file(service, approved, whole_number(data["fileIndex"]))
    answer: dict[str, Any] = {
        "datatoken": approved.service.datatokenAddress,
        "nonce": service.consumers.nonce(consumer),
        "providerFee": signed_fee(service, approved, 0, environment, _valid_until(data.get("validUntil") or 0)),
    }
    if data.get("transferTxId"):
        tx = str(data["transferTxId"])
        try:
            approved_asset(service, did, service_id, consumer, tx, data.get("userdata"))
            answer["validOrder"] = tx
        except RequestDenied:
            pass  # a new order is needed
    return answer


@router.post("/initializeCompute", summary="Datatokens and fees of all assets of a job")
@requires(Public(rules.INITIALIZE_COMPUTE))
def initialize_compute(request: Request) -> dict[str, Any]:
    """Arguments: `datasets`, `algorithm`, `compute` (`env`, `validUntil`), `consumerAddress`.

    An order that can still be used is returned as `validOrder`. One asset carries the fee of the environment.
    """
    service, data = service_of(request), data_of(request)
    until = _valid_until(data["compute"]["validUntil"])
    if until <= time.time():
        raise _wrong_valid_until()
    env = requested_environment(service, str(data["compute"]["env"]))
    terms = JobTerms(str(data["consumerAddress"]), env, until)
    datasets = data["datasets"]
    if not isinstance(datasets, list) or not all(isinstance(each, dict) for each in datasets) or not fit_one_job(datasets):
        raise RequestDenied({"datasets": "invalid"})
    compute_request = ComputeRequest(
        consumerAddress=terms.consumer,
        environment=env.id,
        priceMinute=env.priceMinute,
        datasets=tuple(AssetRequest.of(each) for each in datasets),
        algorithm=AlgorithmRequest.of(data.get("algorithm")),
        chains=env.chains,
    )
    approved_datasets, approved_algorithm = _approved_assets(service, compute_request)
    assets = [QuotedAsset(_with_unused_order(service, each), named) for each, named in zip(approved_datasets, datasets, strict=True)]
    if approved_algorithm is None:
        return {"datasets": job_quotes(service, assets, terms)}
    assets.append(QuotedAsset(_with_unused_order(service, approved_algorithm), data["algorithm"]))
    *dataset_quotes, algorithm_quote = job_quotes(service, assets, terms)
    return {"datasets": dataset_quotes, "algorithm": algorithm_quote}


def _environment_of_other_providers_job(service: ProviderService, data: dict[str, Any]) -> str:
    """The environment's id, which only another Provider sends."""
    if not (data.get("environment") and data.get("validUntil")):
        raise RequestDenied("Use the initializeCompute endpoint to initialize compute jobs.")
    return requested_environment(service, str(data["environment"])).id


def _check_file(service: ProviderService, approved: ApprovedAsset, index: int | None) -> None:
    """:raises RequestDenied: there is no such file, or it cannot be fetched."""
    missing = RequestDenied("Asset URL not found, not available or invalid.")
    if approved.files is None or index is None or index >= len(approved.files):
        raise missing
    with service.fetch_slot() as files:
        if files.info(approved.files[index], approved.userdata, approved.asset.chainId) is None:
            raise missing


def _approved_assets(service: ProviderService, request: ComputeRequest) -> tuple[tuple[ApprovedAsset, ...], ApprovedAsset | None]:
    """The data sets, and the algorithm if it is an asset.

    :raises RequestDenied: one of them may not be used so.
    """
    try:
        with service.query_slot():
            return service.access.approve_initialize(request)
    except AccessDenied as e:
        if e.message == "not_algo":
            raise RequestDenied("DID is not a valid algorithm") from None
        raise denial_by_resource(_as_list_item(e)) from None


def _as_list_item(denied: AccessDenied) -> AccessDenied:
    """The denial with the first data set named as in this request's list. (A compute start names it ``dataset``, apart from the others.)"""
    first, dot, rest = denied.resource.partition(".")
    return AccessDenied(f"datasets[0]{dot}{rest}", denied.message, denied.detail) if first == "dataset" else denied


def _with_unused_order(service: ProviderService, approved: ApprovedAsset) -> ApprovedAsset:
    """The asset, without its order if C2D_ORDERS_ONCE is set and a job has used the order: a start would refuse it."""
    key = approved.order_key if service.provider.C2D_ORDERS_ONCE else None
    return dataclasses.replace(approved, order=None) if key and service.jobs.queries.order_is_used(key) else approved


def _valid_until(value: Any) -> int:
    until = whole_number(value)
    if until is None:
        raise _wrong_valid_until()
    return until


def _wrong_valid_until() -> RequestDenied:
    return RequestDenied("The validUntil value is not correct.")
