"""A request to compute, as a client sends it. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from c2d.errors import AccessDenied


@dataclass(frozen=True)
class AssetRequest:
    """An asset as a client names it. Nothing has been checked: each field may be missing or of any JSON type."""

    documentId: Any = None
    serviceId: Any = None
    transferTxId: Any = None
    userdata: Any = None

    @classmethod
    def of(cls, value: object) -> AssetRequest:
        """The asset in a part of a request body; all fields None unless the part is an object."""
        d = value if isinstance(value, Mapping) else {}
        return cls(d.get("documentId"), d.get("serviceId"), d.get("transferTxId"), d.get("userdata"))


@dataclass(frozen=True)
class AlgorithmRequest(AssetRequest):
    """The algorithm: an asset, or ``meta`` with raw code or its URL, and the container."""

    meta: Any = None
    algocustomdata: Any = None

    @classmethod
    def of(cls, value: object) -> AlgorithmRequest:
        """The algorithm in a part of a request body; all fields None unless the part is an object."""
        d = value if isinstance(value, Mapping) else {}
        return cls(
            d.get("documentId"), d.get("serviceId"), d.get("transferTxId"), d.get("userdata"), d.get("meta"), d.get("algocustomdata")
        )


@dataclass(frozen=True)
class ComputeRequest:
    """A compute start, or an initializeCompute, whose assets need no order yet.

    :param consumerAddress: who asks. The caller has verified the signature.
    :param environment: the environment's id.
    :param priceMinute: of the environment, in whole tokens.
    :param datasets: the main data set first.
    :param output: unchecked, like the assets.
    :param policyServer: passed on to the policy server.
    :param chains: the environment takes assets of these chains only; empty: of any chain.
    """

    consumerAddress: str
    environment: str
    priceMinute: Decimal
    datasets: tuple[AssetRequest, ...]
    algorithm: AlgorithmRequest
    output: Any = None
    policyServer: Any = None
    chains: frozenset[int] = frozenset()

    @classmethod
    def of_body(cls, body: Mapping[str, Any], price_minute: Decimal, chains: frozenset[int] = frozenset()) -> ComputeRequest:
        """The request in the body of the Provider's ``POST compute``.

        :raises AccessDenied: additionalDatasets is not a list.
        """
        additional = body.get("additionalDatasets") or []
        if not isinstance(additional, list):
            raise AccessDenied("additional_input", "invalid")
        return cls(
            consumerAddress=str(body.get("consumerAddress")),
            environment=str(body.get("environment")),
            priceMinute=price_minute,
            datasets=tuple(AssetRequest.of(each) for each in (body.get("dataset"), *additional)),
            algorithm=AlgorithmRequest.of(body.get("algorithm")),
            output=body.get("output"),
            policyServer=body.get("policyServer"),
            chains=chains,
        )


def json_object(value: Any, resource: str, message: str) -> dict[str, Any] | None:
    """A JSON object that clients send as it is or as text; None: it is missing or empty.

    :raises AccessDenied: with this resource and message, for anything else.
    """
    if isinstance(value, str) and value:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise AccessDenied(resource, message) from None
    if value and not isinstance(value, dict):
        raise AccessDenied(resource, message)
    return value or None
