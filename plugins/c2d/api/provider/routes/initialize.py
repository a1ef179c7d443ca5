"""What an order will cost, before it is made. Nothing is reserved: the fee is signed here and checked when the order is used."""

from __future__ import annotations

import dataclasses
import time
from decimal import Decimal
from typing import Any

from fastapi import APIRouter, Request

from c2d.api.common.body import loads
from c2d.api.provider import rules
from c2d.api.provider.assets import a_few, by_resource, consumed, environment_of, in_a_sentence
from c2d.api.provider.auth import data_of, requires
from c2d.api.provider.service import ProviderService, service_of
from c2d.errors import AccessDenied, FetchError, RequestDenied, UpstreamUnavailable
from c2d.market import fees
from c2d.market.approval import ApprovedAsset
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.settings.environment import Environment

router = APIRouter(tags=["consume"])
ANSWER_BYTES = 64 * 1024
WRONG_TIME = "The validUntil value is not correct."


@router.get(
    "/initialize", summary="Datatoken and fee of an asset with an access service: ?documentId=&serviceId=&consumerAddress=&fileIndex="
)
@requires(rules.INITIALIZE)
def initialize(request: Request) -> dict[str, Any]:
    service, data = service_of(request), data_of(request)
    did, service_id, consumer = (str(data[name]) for name in ("documentId", "serviceId", "consumerAddress"))
    try:
        service.policies.check_rbac("initialize", consumer, [{"did": did, "serviceId": service_id}])
    except AccessDenied as e:
        raise in_a_sentence(e) from None
    granted = consumed(service, did, service_id, consumer, userdata=data.get("userdata"))
    environment = None
    if granted.service.type == "compute":
        # Another Provider asks so for a job of its own; a consumer is led to the other route.
        if not (data.get("environment") and data.get("validUntil")):
            raise RequestDenied("Use the initializeCompute endpoint to initialize compute jobs.")
        environment = environment_of(service, str(data["environment"])).id
    if data.get("fileIndex") not in (None, ""):
        _file_must_be_there(service, granted, rules.whole(data["fileIndex"]))
    answer: dict[str, Any] = {
        "datatoken": granted.service.datatokenAddress,
        "nonce": service.consumers.nonce(consumer),
        "providerFee": _fee(service, granted, 0, environment, _until(data.get("validUntil") or 0)),
    }
    if data.get("transferTxId"):
        try:
            consumed(service, did, service_id, consumer, str(data["transferTxId"]), data.get("userdata"))
            answer["validOrder"] = str(data["transferTxId"])
        except RequestDenied:
            pass  # it cannot be used on: a new order is needed
    return answer


@router.post("/initializeCompute", summary="Datatokens and fees of all assets of a job; orders that are still good are said to be so")
@requires(rules.INITIALIZE_COMPUTE)
def initialize_compute(request: Request) -> dict[str, Any]:
    service, data = service_of(request), data_of(request)
    until = _until(data["compute"]["validUntil"])
    if until <= time.time():
        raise RequestDenied(WRONG_TIME)
    env = environment_of(service, str(data["compute"]["env"]))
    datasets = data["datasets"]
    if not isinstance(datasets, list) or not all(isinstance(d, dict) for d in datasets) or not a_few(datasets):
        raise RequestDenied({"datasets": "invalid"})
    consumer = str(data["consumerAddress"])
    wanted = ComputeRequest(
        consumerAddress=consumer,
        environment=env.id,
        priceMinute=env.priceMinute,
        datasets=tuple(AssetRequest.of(dataset) for dataset in datasets),
        algorithm=AlgorithmRequest.of(data.get("algorithm")),
        chains=env.chains,
    )
    try:
        with service.asking():
            inputs, algorithm = service.access.approve_initialize(wanted)
    except AccessDenied as e:
        if e.message == "not_algo":
            raise RequestDenied("DID is not a valid algorithm") from None
        raise by_resource(_in_the_list(e)) from None
    assets = [_with_unused_order(service, each) for each in (*inputs, *([algorithm] if algorithm else []))]
    named = [*datasets, *([data["algorithm"]] if algorithm else [])]
    cost = _cost(service, assets[0], env.priceMinute, until)
    payer = _payer(service, assets, until, cost)
    answers = [
        _answer(service, granted, given, consumer, env, until, cost if n == payer else None)
        for n, (granted, given) in enumerate(zip(assets, named, strict=True))
    ]
    return {"datasets": answers[: len(inputs)], **({"algorithm": answers[-1]} if algorithm else {})}


def _with_unused_order(service: ProviderService, granted: ApprovedAsset) -> ApprovedAsset:
    """C2D_ORDERS_ONCE: an order that a job has had is not said to be valid, for a start would refuse it."""
    key = granted.order_key if service.own.C2D_ORDERS_ONCE else None
    return dataclasses.replace(granted, order=None) if key and service.jobs.queries.order_is_used(key) else granted


