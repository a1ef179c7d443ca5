"""The files of an asset's service: decrypted with the Provider's key, and what has to be fetched for each. Pure but for the key.

Types: url, ipfs, arweave, graphql, smartcontract, as Ocean's Provider has them. Nothing here may reach a log: ``repr`` hides it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from c2d.ddo import Asset, Service


class BadFiles(ValueError):
    """The files cannot be opened or are malformed; the text (Provider's wording) shows nothing of them."""


@dataclass(frozen=True)
class Gateways:
    """Where content-addressed files are read (IPFS_GATEWAY, ARWEAVE_GATEWAY)."""

    ipfs: str | None = None
    arweave: str | None = None


@dataclass(frozen=True)
class Request:
    """One HTTP request that brings a file. ``body``: of a POST; JSON."""

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ContractCall:
    """One call of a contract's view function, whose result (JSON) is the file."""

    chainId: int
    address: str
    abi: Mapping[str, Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)


def decrypt(asset: Asset, service: Service, private_key: str) -> tuple[dict[str, Any], ...]:
    """The service's file objects.

    :raises BadFiles: they are not encrypted to this Provider, or belong to another asset or service.
    """
    raise NotImplementedError


def encrypt(public_key: str, content: bytes) -> str:
    """ECIES to the Provider's public key: 0x and hex, as publishers put it into ``files``."""
    from ecies import encrypt as ecies_encrypt

    return "0x" + ecies_encrypt(public_key.removeprefix("0x"), content).hex()


def to_fetch(file: object, userdata: Mapping[str, Any] | None, gateways: Gateways, chain_id: int) -> Request | ContractCall:
    """What has to be fetched for one file object, with the consumer's parameters in it.

    :param chain_id: the asset's chain, for a contract call.
    :raises BadFiles: the object is malformed, of an unknown type, or needs a gateway that is not set.
    """
    raise NotImplementedError


def _json(userdata: Mapping[str, Any]) -> bytes:
    return json.dumps(userdata).encode()
