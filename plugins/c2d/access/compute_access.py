"""Who may compute on which assets. The Provider API and a job's configure task call the same code.

All facts are collected first: DDOs, chains, checksums of the algorithm's files. :mod:`c2d.market.decision` then decides.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

from c2d.hooks.aquarius import AquariusHook
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.policy_server import PolicyServerHook
from c2d.jobs.patterns import TRANSACTION
from c2d.market import decision
from c2d.market.approval import ApprovedAsset, ApprovedCompute
from c2d.market.case import AlgorithmFiles, Case, OperatorRules, parsed_assets
from c2d.market.chain_facts import ChainQuestions
from c2d.market.compute_request import AlgorithmRequest, AssetRequest, ComputeRequest
from c2d.market.ddo import Asset, Service
from c2d.market.fees import ZERO_ADDRESS
from c2d.market.service_files import own_files
from c2d.settings.installation import Settings

Checksum = Callable[[Mapping[str, Any], Mapping[str, Any] | None, int], str | None]
"""The sha256 (hex) of a file's content, from its file object, the consumer's parameters and the chain id; None: it cannot be read."""


class ComputeAccess:
    """Decides compute starts, initializeComputes and downloads.

    :param assets: the metadata cache.
    :param chains: answers questions about orders, NFTs and tokens.
    :param policies: the operator's RBAC and policy servers, asked last.
    :param checksum: computes the checksums of the algorithm's files; they are fetched under guard.
    """

    def __init__(
        self,
        rules: OperatorRules,
        assets: AquariusHook,
        chains: DatatokenHook,
        policies: PolicyServerHook,
        checksum: Checksum,
        now: Callable[[], float] = time.time,
    ):
        self.rules, self.assets, self.chains, self.policies, self.checksum, self.now = rules, assets, chains, policies, checksum, now

    def approve_start(self, request: ComputeRequest, at: float | None = None) -> ApprovedCompute:
        """What a compute start may use.

        :param at: when it was requested, seconds since 1970, for a job that has waited in our queue; None: now.
        :raises c2d.errors.AccessDenied: with Ocean's resource and message.
        :raises c2d.errors.UpstreamUnavailable: a system that must be asked does not answer. This is never an approval.
        """
        approved = decision.decide_start(self._case(request, at))
        self.policies.check_start(request, approved.datasets, approved.algorithm)
        return approved

    def approve_initialize(self, request: ComputeRequest) -> tuple[tuple[ApprovedAsset, ...], ApprovedAsset | None]:
        """The data sets and the algorithm (None: raw code) of an initializeCompute, each with the valid order that the request names.

        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`approve_start`.
        """
        return decision.decide_initialize(self._case(request))

    def approve_download(
        self, did: str, service_id: str, consumer: str, tx: str | None, userdata: Any = None, policy_server: Any = None
    ) -> ApprovedAsset:
        """One asset with an access service, for the Provider's ``initialize`` and ``download``.

        :param tx: the transaction of its order; None: it has not been ordered yet (``initialize``).
        :param policy_server: passed on to the policy server.
        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`approve_start`.
        """
        assets = (AssetRequest(did, service_id, tx, userdata),)
        request = ComputeRequest(consumer, "", Decimal(0), assets, AlgorithmRequest(), policyServer=policy_server)
        approved = decision.decide_download(self._case(request))
        if tx is not None:
            self.policies.check_download(request, approved)
        return approved

    # -- collecting the facts ----------------------------------------------------------------------------------------------------

    def _case(self, request: ComputeRequest, at: float | None = None) -> Case:
        """The request with the facts to decide it: first the DDOs, then each chain and the algorithm's files at the same time."""
        named = [a for a in (*request.datasets, request.algorithm) if isinstance(a.documentId, str)]
        assets, malformed = parsed_assets(self.assets.ddos([a.documentId for a in named]))
        questions: dict[int, ChainQuestions] = {}
        for requested in named:
            asset = assets.get(requested.documentId)
            if asset and (service := asset.service(requested.serviceId)):
                chain_id = asset.chainId
                questions[chain_id] = questions.get(chain_id, ChainQuestions()) | self._questions(asset, service, requested)
        with ThreadPoolExecutor(len(questions) + 1) as pool:
            answers = {chain_id: pool.submit(self.chains.facts, chain_id, q) for chain_id, q in questions.items()}
            files = pool.submit(self._algorithm_files, assets.get(str(request.algorithm.documentId)), request.algorithm)
            chains = {chain_id: answer.result() for chain_id, answer in answers.items()}
            return Case(
                request=request,
                rules=self.rules,
                assets=assets,
                malformed=malformed,
                chains=chains,
                algorithm_files=files.result(),
                # Paid time is measured by the chain's clock: use that of a chain that is ahead of ours.
                now=at or max([self.now(), *(float(facts.now) for facts in chains.values())]),
                check_credentials=not self.policies.replaces_credentials,
            )

    def _questions(self, asset: Asset, service: Service, requested: AssetRequest) -> ChainQuestions:
        tx = requested.transferTxId
        token = self.rules.fee_token(asset.chainId)
        return ChainQuestions(
            nfts=frozenset({(asset.nftAddress, service.datatokenAddress, asset.event)}),
            transactions=frozenset({tx.lower()} if isinstance(tx, str) and re.match(TRANSACTION, tx) else ()),
            tokens=frozenset({token} if token and token != ZERO_ADDRESS else ()),
        )

    def _algorithm_files(self, asset: Asset | None, requested: AlgorithmRequest) -> AlgorithmFiles | None:
        """The algorithm's files with their checksums; None: raw code, or this Provider cannot decrypt the files."""
        service = asset.service(requested.serviceId) if asset else None
        if asset is None or service is None:
            return None
        objects = own_files(asset, service, self.rules.key(asset.chainId))
        if objects is None:
            return None
        userdata = requested.userdata if isinstance(requested.userdata, dict) else None
        checksums = [self.checksum(file, userdata, asset.chainId) for file in objects]
        return AlgorithmFiles(objects, tuple(c for c in checksums if c is not None))


def compute_access(
    settings: Settings,
    checksum: Checksum,
    inline: Sequence[Mapping[str, Any]] = (),
    urls: Mapping[int, Sequence[str]] | None = None,
) -> ComputeAccess:
    """ComputeAccess with the systems that the settings name.

    :param checksum: see :class:`ComputeAccess`.
    :param inline: DDOs that come with the job.
    :param urls: RPC URLs by chain id; None: those of the Airflow connection, or else NETWORK_URL.
    """
    own = settings.provider
    policies = PolicyServerHook(
        rbac_url=own.RBAC_SERVER_URL,
        policy_url=own.POLICY_SERVER_URL,
        api_key=own.POLICY_SERVER_API_KEY,
        key=next(iter(own.PROVIDER_PRIVATE_KEY.values()), None),
        private_provider=own.PRIVATE_PROVIDER,
        seconds=own.REQUEST_TIMEOUT,
    )
    return ComputeAccess(
        OperatorRules(own.key, own.fee_token, own.C2D_DENY_BY_DEFAULT, own.C2D_CHECK_METADATA_HASH),
        AquariusHook(own.AQUARIUS_URL, inline, own.REQUEST_TIMEOUT),
        DatatokenHook(urls=urls, seconds=own.REQUEST_TIMEOUT),
        policies,
        checksum,
    )
