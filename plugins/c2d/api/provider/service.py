"""What the routes of the Provider work with."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request

from c2d.access.asset_content import AssetFiles, asset_files
from c2d.access.compute_access import ComputeAccess, compute_access
from c2d.api.common.job_service import JobService
from c2d.api.common.rate_limit import RateLimit
from c2d.api.provider.slots import Slots
from c2d.database.consumers import Consumers
from c2d.database.nonces import Caller
from c2d.errors import UpstreamUnavailable
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.download_proof import DownloadProofs
from c2d.hooks.json_rpc import urls_by_chain_id
from c2d.hooks.policy_server import PolicyServerHook
from c2d.market.chain_facts import ChainQuestions
from c2d.market.fees import ZERO_ADDRESS
from c2d.settings.installation import Settings
from c2d.settings.provider import ProviderSettings

# Each slot holds one of the 40 threads of Airflow's API server for as long as a chain, a metadata cache or a publisher's server takes.
QUERY_SLOTS = 24
FETCH_SLOTS = 16
DOWNLOAD_SLOTS = 64
"""A download holds a thread only while a piece is read."""

DOWNLOAD_SECONDS = 12 * 3600
DECIMALS_WITHOUT_TOKEN = 18


@dataclass
class ProviderService:
    """Assets, orders and fees, and the jobs that consumers start on them.

    :param jobs: the Operator-Service's own, so that both APIs share one queue.
    """

    jobs: JobService
    consumers: Consumers = field(init=False)
    chain_facts: DatatokenHook = field(init=False)
    access: ComputeAccess = field(init=False)
    proofs: DownloadProofs = field(init=False)
    visitor_limit: RateLimit = field(init=False)

    def __post_init__(self) -> None:
        provider = self.provider
        key = provider.PROVIDER_PRIVATE_KEY[min(provider.PROVIDER_PRIVATE_KEY)]
        self.consumers = Consumers(self.settings.C2D_DATABASE_URL, key)
        self.chain_facts = DatatokenHook(urls=provider.NETWORK_URL, seconds=provider.REQUEST_TIMEOUT)
        self.access = compute_access(self.settings, self._checksum, urls=provider.NETWORK_URL)
        self.proofs = DownloadProofs(provider, self.chain_facts)
        self.visitor_limit = RateLimit(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self._files = asset_files(provider, self.chain_facts)
        self._downloads = dataclasses.replace(self._files, fetcher=dataclasses.replace(self._files.fetcher, seconds=DOWNLOAD_SECONDS))
        self._query_slots = Slots(QUERY_SLOTS, "too many assets are being looked up; try again")
        self._fetch_slots = Slots(FETCH_SLOTS, "too many files are being fetched; try again")
        self._download_slots = Slots(DOWNLOAD_SLOTS, "too many files are being fetched; try again")
        self._decimals: dict[tuple[int, str], int] = {}

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        return self.jobs.settings

    @property
    def provider(self) -> ProviderSettings:
        """The Provider API's settings."""
        return self.settings.provider

    @property
    def caller(self) -> Caller:
        """The Provider that this API's jobs belong to: the operator. It has no nonce, because the consumer's has been used up before."""
        return Caller(self.settings.address.lower(), None)

    @property
    def policies(self) -> PolicyServerHook:
        """The RBAC server and the policy server."""
        return self.access.policies

    def chains(self) -> list[int]:
        """The chains with a node and a key, as far as their ids are known."""
        return sorted(chain for chain in urls_by_chain_id(self.provider.NETWORK_URL) if self.provider.key(chain))

    def decimals(self, chain_id: int) -> int:
        """The decimals of the fee token on a chain.

        :raises UpstreamUnavailable: the chain does not answer, or the token has no ``decimals()``.
        """
        token = self.provider.fee_token(chain_id)
        if token is None or token == ZERO_ADDRESS:
            return DECIMALS_WITHOUT_TOKEN
        if (chain_id, token) not in self._decimals:
            facts = self.chain_facts.facts(chain_id, ChainQuestions(tokens=frozenset({token})))
            decimals = facts.decimals.get(token.lower())
            if decimals is None:
                raise UpstreamUnavailable(f"chain {chain_id}: the decimals of the fee token {token} cannot be read")
            self._decimals[chain_id, token] = decimals
        return self._decimals[chain_id, token]

    def query_slot(self) -> contextlib.AbstractContextManager[None]:
        """Acquire one of the slots for queries of chains and the metadata cache.

        :raises ApiError: none is free.
        """
        return self._query_slots.take()

    @contextlib.contextmanager
    def fetch_slot(self) -> Iterator[AssetFiles]:
        """Acquire one of the slots for looking at files. All that is fetched in it must be there within REQUEST_TIMEOUT.

        :raises ApiError: none is free.
        """
        with self._fetch_slots.take():
            fetcher = dataclasses.replace(self._files.fetcher, until=time.monotonic() + self._files.fetcher.seconds)
            yield dataclasses.replace(self._files, fetcher=fetcher)

    @contextlib.contextmanager
    def download_slot(self) -> Iterator[AssetFiles]:
        """Acquire one of the slots for downloads.

        :raises ApiError: none is free.
        """
        with self._download_slots.take():
            yield self._downloads

    def _checksum(self, file: Mapping[str, Any], userdata: Mapping[str, Any] | None, chain_id: int) -> str | None:
        with self.fetch_slot() as files:
            return files.checksum(file, userdata, chain_id)


def service_of(request: Request) -> ProviderService:
    """The service of the app that the request is for."""
    service: ProviderService = request.app.state.service
    return service
