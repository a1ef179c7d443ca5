"""The files of an asset's service: decrypted with the Provider's key, and what has to be fetched for each. Pure but for the key.

Types: url, ipfs, arweave, graphql, smartcontract, as Ocean's Provider has them. Nothing here may reach a log: ``repr`` hides it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from c2d.errors import InvalidServiceFiles
from c2d.jobs.model import ADDRESS, HEADER_NAME, HTTP_URL, MOST_FILES
from c2d.market.ddo import Asset, Service


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

    :raises InvalidServiceFiles: they are not encrypted to this Provider, or belong to another asset or service.
    """
    from ecies import decrypt as ecies_decrypt

    try:
        content = json.loads(ecies_decrypt(private_key.removeprefix("0x"), bytes.fromhex(service.files.removeprefix("0x"))))
    except Exception:  # the library raises its own kinds for each way to be wrong; none may tell more
        raise InvalidServiceFiles("Error decrypting service files: they are not encrypted to this Provider's key") from None
    if asset.version != "4.0.0":
        if not isinstance(content, dict):
            raise InvalidServiceFiles("Expected an object with datatokenAddress, nftAddress and files")
        # Else whoever copies somebody's `files` into an asset of their own could sell or read them.
        for name, wanted in (("datatokenAddress", service.datatokenAddress), ("nftAddress", asset.nftAddress)):
            if str(content.get(name)).lower() != wanted.lower():
                raise InvalidServiceFiles(f"Mismatch of {name}: the encrypted files are another asset's")
        content = content.get("files")
    if not isinstance(content, list):
        raise InvalidServiceFiles("Expected a files list")
    if len(content) > MOST_FILES:
        raise InvalidServiceFiles(f"Expected a files list of at most {MOST_FILES}")
    if not all(isinstance(file, dict) for file in content):
        raise InvalidServiceFiles("Expected a files list of objects")
    return tuple(content)


def encrypt(public_key: str, content: bytes) -> str:
    """ECIES to the Provider's public key: 0x and hex, as publishers put it into ``files``."""
    from ecies import encrypt as ecies_encrypt

    return "0x" + ecies_encrypt(public_key.removeprefix("0x"), content).hex()


def to_fetch(file: object, userdata: Mapping[str, Any] | None, gateways: Gateways, chain_id: int) -> Request | ContractCall:
    """What has to be fetched for one file object, with the consumer's parameters in it: in the query of a GET, as the JSON body of a
    POST, as the variables of a GraphQL query, as the arguments of a contract's function.

    :param chain_id: the asset's chain, for a contract call.
    :raises InvalidServiceFiles: the object is malformed, of an unknown type, or needs a gateway that is not set.
    """
    if not isinstance(file, Mapping):
        raise InvalidServiceFiles("malformed service files, must be an object")
    kind = file.get("type")
    make = _KINDS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise InvalidServiceFiles(f"Unsupported type for service files: must be one of {', '.join(_KINDS)}")
    return make(file, userdata or {}, gateways, chain_id)


def _url(file: Mapping[str, Any], userdata: Mapping[str, Any], gateways: Gateways, chain_id: int) -> Request:
    method = str(file.get("method") or "GET").upper()
    if method not in ("GET", "POST"):
        raise InvalidServiceFiles("Unsafe method: must be GET or POST")
    url = _http_url(file.get("url"), "malformed service files, missing required keys.")
    if method == "GET":
        return _get(url, file, userdata)
    return _post(url, file, userdata) if userdata else Request(url, "POST", _headers(file))


def _ipfs(file: Mapping[str, Any], userdata: Mapping[str, Any], gateways: Gateways, chain_id: int) -> Request:
    if not gateways.ipfs:
        raise InvalidServiceFiles("No IPFS_GATEWAY defined, can not resolve ipfs hash.")
    gateway = gateways.ipfs.rstrip("/").removesuffix("/ipfs")
    return _get(f"{gateway}/ipfs/{_content_id(file.get('hash'), 'malformed service files, missing required keys.')}", file, userdata)


def _arweave(file: Mapping[str, Any], userdata: Mapping[str, Any], gateways: Gateways, chain_id: int) -> Request:
    if not gateways.arweave:
        raise InvalidServiceFiles("No ARWEAVE_GATEWAY defined, can not resolve arweave transaction id.")
    identifier = _content_id(file.get("transactionId"), "malformed service files, missing transactionId.")
    return _get(f"{gateways.arweave.rstrip('/')}/{identifier}", file, userdata)


