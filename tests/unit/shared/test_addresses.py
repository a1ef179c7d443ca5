"""Which addresses are public: one rule for the API server, the stages and the network policies."""

from __future__ import annotations

import ipaddress
import random
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from c2d.errors import UnsafeAddress
from c2d.shared import addresses
from c2d.shared.addresses import NOT_PUBLIC_IPV4, addresses_of, is_public

NETWORKS = [ipaddress.IPv4Network(network) for network in NOT_PUBLIC_IPV4]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
        "::", "::1", "fe80::1", "fe80::1%eth0", "fec0::1", "fc00::1", "fd12::1", "ff02::1", "2001:db8::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::", "2001:0:0:0:0:0:80ff:fffe",
    ],
)  # fmt: skip
def test_private_addresses_are_not_public_in_any_notation(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


def test_the_networks_of_the_policies_are_exactly_the_addresses_that_are_not_public() -> None:
    """A policy that lets through more than this rule is a hole, and the reverse. Python's own list must agree too."""
    edges = {int(network[0]) - 1 for network in NETWORKS} | {int(network[-1]) + 1 for network in NETWORKS}
    edges |= {int(network[0]) for network in NETWORKS} | {int(network[-1]) for network in NETWORKS}
    generator = random.Random(9)
    numbers = {n for n in edges if 0 <= n < 2**32} | {generator.randrange(2**32) for _ in range(20_000)}
    for address in map(ipaddress.IPv4Address, numbers):
        assert is_public(str(address)) == (not any(address in network for network in NETWORKS)), address


def test_the_policies_of_the_jobs_namespace_name_the_same_networks() -> None:
    file = Path(__file__).parents[3] / "helm_values/jobs-namespace/20-networkpolicy.yaml"
    policies = {p["metadata"]["name"]: p["spec"] for p in yaml.safe_load_all(file.read_text())}
    for name in ("c2d-configure", "c2d-algorithm-network"):
        (block,) = [rule["to"][0]["ipBlock"] for rule in policies[name]["egress"] if "to" in rule]
        assert block == {"cidr": "0.0.0.0/0", "except": list(NOT_PUBLIC_IPV4)}, name


def resolving(monkeypatch: pytest.MonkeyPatch, *answer: str) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in answer])


def test_a_host_with_one_private_address_among_public_ones_is_unsafe(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "1.1.1.1", "10.0.0.1")
    with pytest.raises(UnsafeAddress):
        addresses_of("two.example", 80, public_only=True)
    assert addresses_of("two.example", 80, public_only=False) == ["1.1.1.1", "10.0.0.1"]


def test_a_host_without_an_address_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch)
    with pytest.raises(OSError, match="no address"):
        addresses_of("none.example", 80, public_only=True)


@pytest.mark.parametrize("module", ["c2d.hooks.guarded_http", "c2d_stages.configure.requests"])
def test_the_api_server_and_the_stages_use_this_rule(module: str) -> None:
    import importlib

    used: Any = importlib.import_module(module)
    assert used.addresses_of is addresses.addresses_of