def _in_the_list(refused: AccessDenied) -> AccessDenied:
    """The first data set as initializeCompute calls it; a start names it apart."""
    first, dot, rest = refused.resource.partition(".")
    return AccessDenied(f"datasets[0]{dot}{rest}", refused.message, refused.detail) if first == "dataset" else refused


def _cost(service: ProviderService, granted: ApprovedAsset, price_minute: Decimal, until: int) -> int:
    """Of the whole time, in the token's smallest unit."""
    chain = granted.asset.chainId
    token = service.own.fee_token(chain)
    if price_minute and token is None:
        raise UpstreamUnavailable(fees.UNPRICED.format(chain))
    return fees.amount(until - time.time(), price_minute, token, service.decimals(chain)) if price_minute else 0


def _covers(granted: ApprovedAsset, until: int) -> bool:
    """Whether the asset's order can be used as it is until then."""
    return granted.order is not None and granted.fee_paid and (not granted.order.validUntil or granted.order.validUntil >= until)


def _payer(service: ProviderService, assets: list[ApprovedAsset], until: int, cost: int) -> int | None:
    """Which of the assets carries the fee: only one does. None: it is paid already, or there is nothing to pay."""
    if not cost:
        return None
    own = [n for n, granted in enumerate(assets) if granted.files is not None]
    for n in own:
        order, token = assets[n].order, service.own.fee_token(assets[n].asset.chainId)
        in_our_token = order is not None and order.fee.providerFeeToken.lower() == str(token).lower()
        if order and in_our_token and _covers(assets[n], until) and order.fee.providerFeeAmount >= cost:
            return None
    return next((n for n in own if not _covers(assets[n], until)), own[0])


def _answer(
    service: ProviderService, granted: ApprovedAsset, given: dict[str, Any], consumer: str, env: Environment, until: int, fee: int | None
) -> dict[str, Any]:
    """:param fee: what this asset carries; None: another one carries it, or nothing is to be paid."""
    if _covers(granted, until) and fee is None:
        return {"validOrder": given["transferTxId"]}
    if granted.files is None:
        answer = _of_other_provider(service, granted, given, consumer, env, until)
    else:
        answer = {"datatoken": granted.service.datatokenAddress, "providerFee": _fee(service, granted, fee or 0, env.id, until)}
    return answer | ({"validOrder": given["transferTxId"]} if granted.order else {})


def _fee(service: ProviderService, granted: ApprovedAsset, amount: int, environment: str | None, until: int) -> dict[str, Any]:
    chain = granted.asset.chainId
    key = service.own.key(chain)
    if key is None:
        raise RequestDenied(f"chain {chain}: this Provider has no key there")
    made = fees.make(
        key,
        service.own.fee_token(chain),
        amount,
        environment=environment,
        datatoken=granted.service.datatokenAddress,
        service_id=granted.service.id,
        valid_until=until,
        now=int(time.time()),
    )
    return made.dump()


def _of_other_provider(
    service: ProviderService, granted: ApprovedAsset, given: dict[str, Any], consumer: str, env: Environment, until: int
) -> dict[str, Any]:
    """What the asset's own Provider says. Its URL is the publisher's: fetched under guard."""
    asked = {name: given[name] for name in ("documentId", "serviceId", "transferTxId") if given.get(name)}
    asked |= {"consumerAddress": consumer, "environment": env.id, "validUntil": str(until)}
    file = {"type": "url", "url": f"{granted.service.serviceEndpoint.rstrip('/')}/api/services/initialize"}
    try:
        with service.fetching() as files, files.open(file, asked, granted.asset.chainId) as answer:
            said = loads(b"".join(answer.chunks(ANSWER_BYTES)))
    except (FetchError, ValueError) as e:
        raise RequestDenied(f"the Provider of {granted.asset.did} does not answer: {type(e).__name__}") from None
    if answer.status != 200 or not isinstance(said, dict):
        # No word of what it said: the URL is a stranger's choice, and what answers there may be anything.
        raise RequestDenied(f"the Provider of {granted.asset.did} refuses: HTTP status {answer.status}")
    return {name: said[name] for name in ("datatoken", "providerFee", "validOrder") if name in said}


def _file_must_be_there(service: ProviderService, granted: ApprovedAsset, index: int | None) -> None:
    missing = RequestDenied("Asset URL not found, not available or invalid.")
    if granted.files is None or index is None or index >= len(granted.files):
        raise missing
    with service.fetching() as files:
        if files.info(granted.files[index], granted.userdata, granted.asset.chainId) is None:
            raise missing


def _until(given: Any) -> int:
    until = rules.whole(given)
    if until is None:
        raise RequestDenied(WRONG_TIME)
    return until
