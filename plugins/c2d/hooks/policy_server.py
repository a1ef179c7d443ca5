"""The operator's own access decisions: an RBAC server (as Ocean's Provider has it) and a policy server (as ocean-node has it)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.hook import BaseHook

from c2d.crypto import signatures
from c2d.errors import AccessDenied, UpstreamUnavailable
from c2d.hooks.http_client import client

if TYPE_CHECKING:
    from c2d.market.approval import ApprovedAsset
    from c2d.market.compute_request import ComputeRequest

RBAC_FAILED = "RBAC Validation failed!"


class PolicyServerHook(BaseHook):
    """Asks both servers. It fails closed: no response counts as a denial.

    :param rbac_url: RBAC_SERVER_URL; only the JSON answer ``true`` grants access.
    :param policy_url: POLICY_SERVER_URL, asked about each asset of a start or a download; only HTTP status 200 grants access.
    :param api_key: for the policy server, sent as X-API-Key.
    :param key: the Provider's private key, which signs requests to the RBAC server.
    :param private_provider: PRIVATE_PROVIDER, passed on to the RBAC server.
    :param seconds: timeout for connecting and for each read.
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
        super().__init__()
        self.rbac_url, self.policy_url, self.api_key, self.key = rbac_url, policy_url, api_key, key
        self.private_provider, self.seconds = private_provider, seconds

    @property
    def replaces_credentials(self) -> bool:
        """Whether a policy server decides instead of the assets' allow and deny lists."""
        return self.policy_url is not None

    def check_start(self, request: ComputeRequest, datasets: Sequence[ApprovedAsset], algorithm: ApprovedAsset | None) -> None:
        """Returns if both servers allow the compute job to start.

        :raises c2d.errors.AccessDenied: one of them denies it.
        :raises c2d.errors.UpstreamUnavailable: one of them does not answer.
        """
        assets = [asset_reference(each.asset.did, each.service.id) for each in datasets]
        algorithms = [asset_reference(algorithm.asset.did, algorithm.service.id)] if algorithm else []
        self.check_rbac("compute", request.consumerAddress, dids=assets[:1], algos=algorithms, additional_dids=assets[1:])
        for approved in [*datasets, *([algorithm] if algorithm else [])]:
            self._check_policy("startCompute", request, approved)

    def check_download(self, request: ComputeRequest, approved: ApprovedAsset) -> None:
        """Returns if the policy server allows the download.

        :raises c2d.errors.AccessDenied, c2d.errors.UpstreamUnavailable: as :meth:`check_start`.
        """
        self._check_policy("download", request, approved)

    def _check_policy(self, action: str, request: ComputeRequest, approved: ApprovedAsset) -> None:
        if self.policy_url is None:
            return
        payload = {
            "action": action,
            "documentId": approved.asset.did,
            "ddo": approved.asset.document,
            "serviceId": approved.service.id,
            "consumerAddress": request.consumerAddress,
            "policyServer": request.policyServer,
            "nodeAddress": signatures.address_of(self.key) if self.key else None,
        }
        headers = {"X-API-Key": self.api_key} if self.api_key else {}
        status, _ = self._post("policy server", self.policy_url, payload, headers)
        if status != 200:
            raise AccessDenied("policyServer", "denied", f"{approved.asset.did}: HTTP status {status}")

    def check_rbac(
        self,
        event: str,
        consumer: str,
        dids: Sequence[Mapping[str, str]] = (),
        algos: Sequence[Mapping[str, str]] = (),
        additional_dids: Sequence[Mapping[str, str]] = (),
    ) -> None:
        """Returns if the RBAC server allows what the consumer asks for, or if there is no RBAC server.

        :param event: ``encryptUrl``, ``initialize``, ``access`` or ``compute``.
        :param dids: assets as :func:`asset_reference` gives them.
        :raises c2d.errors.AccessDenied: the server denies it.
        :raises c2d.errors.UpstreamUnavailable: the server does not answer.
        """
        if self.rbac_url is None:
            return
        credentials = {"type": "address", "value": consumer}
        payload: dict[str, Any] = {"eventType": event, "component": "provider", "credentials": credentials}
        signed_text = event + json.dumps(credentials)
        if event == "compute":
            signed_text += json.dumps(list(dids)) + "".join(json.dumps(list(part)) for part in (algos, additional_dids) if part)
        for name, value in (("dids", dids), ("algos", algos), ("additionalDids", additional_dids)):
            if value:
                payload[name] = list(value)
        if self.private_provider:
            payload["private"] = True
        if self.key:
            payload |= {"providerAddress": signatures.address_of(self.key), "signature": signatures.sign_hash(self.key, signed_text)}
        status, answer = self._post("RBAC", self.rbac_url, payload, {})
        if status != 200 or answer is not True:
            raise AccessDenied("RBAC", RBAC_FAILED, f"HTTP status {status}")

    def _post(self, server: str, url: str, payload: Mapping[str, Any], headers: Mapping[str, str]) -> tuple[int, Any]:
        """HTTP status and decoded body; the body is None if it is not JSON."""
        import httpx

        try:
            response = client().post(url, json=payload, headers=dict(headers), timeout=self.seconds)
        except httpx.HTTPError as e:  # its text contains the URL
            raise UpstreamUnavailable(f"{server}: does not answer ({type(e).__name__}); try again later") from None
        if response.status_code >= 500:
            raise UpstreamUnavailable(f"{server}: HTTP status {response.status_code}; try again later")
        try:
            return response.status_code, response.json()
        except ValueError:
            return response.status_code, None


def asset_reference(did: str, service_id: str) -> dict[str, str]:
    """How the RBAC server is told of an asset."""
    return {"did": did, "serviceId": service_id}
