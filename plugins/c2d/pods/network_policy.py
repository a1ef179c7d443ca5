"""The NetworkPolicy for publish's pods, made from the settings: they may reach the stores that the settings name, and nothing else.

A store is allowed by its address and port. Amazon's addresses change all the time, so for Amazon every public IPv4 address is allowed on
port 443. A policy cannot name a Kubernetes Service: for a store inside the cluster, write a policy with selectors.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from c2d.hooks.ipfs import IpfsHook
from c2d.jobs.status import Stage
from c2d.pods.manifests import STAGE_LABEL
from c2d.results.destinations import destinations
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings
from c2d.shared.addresses import NOT_PUBLIC_IPV4

NAME = "c2d-publish"
AMAZON = "amazon"
"""In place of a URL: S3 endpoints that only Amazon knows."""


def endpoints(env: Environment) -> set[str]:
    """The URLs that a publish pod of ``env`` talks to; :data:`AMAZON` for Amazon's."""
    urls = set()
    for destination in destinations(env).all:
        if destination.type == "ipfs":
            urls.add(IpfsHook.of(env, destination.location).adding_node().url)
        elif destination.type == "s3":
            urls.add(env.AWS_ENDPOINT_URL or AMAZON)
    return urls


def addresses(host: str) -> list[str]:
    """The present IPv4 addresses of ``host``. :raises OSError: it has none."""
    return sorted({str(info[4][0]) for info in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)})


def publish_policy(settings: Settings, resolve: Callable[[str], Iterable[str]] = addresses) -> dict[str, Any] | None:
    """The policy. None: all results go to the results volume, so publish needs no network.

    :param resolve: gives the addresses of a host.
    """
    urls = sorted({url for env in settings.environments for url in endpoints(env)})
    if not urls:
        return None
    dns = {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]}
    egress = [_rule(url, resolve) for url in urls]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "namespace": settings.C2D_NAMESPACE},
        "spec": {
            "podSelector": {"matchLabels": {STAGE_LABEL: str(Stage.PUBLISH)}},
            "policyTypes": ["Egress"],
            "egress": [dns, *egress] if any(_needs_dns(url) for url in urls) else egress,
        },
    }


def _rule(url: str, resolve: Callable[[str], Iterable[str]]) -> dict[str, Any]:
    if url == AMAZON:
        # No IPv6 block: an IPv4-only controller (kube-router) reads it as a broken IPv4 block and stops enforcing every policy.
        blocks: list[dict[str, Any]] = [{"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC_IPV4)}}]
        return {"to": blocks, "ports": [{"protocol": "TCP", "port": 443}]}
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    blocks = [{"ipBlock": {"cidr": f"{address}/32"}} for address in resolve(parts.hostname or "")]
    return {"to": blocks, "ports": [{"protocol": "TCP", "port": port}]}


def _needs_dns(url: str) -> bool:
    """Whether the URL names its host, and not an IPv4 address."""
    return not (urlsplit(url).hostname or "").replace(".", "").isdigit()
