"""PolicyHook: the operator's own yes or no, asked before a start: an RBAC server (Provider's) and a policy server (ocean-node's)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from c2d.crypto import signatures
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.hooks.aquarius import client

if TYPE_CHECKING:
    from c2d.market.approval import ApprovedAsset
    from c2d.market.compute_request import ComputeRequest

RBAC_FAILED = "RBAC Validation failed!"


class PolicyHook:
    """Fails closed: whoever does not answer in time has not said yes.

    :param rbac_url: RBAC_SERVER_URL, told of each request; its JSON answer must be ``true``.
    :param policy_url: POLICY_SERVER_URL, asked for each asset of a start or a download; HTTP status 200 is yes.
    :param api_key: for the policy server, as X-API-Key.
    :param key: the Provider's private key, which signs what RBAC is told.
    :param private_provider: PRIVATE_PROVIDER, told to RBAC.
    :param seconds: that each has for its answer.
    """

    def __init__(
        self,
        rbac_url: str | None = None,
        policy_url: str | None = None,
        api_key: str | None = None,
        key: str | None = None,
        private_provider: bool = False,
        seconds: float = 5,
    ):
        self.rbac_url, self.policy_url, self.api_key, self.key = rbac_url, policy_url, api_key, key
        self.private_provider, self.seconds = private_provider, seconds

    @property
    def replaces_credentials(self) -> bool:
        """A policy server decides in place of the assets' allow and deny lists."""
        return self.policy_url is not None

    def check_start(self, request: ComputeRequest, datasets: Sequence[ApprovedAsset], algorithm: ApprovedAsset | None) -> None:
        """Whether the compute may start.

        :raises c2d.errors.AccessDenied: somebody says no.
        :raises c2d.errors.UpstreamUnavailable: somebody does not answer.
        """
        assets = [named(a.asset.did, a.service.id) for a in datasets]
        algos = [named(algorithm.asset.did, algorithm.service.id)] if algorithm else []
        self.check_rbac("compute", request.consumerAddress, dids=assets[:1], algos=algos, additional_dids=assets[1:])
        for granted in [*datasets, *([algorithm] if algorithm else [])]:
            self._check_policy("startCompute", request, granted)

    def check_download(self, request: ComputeRequest, granted: ApprovedAsset) -> None:
        """Whether the policy server, which stands in for the asset's allow and deny lists here too, lets the consumer have its files.

        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`check_start`.
        """
        self._check_policy("download", request, granted)

    def _check_policy(self, action: str, request: ComputeRequest, granted: ApprovedAsset) -> None:
        if self.policy_url is None:
            return
        question = {
            "action": action,
            "documentId": granted.asset.did,
            "ddo": granted.asset.document,
            "serviceId": granted.service.id,
            "consumerAddress": request.consumerAddress,
            "policyServer": request.policyServer,
            "nodeAddress": signatures.address_of(self.key) if self.key else None,
        }
        headers = {"X-API-Key": self.api_key} if self.api_key else {}
        status, _ = self._ask("policy server", self.policy_url, question, headers)
        if status != 200:
            raise AccessDenied("policyServer", "denied", f"{granted.asset.did}: HTTP status {status}")

    def check_rbac(
        self,
        event: str,
        consumer: str,
        dids: Sequence[Mapping[str, str]] = (),
        algos: Sequence[Mapping[str, str]] = (),
        additional_dids: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Tells RBAC what somebody wants; nothing happens where there is none.

        :param event: ``encryptUrl``, ``initialize``, ``access`` or ``compute``.
        :param dids: assets, as ``did`` and ``serviceId`` (:func:`named`).
        :raises c2d.errors.AccessDenied: it does not say yes.
        :raises c2d.errors.UpstreamUnavailable: it does not answer.
        """
        if self.rbac_url is None:
            return
        credentials = {"type": "address", "value": consumer}
        payload: dict[str, Any] = {"eventType": event, "component": "provider", "credentials": credentials}
        text = event + json.dumps(credentials)
        if event == "compute":
            text += json.dumps(list(dids)) + "".join(json.dumps(list(part)) for part in (algos, additional_dids) if part)
        for name, value in (("dids", dids), ("algos", algos), ("additionalDids", additional_dids)):
            if value:
                payload[name] = list(value)
        if self.private_provider:
            payload["private"] = True
        if self.key:
            payload |= {"providerAddress": signatures.address_of(self.key), "signature": signatures.sign_hash(self.key, text)}
        status, answer = self._ask("RBAC", self.rbac_url, payload, {})
        if status != 200 or answer is not True:
            raise AccessDenied("RBAC", RBAC_FAILED, f"HTTP status {status}")

    def _ask(self, who: str, url: str, question: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        import httpx

        try:
            response = client().post(url, json=question, headers=dict(headers), timeout=self.seconds)
        except httpx.HTTPError as e:  # its text holds the URL
            raise UpstreamUnavailable(f"{who}: does not answer ({type(e).__name__}); try again later") from None
        if response.status_code >= 500:
            raise UpstreamUnavailable(f"{who}: HTTP status {response.status_code}; try again later")
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, None


def named(did: str, service_id: str) -> dict[str, str]:
    return {"did": did, "serviceId": service_id}
