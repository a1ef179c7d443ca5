"""What the routes work with."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fastapi import Request

from c2d.api.operator_service.errors import Refusal
from c2d.api.operator_service.limits import Rate
from c2d.api.operator_service.service import Service
from c2d.consumers import Consumers
from c2d.hooks.fetch import Fetcher
from c2d.hooks.networks import networks
from c2d.intake import Caller
from c2d.provider_settings import ProviderSettings
from c2d.settings import Settings

FETCHES = 16  # at once; each holds a thread of Airflow's API server


@dataclass
class ProviderService:
    """
    :param jobs: the operator-service's own: one intake, one queue, one way to stop.
    :param networks: the edge to the chains' nodes: RPC URLs by chain id (:mod:`c2d.hooks.networks`).
    """

    jobs: Service
    networks: Callable[[Mapping[int, tuple[str, ...]]], Mapping[int, tuple[str, ...]]] = networks
    consumers: Consumers = field(init=False)
    fetcher: Fetcher = field(init=False)
    visitors: Rate = field(init=False)

    def __post_init__(self) -> None:
        own = self.own
        key = own.PROVIDER_PRIVATE_KEY[min(own.PROVIDER_PRIVATE_KEY)]
        self.consumers = Consumers(self.settings.C2D_DATABASE_URL, key)
        self.fetcher = Fetcher(own.ALLOW_NON_PUBLIC_IP, own.REQUEST_TIMEOUT, max(1, own.REQUEST_RETRIES))
        self.visitors = Rate(self.settings.C2D_REQUESTS_PER_SECOND, 2 * self.settings.C2D_REQUESTS_PER_SECOND)
        self._fetches = threading.BoundedSemaphore(FETCHES)

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

    def chains(self) -> list[int]:
        """The chains that there is a node and a key for, as far as they are known."""
        return sorted(chain for chain in self.networks(self.own.NETWORK_URL) if self.own.key(chain))

    @contextlib.contextmanager
    def fetching(self) -> Iterator[Fetcher]:
        """The fetcher, for one of the few that may fetch at once: others are told to come back, and Airflow keeps its threads."""
        if not self._fetches.acquire(blocking=False):
            raise Refusal(429, "too many files are being fetched; try again", {"Retry-After": "2"})
        try:
            yield self.fetcher
        finally:
            self._fetches.release()


def service_of(request: Request) -> ProviderService:
    service: ProviderService = request.app.state.service
    return service
