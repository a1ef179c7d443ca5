"""What the routes work with."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request

from c2d.access.asset_content import AssetFiles, asset_files
from c2d.access.compute_access import ComputeAccess, compute_access
from c2d.api.common.limits import Rate
from c2d.api.operator_service.service import Service
from c2d.database.consumers import Consumers
from c2d.database.nonces import Caller
from c2d.errors import ApiError, UpstreamUnavailable
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.download_proof import DownloadProofs
from c2d.hooks.json_rpc import urls_by_chain_id
from c2d.hooks.policy_server import PolicyServerHook
from c2d.market.chain_facts import ChainQuestions
from c2d.market.fees import ZERO_ADDRESS
from c2d.settings.installation import Settings
from c2d.settings.provider import ProviderSettings

# At once; each holds one of the forty threads of Airflow's API server, as long as a chain, a metadata cache or a publisher's server takes.
QUESTIONS = 24
FETCHES = 16
DOWNLOADS = 64  # these hold a thread only now and then
DOWNLOAD_SECONDS = 12 * 3600
DECIMALS_OF_NO_TOKEN = 18
TOO_MANY_FILES = "too many files are being fetched; try again"
Given = TypeVar("Given")


@dataclass
class ProviderService:
    """
    :param jobs: the operator-service's own: one intake, one queue, one way to stop.
    :param networks: the edge to the chains' nodes: RPC URLs by chain id (:func:`c2d.hooks.json_rpc.urls_by_chain_id`).
    """

    jobs: Service
    networks: Callable[[Mapping[int, tuple[str, ...]]], Mapping[int, tuple[str, ...]]] = urls_by_chain_id
    consumers: Consumers = field(init=False)
    chain_facts: DatatokenHook = field(init=False)
    access: ComputeAccess = field(init=False)
    proofs: DownloadProofs = field(init=False)
    visitors: Rate = field(init=False)

    def __post_init__(self) -> None:
        own = self.own
        key = own.PROVIDER_PRIVATE_KEY[min(own.PROVIDER_PRIVATE_KEY)]
        self.consumers = Consumers(self.settings.C2D_DATABASE_URL, key)
        self.chain_facts = DatatokenHook(urls=own.NETWORK_URL, seconds=own.REQUEST_TIMEOUT)
        self.access = compute_access(self.settings, self._checksum, urls=own.NETWORK_URL)
        self.proofs = DownloadProofs(own, self.chain_facts)
        self._files = asset_files(own, self.chain_facts)
        patient = dataclasses.replace(self._files.fetcher, seconds=DOWNLOAD_SECONDS)
        self._downloads = dataclasses.replace(self._files, fetcher=patient)
        self.visitors = Rate(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self._question_slots = threading.BoundedSemaphore(QUESTIONS)
        self._fetch_slots = threading.BoundedSemaphore(FETCHES)
        self._download_slots = threading.BoundedSemaphore(DOWNLOADS)
        self._decimals: dict[tuple[int, str], int] = {}

    @property
    def settings(self) -> Settings:
        return self.jobs.settings

    @property
    def own(self) -> ProviderSettings:
        return self.settings.provider

    @property
    def caller(self) -> Caller:
        """Who the Provider API's jobs belong to among the Providers: the operator itself. Nonces are the consumers', used up before."""
        return Caller(self.settings.address.lower(), None)

    @property
    def policies(self) -> PolicyServerHook:
        return self.access.policies

    def chains(self) -> list[int]:
        """The chains that there is a node and a key for, as far as they are known."""
        return sorted(chain for chain in self.networks(self.own.NETWORK_URL) if self.own.key(chain))

    def decimals(self, chain_id: int) -> int:
        """Of the fee token on a chain.

        :raises UpstreamUnavailable: the chain does not answer, or the token does not tell.
        """
        token = self.own.fee_token(chain_id)
        if token is None or token == ZERO_ADDRESS:
            return DECIMALS_OF_NO_TOKEN
        if (chain_id, token) not in self._decimals:
            found = self.chain_facts.facts(chain_id, ChainQuestions(tokens=frozenset({token}))).decimals.get(token.lower())
            if found is None:
                raise UpstreamUnavailable(f"chain {chain_id}: the fee token {token} does not tell its decimals")
            self._decimals[chain_id, token] = found
        return self._decimals[chain_id, token]

    def asking(self) -> contextlib.AbstractContextManager[None]:
        """For one of the few that may have chains and the metadata cache asked at once: others are told to come back."""
        return _one_of(self._question_slots, None, "too many assets are being looked at; try again")

    def fetching(self) -> contextlib.AbstractContextManager[AssetFiles]:
        """The same for who has files looked at."""
        until = time.monotonic() + self._files.fetcher.seconds  # for all that is looked at in one slot: an asset may have many files
        files = dataclasses.replace(self._files, fetcher=dataclasses.replace(self._files.fetcher, until=until))
        return _one_of(self._fetch_slots, files, TOO_MANY_FILES)

    def downloading(self) -> contextlib.AbstractContextManager[AssetFiles]:
        """The same for downloads."""
        return _one_of(self._download_slots, self._downloads, TOO_MANY_FILES)

    def _checksum(self, file: Mapping[str, Any], userdata: Mapping[str, Any] | None, chain_id: int) -> str | None:
        with self.fetching() as files:
            return files.checksum(file, userdata, chain_id)


@contextlib.contextmanager
def _one_of(slots: threading.BoundedSemaphore, given: Given, otherwise: str) -> Iterator[Given]:
    if not slots.acquire(blocking=False):
        raise ApiError(429, otherwise, {"Retry-After": "2"})
    try:
        yield given
    finally:
        slots.release()


def service_of(request: Request) -> ProviderService:
    service: ProviderService = request.app.state.service
    return service
