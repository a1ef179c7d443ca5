"""The decision about a compute start, once all facts are there: Ocean Provider's checks in their order, with its texts. Pure."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from c2d.errors import AccessDenied, InvalidDdo, InvalidOrder, InvalidServiceFiles, UpstreamUnavailable
from c2d.jobs.model import TRANSACTION
from c2d.market import asset_rules, fees, orders
from c2d.market.asset_rules import AlgorithmFacts
from c2d.market.chain_facts import ChainFacts
from c2d.market.compute_request import ApprovedAsset, ApprovedCompute, AssetRequest, ComputeRequest, Rules
from c2d.market.ddo import Asset, Service, metadata_hashes
from c2d.market.fees import ZERO_ADDRESS
from c2d.market.service_files import decrypt

log = logging.getLogger(__name__)

MALFORMED = "Asset malformed or disabled."


def parsed(did: str, document: Mapping[str, Any]) -> Asset | InvalidDdo:
    """The asset in a document, or why there is none; also where it is another DID's."""
    try:
        asset = Asset.parse(document)
    except InvalidDdo as e:
        return e
    return asset if asset.did == did else InvalidDdo("id: is not the DID that was asked for")


def opened(asset: Asset, service: Service, rules: Rules) -> tuple[dict[str, Any], ...] | None:
    """The service's file objects; None: they are another Provider's."""
    key = rules.key(asset.chainId)
    if key is None:
        return None
    try:
        return decrypt(asset, service, key)
    except InvalidServiceFiles as e:
        log.info("%s, service %s: %s", asset.did, service.id, e)
        return None


