"""What the assets of a job cost: for each its datatoken and fee, or the order that can be used again.

Nothing is reserved. The fee is signed here, and checked when the order is used.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from c2d.api.common.untrusted_json import parse_json
from c2d.api.provider.service import ProviderService
from c2d.errors import FetchError, RequestDenied, UpstreamUnavailable
from c2d.market import fees
from c2d.market.approval import ApprovedAsset
from c2d.settings.environment import Environment

OTHER_QUOTE_BYTES = 64 * 1024
QUOTE_FIELDS = ("datatoken", "providerFee", "validOrder")


@dataclass(frozen=True)
class JobTerms:
    """What a job's price depends on.

    :param until: seconds since 1970 at which the paid time ends.
    """

    consumer: str
    env: Environment
    until: int


@dataclass(frozen=True)
class QuotedAsset:
    """An asset of the job.

    :param requested: the asset as the request names it.
    """

    approved: ApprovedAsset
    requested: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether its files are encrypted to this Provider; another Provider's asset is quoted by that Provider."""
        return self.approved.files is not None

    def is_paid_until(self, until: int) -> bool:
        """Whether its order can be used until then without paying again."""
        order = self.approved.order
        return order is not None and self.approved.fee_paid and (not order.validUntil or order.validUntil >= until)


def job_quotes(service: ProviderService, assets: Sequence[QuotedAsset], terms: JobTerms) -> list[dict[str, Any]]:
    """A quote for each asset of a job, the first data set first. The job's fee is on one of them, unless an order has paid it.

    :raises RequestDenied: another Provider does not quote its asset.
    :raises UpstreamUnavailable: the fee token's decimals cannot be read.
    """
    job_fee = _job_fee(service, assets[0].approved, terms)
    carrier = _fee_carrier(service, assets, terms.until, job_fee) if job_fee else None
    return [_quote(service, asset, terms, job_fee if asset is carrier else 0) for asset in assets]


def signed_fee(service: ProviderService, approved: ApprovedAsset, amount: int, environment: str | None, until: int) -> dict[str, Any]:
    """A fee for the asset's order, signed with the Provider's key on the asset's chain.

    :param amount: in the fee token's smallest unit.
    :param environment: the id of the environment that it is for. None: it is for a download.
    :raises RequestDenied: the Provider has no key there.
    """
    chain = approved.asset.chainId
    key = service.provider.key(chain)
    if key is None:
        raise RequestDenied(f"chain {chain}: this Provider has no key on this chain")
    fee = fees.make(
        key,
        service.provider.fee_token(chain),
        amount,
        environment=environment,
        datatoken=approved.service.datatokenAddress,
        service_id=approved.service.id,
        valid_until=until,
        now=int(time.time()),
    )
    return fee.dump()


def _job_fee(service: ProviderService, first: ApprovedAsset, terms: JobTerms) -> int:
    """The fee for the whole time, in the smallest unit of the fee token on the first data set's chain."""
    if not terms.env.priceMinute:
        return 0
    chain = first.asset.chainId
    token = service.provider.fee_token(chain)
    if token is None:
        raise UpstreamUnavailable(fees.UNPRICED.format(chain))
    return fees.amount(terms.until - time.time(), terms.env.priceMinute, token, service.decimals(chain))


def _fee_carrier(service: ProviderService, assets: Sequence[QuotedAsset], until: int, job_fee: int) -> QuotedAsset | None:
    """The asset whose order has to pay the job's fee: the first of ours that needs an order anyway. None: an order has paid it."""
    ours = [asset for asset in assets if asset.is_ours]
    if any(_has_paid(service, asset, until, job_fee) for asset in ours):
        return None
    return next((asset for asset in ours if not asset.is_paid_until(until)), ours[0])


def _has_paid(service: ProviderService, asset: QuotedAsset, until: int, job_fee: int) -> bool:
    """Whether the asset's order has paid the job's fee."""
    order = asset.approved.order
    if order is None or not asset.is_paid_until(until):
        return False
    token = service.provider.fee_token(asset.approved.asset.chainId)
    return order.fee.providerFeeToken.lower() == str(token).lower() and order.fee.providerFeeAmount >= job_fee


def _quote(service: ProviderService, asset: QuotedAsset, terms: JobTerms, fee: int) -> dict[str, Any]:
    """:param fee: the job's fee if this asset's order has to pay it, else 0."""
    if asset.is_paid_until(terms.until) and not fee:
        return {"validOrder": asset.requested["transferTxId"]}
    if asset.is_ours:
        approved = asset.approved
        quote = {
            "datatoken": approved.service.datatokenAddress,
            "providerFee": signed_fee(service, approved, fee, terms.env.id, terms.until),
        }
    else:
        quote = _other_providers_quote(service, asset, terms)
    return quote | ({"validOrder": asset.requested["transferTxId"]} if asset.approved.order else {})


def _other_providers_quote(service: ProviderService, asset: QuotedAsset, terms: JobTerms) -> dict[str, Any]:
    """The quote of the asset's own Provider. The publisher chose its URL, so it is fetched with the guarded client.

    :raises RequestDenied: there is none. The error does not repeat the response: it may come from a server inside our network.
    """
    approved = asset.approved
    arguments = {name: asset.requested[name] for name in ("documentId", "serviceId", "transferTxId") if asset.requested.get(name)}
    arguments |= {"consumerAddress": terms.consumer, "environment": terms.env.id, "validUntil": str(terms.until)}
    file = {"type": "url", "url": f"{approved.service.serviceEndpoint.rstrip('/')}/api/services/initialize"}
    try:
        with service.fetch_slot() as files, files.open(file, arguments, approved.asset.chainId) as response:
            quote = parse_json(b"".join(response.chunks(OTHER_QUOTE_BYTES)))
    except (FetchError, ValueError) as e:
        raise RequestDenied(f"the Provider of {approved.asset.did} has no valid answer: {type(e).__name__}") from None
    if response.status != 200 or not isinstance(quote, dict):
        raise RequestDenied(f"the Provider of {approved.asset.did} refuses: HTTP status {response.status}")
    return {name: quote[name] for name in QUOTE_FIELDS if name in quote}
