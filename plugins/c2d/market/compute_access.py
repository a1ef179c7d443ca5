"""The validation of a compute start: which assets, which algorithm, whose order. The Provider API and the DAG call the same code.

All facts are gathered first (DDOs, chain, checksums of the algorithm's files), then checked in the order of Ocean's Provider with its
texts: the first that fails is a :class:`~c2d.errors.AccessDenied`. What cannot be asked (a chain, the metadata cache, RBAC) is an
:class:`~c2d.errors.UpstreamUnavailable`, never a pass.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from c2d.errors import InvalidDdo
from c2d.jobs.model import TRANSACTION
from c2d.market.chain_facts import Assets, ChainQuestions, Chains
from c2d.market.compute_request import AlgorithmRequest, ApprovedAsset, ApprovedCompute, AssetRequest, ComputeRequest, Policies, Rules
from c2d.market.ddo import Asset, Service
from c2d.market.decision import ComputeStartValidation, opened, parsed
from c2d.market.fees import ZERO_ADDRESS


class ComputeAccess:
    """Checks compute starts.

    :param checksum: the sha256 (hex) of a file object's content, fetched under guard; None: it cannot be had, or is too large.
        Arguments: file object, userdata, chain id.
    """

    def __init__(
        self,
        rules: Rules,
        assets: Assets,
        chains: Chains,
        policies: Policies,
        checksum: Callable[[Mapping[str, Any], Mapping[str, Any] | None, int], str | None],
        now: Callable[[], float] = time.time,
    ):
        self.rules, self.assets, self.chains, self.policies, self.checksum, self.now = rules, assets, chains, policies, checksum, now

    def start(self, request: ComputeRequest, at: float | None = None) -> ApprovedCompute:
        """What a compute start may use.

        :param at: when it was asked for, seconds since 1970: a job may have waited in our queue since; None: now.
        :raises c2d.errors.AccessDenied: with Ocean's resource and message.
        :raises c2d.errors.UpstreamUnavailable: something cannot be asked.
        """
        check = self._gathered(request, at)
        algorithm = check.algorithm_asset()
        datasets = tuple(check.dataset(n, asked, algorithm, order_needed=True) for n, asked in enumerate(request.datasets))
        algorithm = check.with_order(algorithm)
        container = check.container(algorithm)
        granted = check.paid(datasets, algorithm, container)
        check.output()
        self.policies.check_start(request, datasets, algorithm)
        return granted

    def initialize(self, request: ComputeRequest) -> tuple[tuple[ApprovedAsset, ...], ApprovedAsset | None]:
        """The same without orders: the data sets and the algorithm (None: raw code) of an initializeCompute, each with what its
        transaction, if it names one, is good for.

        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`start`.
        """
        check = self._gathered(request)
        algorithm = check.algorithm_asset()
        datasets = tuple(check.dataset(n, asked, algorithm, order_needed=False) for n, asked in enumerate(request.datasets))
        return datasets, algorithm and check.with_known_order(algorithm, request.algorithm)

    def consume(
        self, did: str, service_id: str, consumer: str, tx: str | None, userdata: Any = None, policy_server: Any = None
    ) -> ApprovedAsset:
        """One asset for ``initialize`` (``tx`` None) and ``download`` of an access service.

        :param policy_server: what the request has for the policy server.

        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`start`.
        """
        asked = AssetRequest(did, service_id, tx, userdata)
        request = ComputeRequest(consumer, "", Decimal(0), asked, AlgorithmRequest(), policyServer=policy_server)
        granted = self._gathered(request).consumed(asked)
        if tx is not None:
            self.policies.check_download(request, granted)
        return granted

    def _gathered(self, request: ComputeRequest, at: float | None = None) -> ComputeStartValidation:
        """All facts that a decision needs: DDOs first, then each chain and the algorithm's files at the same time."""
        named = [a for a in (*request.datasets, request.algorithm) if isinstance(a.documentId, str)]
        documents = self.assets.ddos([a.documentId for a in named])
        known = {did: parsed(did, document) for did, document in documents.items()}
        questions: dict[int, ChainQuestions] = {}
        for asked in named:
            asset = known.get(asked.documentId)
            service = asset.service(asked.serviceId) if isinstance(asset, Asset) else None
            if isinstance(asset, Asset) and service:
                questions[asset.chainId] = questions.get(asset.chainId, ChainQuestions()) | self._questions(asset, service, asked)
        with ThreadPoolExecutor(len(questions) + 1) as pool:
            facts = {chain_id: pool.submit(self.chains.facts, chain_id, q) for chain_id, q in questions.items()}
            checksums = pool.submit(self._checksums, known.get(str(request.algorithm.documentId)), request.algorithm)
            of_chains = {chain_id: answer.result() for chain_id, answer in facts.items()}
            # A chain's clock that is ahead of ours counts: paid time is the chain's.
            now = at or max([self.now(), *(float(f.now) for f in of_chains.values())])
            return ComputeStartValidation(
                request, self.rules, known, of_chains, checksums.result(), now, not self.policies.replaces_credentials
            )

    def _questions(self, asset: Asset, service: Service, asked: AssetRequest) -> ChainQuestions:
        tx = asked.transferTxId
        token = self.rules.fee_token(asset.chainId)
        return ChainQuestions(
            nfts=frozenset({(asset.nftAddress, service.datatokenAddress, asset.event)}),
            transactions=frozenset({tx.lower()} if isinstance(tx, str) and re.match(TRANSACTION, tx) else ()),
            tokens=frozenset({token} if token and token != ZERO_ADDRESS else ()),
        )

    def _checksums(self, asset: Asset | InvalidDdo | None, asked: AlgorithmRequest) -> tuple[str | None, ...] | None:
        """Of the algorithm's files, each; None: it has no files that this Provider could open."""
        service = asset.service(asked.serviceId) if isinstance(asset, Asset) else None
        if not isinstance(asset, Asset) or service is None:
            return None
        files = opened(asset, service, self.rules)
        userdata = asked.userdata if isinstance(asked.userdata, dict) else None
        return None if files is None else tuple(self.checksum(file, userdata, asset.chainId) for file in files)