@dataclass(frozen=True)
class ComputeStartValidation:
    """:param assets: by DID; a DID that the metadata cache does not know is not there.
    :param checksums: of the algorithm's files, each None where it cannot be had; None: there are no files to be opened.
    :param credentials: whether allow and deny lists count.
    """

    request: ComputeRequest
    rules: Rules
    assets: Mapping[str, Asset | InvalidDdo]
    chains: Mapping[int, ChainFacts]
    checksums: tuple[str | None, ...] | None
    now: float
    credentials: bool

    # -- the algorithm before the data sets -----------------------------------------------------------------------------

    def algorithm_asset(self) -> ApprovedAsset | None:
        """The algorithm, so far as it is one that can be read; None: raw code."""
        self.request.datasets  # noqa: B018 (raises where there is no list of data sets)
        asked = self.request.algorithm
        if asked.documentId is None and asked.meta is None:
            raise AccessDenied("algorithm", "missing_meta_documentId")
        if not asked.documentId:
            return None
        asset = self.assets.get(str(asked.documentId))
        if not isinstance(asset, Asset):
            raise AccessDenied("algorithm", "file_unavailable", f"{asset or 'no DDO'}")
        self._must_be_on_its_chains(asset, "algorithm")
        if asset.type != "algorithm":
            raise AccessDenied("algorithm", "not_algo")
        if not asked.serviceId and asked.serviceId != 0:
            raise AccessDenied("algorithm.serviceId", "missing")
        service = asset.service(asked.serviceId)
        if service is not None and service.type == "compute" and self.checksums is None:
            raise AccessDenied("algorithm", "compute_services_not_in_same_provider")
        if service is None or self.checksums is None or None in self.checksums:
            raise AccessDenied("algorithm", "file_unavailable", "no such service" if service is None else "a file cannot be read")
        if not self.checksums:
            raise AccessDenied("algorithm", "did_not_found", "it has no files")
        if why := self._not_consumable(asset, service):
            raise AccessDenied("algorithm.credentials", why)
        userdata = self._userdata(asked.userdata, service.consumerParameters, "algorithm.userdata")
        self._userdata(asked.algocustomdata, asset.consumerParameters, "algorithm.algocustomdata")
        return ApprovedAsset(asset, service, userdata, None, opened(asset, service, self.rules))

    def _algorithm_facts(self, algorithm: ApprovedAsset | None) -> AlgorithmFacts | None:
        if algorithm is None:
            return None
        asset, container = algorithm.asset, algorithm.asset.container or {}
        nft = self.chains[asset.chainId].nfts[asset.nftAddress.lower()]
        return AlgorithmFacts(
            did=asset.did,
            publisher=nft.owner,
            filesChecksum=asset_rules.files_checksum(c for c in self.checksums or () if c),
            containerSectionChecksum=asset_rules.container_checksum(container.get("entrypoint", ""), container.get("checksum", "")),
        )

    # -- a data set -------------------------------------------------------------------------------------------------------

    def dataset(self, n: int, asked: AssetRequest, algorithm: ApprovedAsset | None, order_needed: bool) -> ApprovedAsset:
        """The n-th data set, if it may be used with the algorithm."""
        resource = f"datasets[{n}]" if n else "dataset"
        for name in ("documentId", "transferTxId") if order_needed else ("documentId",):
            if not getattr(asked, name):
                raise AccessDenied(f"{resource}.{name}", "missing")
        if not asked.serviceId and asked.serviceId != 0:
            raise AccessDenied(f"{resource}.serviceId", "missing")
        asset = self.assets.get(str(asked.documentId))
        if asset is None:
            raise AccessDenied(f"{resource}.documentId", "did_not_found")
        if isinstance(asset, InvalidDdo):
            raise AccessDenied(resource, MALFORMED, str(asset))
        self._must_be_on_its_chains(asset, resource)
        service = asset.service(asked.serviceId)
        if service is None:
            raise AccessDenied(f"{resource}.serviceId", "not_found")
        if why := self._not_consumable(asset, service):
            raise AccessDenied(resource, why)
        if service.type not in ("access", "compute"):
            raise AccessDenied(f"{resource}.serviceId", "service_not_access_compute")
        if service.type != "compute" and n == 0:
            raise AccessDenied(f"{resource}.serviceId", "main_service_compute")
        files = opened(asset, service, self.rules)
        if service.type == "compute":
            if not files:
                raise AccessDenied(f"{resource}.serviceId", "compute_services_not_in_same_provider")
            if key := asset_rules.why_algorithm_refused(service.compute, self._algorithm_facts(algorithm), self.rules.deny_by_default):
                raise AccessDenied(resource, key)
        userdata = self._userdata(asked.userdata, service.consumerParameters, f"{resource}.userdata")
        granted = ApprovedAsset(asset, service, userdata, None, files or None)
        if not order_needed:
            return self.with_known_order(granted, asked)
        try:
            order = self._order(granted, asked.transferTxId, self.request.environment)
        except InvalidOrder as e:
            raise AccessDenied(f"{resource}.serviceId", "order_invalid", str(e)) from None
        return dataclasses.replace(granted, order=order, fee_paid=True)

    def _must_be_on_its_chains(self, asset: Asset, resource: str) -> None:
        """Of each asset, not of the first alone: any of them may pay the fee, and another chain's token may be worth nothing."""
        chains = self.request.chains
        if chains and asset.chainId not in chains:
            raise AccessDenied(resource, f"The environment takes assets of chain {', '.join(map(str, sorted(chains)))} only.")

    def _not_consumable(self, asset: Asset, service: Service) -> str | None:
        nft = self.chains[asset.chainId].nfts[asset.nftAddress.lower()]
        if self.rules.check_metadata_hash and not nft.asked:
            raise UpstreamUnavailable(
                f"chain {asset.chainId}: the RPC servers give no events of {asset.nftAddress} (eth_getLogs over all blocks)"
            )
        if self.rules.check_metadata_hash and nft.metadataHash not in metadata_hashes(asset.document):
            log.warning("%s: its DDO is not the one whose hash is on chain %s", asset.did, asset.chainId)
            return MALFORMED
        return asset_rules.why_not_consumable(asset, service, self.request.consumerAddress, nft.state, self.credentials)

    def _userdata(self, given: Any, schema: tuple[dict[str, Any], ...], resource: str) -> dict[str, Any] | None:
        if isinstance(given, str) and given.strip():
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                raise AccessDenied(resource, "must be a JSON object") from None
        if given and not isinstance(given, dict):
            raise AccessDenied(resource, "must be a JSON object")
        if why := asset_rules.why_bad_userdata(given or None, schema):
            raise AccessDenied(resource, why)
        return given or None

    # -- orders and fees --------------------------------------------------------------------------------------------------

    def _order(self, granted: ApprovedAsset, tx: Any, environment: str | None, expired_fee_ok: bool = False) -> orders.VerifiedOrder:
        asset, service = granted.asset, granted.service
        facts = self.chains[asset.chainId]
        receipt = facts.receipts.get(tx.lower()) if isinstance(tx, str) and re.match(TRANSACTION, tx) else None
        token = service.datatokenAddress.lower()
        used_on = next((r.orderTxId.lower() for r in (receipt.reused if receipt else ()) if r.datatoken.lower() == token), None)
        use = orders.Use(
            did=asset.did,
            serviceId=service.id,
            serviceIndex=service.index,
            timeout=service.timeout,
            datatoken=service.datatokenAddress,
            consumer=self.request.consumerAddress,
            provider=self._own_address(asset.chainId) if granted.files is not None else None,
            environment=environment,
            now=self.now,
            expired_fee_ok=expired_fee_ok,
        )
        deployed = (asset.nftAddress.lower(), token) in facts.deployed
        return orders.check(str(asset.chainId), use, receipt, facts.receipts.get(used_on) if used_on else None, deployed)

    def _own_address(self, chain_id: int) -> str | None:
        from c2d.crypto import signatures

        key = self.rules.key(chain_id)
        return signatures.address_of(key) if key else None

    def with_order(self, algorithm: ApprovedAsset | None) -> ApprovedAsset | None:
        """The algorithm with its order."""
        if algorithm is None:
            return None
        try:
            order = self._order(algorithm, self.request.algorithm.transferTxId, None)
        except InvalidOrder as e:
            raise AccessDenied("algorithm", "in_use_or_not_on_chain", str(e)) from None
        return dataclasses.replace(algorithm, order=order, fee_paid=True)

    def with_known_order(self, granted: ApprovedAsset, asked: AssetRequest) -> ApprovedAsset:
        """initializeCompute: the asset with the order that it names, if that is good, and whether its fee is paid too."""
        if not asked.transferTxId:
            return granted
        try:
            order = self._order(granted, asked.transferTxId, self.request.environment, expired_fee_ok=True)
        except InvalidOrder as e:
            log.info("%s: %s", granted.asset.did, e)
            return granted
        paid = not order.validUntil or self.now <= order.validUntil
        return dataclasses.replace(granted, order=order, fee_paid=paid)

    def container(self, algorithm: ApprovedAsset | None) -> Mapping[str, str]:
        """The algorithm's container: as published, or as the consumer gives it for raw code."""
        if algorithm is not None:
            container = algorithm.asset.container
        else:
            meta = self.request.algorithm.meta
            if not isinstance(meta, Mapping) or not any(meta.get(source) for source in ("url", "rawcode", "remote")):
                raise AccessDenied("algorithm", "meta_oneof_url_rawcode_remote")
            given = meta.get("container")
            container = {str(k): str(v) for k, v in given.items() if v} if isinstance(given, Mapping) else {}
        if key := asset_rules.why_bad_container(container):
            raise AccessDenied("algorithm.container", key)
        return dict(container or {})

    def paid(self, datasets: tuple[ApprovedAsset, ...], algorithm: ApprovedAsset | None, container: Mapping[str, str]) -> ApprovedCompute:
        """All together: one of the orders must have paid the environment's fee for its own time, and that is the job's time."""
        ordered = [a for a in (*datasets, algorithm) if a is not None and a.order is not None]
        payers = [a.order for a in ordered if a.order and self._pays(a, a.order)]
        if not payers:
            raise AccessDenied("order", "fees_not_paid")
        payer = max(payers, key=lambda order: order.ends)
        network = all(d.service.compute.allowNetworkAccess for d in datasets if d.service.type == "compute")
        checksums = tuple(c for c in self.checksums or () if c) if algorithm else ()
        # What the chain took with the payment is given back at the end; it makes a short time no longer than was paid for.
        ends = min(payer.ends, int(self.now) + payer.seconds) if payer.ends and payer.seconds else payer.ends
        return ApprovedCompute(datasets, algorithm, container, payer.txId, ends, network, checksums)

    def _pays(self, granted: ApprovedAsset, order: orders.VerifiedOrder) -> bool:
        """Whether the order's fee, ours and in our token, is enough for the time until it ends."""
        if order.ends and order.ends <= self.now:
            return False
        # Without an end there is no price that would pay for it, but where nothing has to be paid.
        left = order.ends - self.now if order.ends else math.inf
        fee = self._fee(min(left, order.seconds or left), granted.asset.chainId)
        if fee == 0:
            return True
        token = self.rules.fee_token(granted.asset.chainId)
        ours = granted.files is not None and token is not None and order.fee.providerFeeToken.lower() == token.lower()
        return ours and order.fee.providerFeeAmount >= fee

    def _fee(self, seconds: float, chain_id: int) -> int:
        token = self.rules.fee_token(chain_id)
        if token is None and self.request.priceMinute:
            raise UpstreamUnavailable(fees.UNPRICED.format(chain_id))
        if token is None or token == ZERO_ADDRESS or not self.request.priceMinute:
            return 0
        decimals = self.chains[chain_id].decimals.get(token.lower())
        if math.isinf(seconds):
            return 2**256
        if decimals is None:
            raise UpstreamUnavailable(f"chain {chain_id}: the fee token {token} does not tell its decimals")
        return fees.amount(seconds, self.request.priceMinute, token, decimals)

    def output(self) -> None:
        given = self.request.output
        if isinstance(given, str) and given:
            try:
                given = json.loads(given)
            except (ValueError, RecursionError):
                raise AccessDenied("output", "invalid") from None
        if given and not isinstance(given, Mapping):
            raise AccessDenied("output", "invalid")

    # -- one asset alone ----------------------------------------------------------------------------------------------------

    def consumed(self, asked: AssetRequest) -> ApprovedAsset:
        """An asset for the Provider's ``initialize`` and ``download``."""
        asset = self.assets.get(str(asked.documentId))
        if asset is None:
            raise AccessDenied("documentId", "did_not_found")
        if isinstance(asset, InvalidDdo):
            raise AccessDenied("", MALFORMED, str(asset))
        service = asset.service(asked.serviceId)
        if service is None:
            raise AccessDenied("serviceId", "not_found")
        if why := self._not_consumable(asset, service):
            raise AccessDenied("", why)
        userdata = self._userdata(asked.userdata, service.consumerParameters, "userdata")
        granted = ApprovedAsset(asset, service, userdata, None, opened(asset, service, self.rules) or None)
        if asked.transferTxId is None:
            return granted
        try:
            return dataclasses.replace(granted, order=self._order(granted, asked.transferTxId, None), fee_paid=True)
        except InvalidOrder as e:
            raise AccessDenied("", "order_invalid", str(e)) from None