def _graphql(file: Mapping[str, Any], userdata: Mapping[str, Any], gateways: Gateways, chain_id: int) -> Request:
    url = _http_url(file.get("url"), "missing graphql endpoint")
    query = file.get("query")
    if not isinstance(query, str) or not query:
        raise InvalidServiceFiles("missing graphql query")
    return _post(url, file, {"query": query, **({"variables": dict(userdata)} if userdata else {})})


def _smartcontract(file: Mapping[str, Any], userdata: Mapping[str, Any], gateways: Gateways, chain_id: int) -> ContractCall:
    address, abi = file.get("address"), file.get("abi")
    if not isinstance(address, str) or not re.match(ADDRESS, address):
        raise InvalidServiceFiles("malformed smartcontract type, missing contract address")
    inputs = abi.get("inputs") if isinstance(abi, Mapping) else None
    if not isinstance(abi, Mapping) or not isinstance(inputs, list) or abi.get("type") != "function":
        raise InvalidServiceFiles("invalid abi")
    if abi.get("stateMutability") not in ("view", "pure"):
        raise InvalidServiceFiles("only view functions are allowed")
    if not isinstance(abi.get("name"), str) or not abi["name"]:
        raise InvalidServiceFiles("missing name")
    arguments = {}
    for parameter in inputs:
        name = parameter.get("name") if isinstance(parameter, Mapping) else None
        if not isinstance(name, str) or name not in userdata:
            raise InvalidServiceFiles(f"Missing userparam: {name}")
        arguments[name] = userdata[name]
    chain = file.get("chainId", chain_id)
    if not isinstance(chain, int) or isinstance(chain, bool):
        raise InvalidServiceFiles("chainId: must be a whole number")
    return ContractCall(chain, address, abi, arguments)


_KINDS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Gateways, int], Request | ContractCall]] = {
    "url": _url,
    "ipfs": _ipfs,
    "arweave": _arweave,
    "graphql": _graphql,
    "smartcontract": _smartcontract,
}


def _get(url: str, file: Mapping[str, Any], userdata: Mapping[str, Any]) -> Request:
    """The consumer's parameters stand behind the publisher's own and cannot replace one of them."""
    parts = urlsplit(url)
    own = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if taken := sorted(own & set(userdata)):
        raise InvalidServiceFiles(f"userdata.{taken[0]}: is set by the asset itself")
    given = {name: value if isinstance(value, str) else json.dumps(value) for name, value in userdata.items()}
    query = "&".join(q for q in (parts.query, urlencode(given)) if q)
    return Request(urlunsplit(parts._replace(query=query)), "GET", _headers(file))


def _post(url: str, file: Mapping[str, Any], content: Mapping[str, Any]) -> Request:
    headers = {name: value for name, value in _headers(file).items() if name.lower() != "content-type"}
    return Request(url, "POST", {**headers, "Content-Type": "application/json"}, json.dumps(content).encode())


def _headers(file: Mapping[str, Any]) -> dict[str, str]:
    """An object, or a list of objects, as publishers write them."""
    given = file.get("headers") or {}
    objects = given if isinstance(given, list) else [given]
    if not all(isinstance(o, Mapping) for o in objects):
        raise InvalidServiceFiles("malformed service files, headers must be an object")
    headers = {str(name): str(value) for o in objects for name, value in o.items()}
    if not all(re.match(HEADER_NAME, name) and value.isprintable() for name, value in headers.items()):
        raise InvalidServiceFiles("malformed service files, headers must be names and one line of text each")
    return headers


def _http_url(url: object, missing: str) -> str:
    if not isinstance(url, str) or not url:
        raise InvalidServiceFiles(missing)
    if not re.match(HTTP_URL, url):
        raise InvalidServiceFiles("malformed service files, url must begin with http:// or https://")
    return url


def _content_id(identifier: object, missing: str) -> str:
    """A hash, with a path below it or without, that cannot lead elsewhere on the gateway."""
    if not isinstance(identifier, str) or not identifier:
        raise InvalidServiceFiles(missing)
    segments = identifier.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or not re.match(r"^[A-Za-z0-9_-]+$", segments[0]):
        raise InvalidServiceFiles("malformed service files, the hash or transaction id is not valid")
    return "/".join(quote(segment, safe="") for segment in segments)
