"""The access check with its real edges: chains, metadata cache, RBAC and policy server, by the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from c2d.hooks.aquarius import AssetsHook
from c2d.hooks.datatoken import DatatokenHook
from c2d.hooks.policy_server import PolicyHook
from c2d.market.compute_access import ComputeAccess
from c2d.market.compute_request import Rules
from c2d.settings.installation import Settings

Checksum = Callable[[Mapping[str, Any], Mapping[str, Any] | None, int], str | None]


def compute_access(
    settings: Settings,
    checksum: Checksum,
    inline: Sequence[Mapping[str, Any]] = (),
    urls: Mapping[int, Sequence[str]] | None = None,
) -> ComputeAccess:
    """What the Provider API and the DAG check starts with.

    :param checksum: see :class:`c2d.market.compute_access.ComputeAccess`.
    :param inline: DDOs that come with the job.
    :param urls: RPC URLs by chain; None: those of the Airflow connection, else NETWORK_URL.
    """
    own = settings.provider
    policies = PolicyHook(
        rbac_url=own.RBAC_SERVER_URL,
        policy_url=own.POLICY_SERVER_URL,
        api_key=own.POLICY_SERVER_API_KEY,
        key=next(iter(own.PROVIDER_PRIVATE_KEY.values()), None),
        private_provider=own.PRIVATE_PROVIDER,
        seconds=own.REQUEST_TIMEOUT,
    )
    rules = Rules(own.key, own.fee_token, own.C2D_DENY_BY_DEFAULT, own.C2D_CHECK_METADATA_HASH)
    assets = AssetsHook(own.AQUARIUS_URL, inline, own.REQUEST_TIMEOUT)
    return ComputeAccess(rules, assets, DatatokenHook(urls=urls, seconds=own.REQUEST_TIMEOUT), policies, checksum)
