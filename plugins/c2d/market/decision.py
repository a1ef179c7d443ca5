"""The decision about a request: Ocean Provider's checks (v2.1.6), in its order and with its error texts, which clients parse.

Pure: :mod:`c2d.access.compute_access` collects the case beforehand. The first check that fails raises AccessDenied. If a chain could not
provide a fact, UpstreamUnavailable is raised: a missing fact is never an approval.

The checks of one asset are in :mod:`c2d.market.asset_checks`, those of orders and the environment's fee in :mod:`c2d.market.payment`.
"""

from __future__ import annotations

from collections.abc import Mapping

from c2d.errors import AccessDenied
from c2d.market import asset_checks, asset_rules, payment
from c2d.market.approval import ApprovedAsset, ApprovedCompute
from c2d.market.case import Case
from c2d.market.compute_request import AlgorithmRequest, json_object


def decide_start(case: Case) -> ApprovedCompute:
    """What a compute start may use.

    :raises AccessDenied: with Ocean's resource and message.
    :raises UpstreamUnavailable: a chain did not provide a fact.
    """
    algorithm = asset_checks.approved_algorithm(case)
    datasets = tuple(_ordered_dataset(case, n, algorithm) for n in range(len(case.request.datasets)))
    algorithm = _ordered_algorithm(case, algorithm)
    container = _container(case.request.algorithm, algorithm)
    payer = payment.environment_payer(case, (*datasets, algorithm) if algorithm else datasets)
    json_object(case.request.output, "output", "invalid")  # a check only: the API reads it from the request
    return ApprovedCompute(
        datasets=datasets,
        algorithm=algorithm,
        container=container,
        agreementId=payer.txId,
        validUntil=payment.paid_until(payer, case.now),
        allowNetworkAccess=all(d.service.compute.allowNetworkAccess for d in datasets if d.service.type == "compute"),
        algorithmChecksums=case.algorithm_files.checksums if algorithm and case.algorithm_files else (),
    )


def decide_initialize(case: Case) -> tuple[tuple[ApprovedAsset, ...], ApprovedAsset | None]:
    """What an initializeCompute may order: the data sets and the algorithm (None: raw code). Valid orders that it names are included.

    :raises AccessDenied, UpstreamUnavailable: as :func:`decide_start`.
    """
    algorithm = asset_checks.approved_algorithm(case)
    datasets = tuple(_dataset_with_optional_order(case, n, algorithm) for n in range(len(case.request.datasets)))
    return datasets, algorithm and payment.with_optional_order(case, algorithm, case.request.algorithm.transferTxId)


def decide_download(case: Case) -> ApprovedAsset:
    """The request's only asset, for the Provider's ``initialize`` (which names no order) and ``download``.

    :raises AccessDenied, UpstreamUnavailable: as :func:`decide_start`.
    """
    (requested,) = case.request.datasets
    asset = asset_checks.approved_asset(case, requested)
    if requested.transferTxId is None:
        return asset
    return payment.with_order(case, asset, requested.transferTxId, environment=None, denial=("", "order_invalid"))


# -- steps -------------------------------------------------------------------------------------------------------------------------


def _ordered_dataset(case: Case, n: int, algorithm: ApprovedAsset | None) -> ApprovedAsset:
    requested, resource = case.request.datasets[n], _dataset_resource(n)
    asset_checks.require_fields(requested, resource, "documentId", "transferTxId", "serviceId")
    dataset = asset_checks.approved_dataset(case, requested, resource, algorithm, is_main=n == 0)
    denial = (f"{resource}.serviceId", "order_invalid")
    return payment.with_order(case, dataset, requested.transferTxId, case.request.environment, denial)


def _dataset_with_optional_order(case: Case, n: int, algorithm: ApprovedAsset | None) -> ApprovedAsset:
    requested, resource = case.request.datasets[n], _dataset_resource(n)
    asset_checks.require_fields(requested, resource, "documentId", "serviceId")
    dataset = asset_checks.approved_dataset(case, requested, resource, algorithm, is_main=n == 0)
    return payment.with_optional_order(case, dataset, requested.transferTxId)


def _ordered_algorithm(case: Case, algorithm: ApprovedAsset | None) -> ApprovedAsset | None:
    if algorithm is None:
        return None
    tx, denial = case.request.algorithm.transferTxId, ("algorithm", "in_use_or_not_on_chain")
    return payment.with_order(case, algorithm, tx, environment=None, denial=denial)


def _container(requested: AlgorithmRequest, algorithm: ApprovedAsset | None) -> Mapping[str, str]:
    """The container as published with the algorithm, or as the consumer describes it for raw code."""
    container = algorithm.asset.container if algorithm else _raw_code_container(requested)
    if key := asset_rules.why_bad_container(container):
        raise AccessDenied("algorithm.container", key)
    return dict(container or {})


def _raw_code_container(requested: AlgorithmRequest) -> Mapping[str, str]:
    meta = requested.meta
    if not isinstance(meta, Mapping) or not any(meta.get(source) for source in ("url", "rawcode", "remote")):
        raise AccessDenied("algorithm", "meta_oneof_url_rawcode_remote")
    container = meta.get("container")
    return {str(k): str(v) for k, v in container.items() if v} if isinstance(container, Mapping) else {}


def _dataset_resource(n: int) -> str:
    """What Ocean calls the n-th data set in error messages."""
    return f"datasets[{n}]" if n else "dataset"
