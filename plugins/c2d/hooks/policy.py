"""PolicyHook: the operator's own yes or no, asked before a start: an RBAC server (Provider's) and a policy server (ocean-node's)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from c2d.access import ComputeRequest, GrantedAsset


class PolicyHook:
    """Fails closed: whoever does not answer in time has not said yes.

    :param rbac_url: RBAC_SERVER_URL. :param policy_url: POLICY_SERVER_URL. :param api_key: sent to the policy server as X-API-Key.
    """

    def __init__(
        self,
        rbac_url: str | None = None,
        policy_url: str | None = None,
        api_key: str | None = None,
        provider_address: str | None = None,
        private_provider: bool = False,
        seconds: float = 5,
    ):
        self.rbac_url, self.policy_url, self.api_key, self.seconds = rbac_url, policy_url, api_key, seconds
        self.provider_address, self.private_provider = provider_address, private_provider

    @property
    def replaces_credentials(self) -> bool:
        """A policy server decides in place of the assets' allow and deny lists."""
        return self.policy_url is not None

    def check_start(self, request: ComputeRequest, datasets: Sequence[GrantedAsset], algorithm: GrantedAsset | None) -> None:
        """Whether the compute may start.

        :raises c2d.ddo.Refused: somebody says no.
        :raises c2d.access.Unavailable: somebody does not answer.
        """
        raise NotImplementedError

    def check(self, event: str, consumer: str, did: str | None = None) -> None:
        """RBAC for the Provider's other routes (``encryptUrl``, ``initialize``, ``access``).

        :raises c2d.ddo.Refused, c2d.access.Unavailable:
        """
        raise NotImplementedError


def asked(**fields: Any) -> Mapping[str, Any]:
    """A question without what is not known."""
    return {k: v for k, v in fields.items() if v is not None}
