"""What publish's pods may reach, as a NetworkPolicy made from the settings: the stores that these name, and nothing else.

A store that has an address of its own is allowed by that address and port. Amazon's addresses change all the time, so there it is every
public IPv4 address on port 443. A policy cannot name a Kubernetes Service: for a store in the cluster write one with selectors.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from c2d.hooks.ipfs import IpfsHook
from c2d.results.destinations import destinations
from c2d.settings.environment import Environment
from c2d.settings.installation import Settings
from c2d.shared.addresses import NOT_PUBLIC_IPV4

NAME = "c2d-publish"
AMAZON = None
"""Stands for an endpoint that only Amazon knows."""


def endpoints(env: Environment) -> set[str | None]:
    """The URLs that a publish pod of ``env`` talks to."""
    found: set[str | None] = set()
    for destination in destinations(env).all:
        if destination.type == "ipfs":
            found.add(IpfsHook.of(env, destination.location).adding_node().url)
        elif destination.type == "s3":
            found.add(env.AWS_ENDPOINT_URL or AMAZON)
    return found


def addresses(host: str) -> list[str]:
    """The IPv4 addresses of ``host`` at the moment. :raises OSError: it has none."""
    return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)})


def publish_policy(settings: Settings, resolve: Callable[[str], Iterable[str]] = addresses) -> dict[str, Any] | None:
    """The policy; None where results go to the results volume alone, so that publish needs no network."""
    urls = {url for env in settings.environments for url in endpoints(env)}
    if not urls:
        return None
    egress: list[dict[str, Any]] = []
    names = False
    for url in sorted(urls, key=str):
        if url is None:
            names = True
            # No IPv6 block: an IPv4-only controller (kube-router) reads it as a broken IPv4 block and stops enforcing every policy.
            public = {"ipBlock": {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC_IPV4)}}
            egress.append({"to": [public], "ports": [{"protocol": "TCP", "port": 443}]})
            continue
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        names = names or not host.replace(".", "").isdigit()
        to = [{"ipBlock": {"cidr": f"{address}/32"}} for address in resolve(host)]
        egress.append({"to": to, "ports": [{"protocol": "TCP", "port": port}]})
    if names:
        egress.insert(0, {"ports": [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": NAME, "namespace": settings.C2D_NAMESPACE},
        "spec": {"podSelector": {"matchLabels": {"c2d/stage": "publish"}}, "policyTypes": ["Egress"], "egress": egress},
    }
