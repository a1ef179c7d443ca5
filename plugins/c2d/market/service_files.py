"""The file objects of an asset's service: how to decrypt them, and what to fetch for each. Pure.

Types: url, ipfs, arweave, graphql and smartcontract, as in Ocean's Provider. File objects are secret and must never be logged: ``repr``
hides them.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from c2d.contract import RESERVED_HEADERS
from c2d.errors import InvalidServiceFiles
from c2d.jobs.files import MOST_FILES
from c2d.jobs.patterns import ADDRESS, HEADER_NAME, HTTP_URL
from c2d.market.ddo import Asset, Service

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Gateways:
    """The base URLs that content-addressed files are read from (IPFS_GATEWAY, ARWEAVE_GATEWAY); None: not configured."""

    ipfs: str | None = None
    arweave: str | None = None


@dataclass(frozen=True)
class Request:
    """The HTTP request that returns a file.

    :param body: of a POST: JSON.
    """

    url: str = field(repr=False)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class ContractCall:
    """The call of a contract's view function whose result, as JSON, is the file."""

    chainId: int
    address: str
    abi: Mapping[str, Any] = field(repr=False)
    arguments: Mapping[str, Any] = field(repr=False)


def own_files(asset: Asset, service: Service, private_key: str | None) -> tuple[dict[str, Any], ...] | None:
    """The service's file objects; None: they belong to another Provider, which alone can decrypt them.

    :param private_key: the Provider's on the asset's chain; None: it has none there.
    """
    if private_key is None:
        return None
    try:
        return decrypt(asset, service, private_key)
    except InvalidServiceFiles as e:
        log.info("%s, service %s: %s", asset.did, service.id, e)
        return None


def decrypt(asset: Asset, service: Service, private_key: str) -> tuple[dict[str, Any], ...]:
    """The service's file objects.

    :raises InvalidServiceFiles: they are not encrypted to this Provider, or were encrypted for another asset or service.
    """
    from ecies import decrypt as ecies_decrypt

    try:
        content = json.loads(ecies_decrypt(private_key.removeprefix("0x"), bytes.fromhex(service.files.removeprefix("0x"))))
    except Exception:  # the library raises various exceptions; the client must not learn which
        raise InvalidServiceFiles("Error decrypting service files: they are not encrypted to this Provider's key") from None
    if asset.version != "4.0.0":
        if not isinstance(content, dict):
            raise InvalidServiceFiles("Expected an object with datatokenAddress, nftAddress and files")
        # Otherwise anybody could copy the encrypted files of an asset into one of their own, and sell or read them.
        for name, expected in (("datatokenAddress", service.datatokenAddress), ("nftAddress", asset.nftAddress)):
            if str(content.get(name)).lower() != expected.lower():
                raise InvalidServiceFiles(f"Mismatch of {name}: the files were encrypted for another asset")
        content = content.get("files")
    if not isinstance(content, list):
        raise InvalidServiceFiles("Expected a files list")
    if len(content) > MOST_FILES:
        raise InvalidServiceFiles(f"Expected a files list of at most {MOST_FILES}")
    if not all(isinstance(file, dict) for file in content):
        raise InvalidServiceFiles("Expected a files list of objects")
    return tuple(content)


def encrypt(public_key: str, content: bytes) -> str:
    """``content`` encrypted to the Provider's public key (ECIES), as 0x and hex: what publishers put into a service's ``files``."""
    from ecies import encrypt as ecies_encrypt

    return "0x" + ecies_encrypt(public_key.removeprefix("0x"), content).hex()


def to_fetch(file: object, userdata: Mapping[str, Any] | None, gateways: Gateways, chain_id: int) -> Request | ContractCall:
    """What to fetch for a file object.

    The consumer's parameters become the query of a GET, the JSON body of a POST, the variables of a GraphQL query or the arguments of the
    contract's function.

    :param chain_id: the asset's chain; a contract is called there unless the file object names another one.
    :raises InvalidServiceFiles: the object is malformed, has an unknown type, or needs a gateway that is not configured.
    """
    if not isinstance(file, Mapping):
        raise InvalidServiceFiles("malformed service files, must be an object")
    kind = file.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidServiceFiles(f"Unsupported type for service files: must be one of {', '.join(_TYPES)}")
    return _TYPES[kind](file, userdata or {}, gateways, chain_id)


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


_TYPES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any], Gateways, int], Request | ContractCall]] = {
    "url": _url,
    "ipfs": _ipfs,
    "arweave": _arweave,
    "graphql": _graphql,
    "smartcontract": _smartcontract,
}


def _get(url: str, file: Mapping[str, Any], userdata: Mapping[str, Any]) -> Request:
    """The consumer's parameters are appended to the publisher's and cannot replace any of them."""
    parts = urlsplit(url)
    publishers = {name for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if reserved := sorted(publishers & set(userdata)):
        raise InvalidServiceFiles(f"userdata.{reserved[0]}: is set by the asset itself")
    parameters = {name: value if isinstance(value, str) else json.dumps(value) for name, value in userdata.items()}
    query = "&".join(q for q in (parts.query, urlencode(parameters)) if q)
    return Request(urlunsplit(parts._replace(query=query)), "GET", _headers(file))


def _post(url: str, file: Mapping[str, Any], content: Mapping[str, Any]) -> Request:
    headers = {name: value for name, value in _headers(file).items() if name.lower() != "content-type"}
    return Request(url, "POST", {**headers, "Content-Type": "application/json"}, json.dumps(content).encode())


def _headers(file: Mapping[str, Any]) -> dict[str, str]:
    """The request's headers without reserved ones. Publishers write them as an object or as a list of objects."""
    value = file.get("headers") or {}
    objects = value if isinstance(value, list) else [value]
    if not all(isinstance(o, Mapping) for o in objects):
        raise InvalidServiceFiles("malformed service files, headers must be an object")
    headers = {str(name): str(value) for o in objects for name, value in o.items()}
    if not all(re.match(HEADER_NAME, name) and value.isprintable() for name, value in headers.items()):
        raise InvalidServiceFiles("malformed service files, each header must be a name and one line of text")
    return {name: value for name, value in headers.items() if name.lower() not in RESERVED_HEADERS}


def _http_url(url: object, missing: str) -> str:
    if not isinstance(url, str) or not url:
        raise InvalidServiceFiles(missing)
    if not re.match(HTTP_URL, url):
        raise InvalidServiceFiles("malformed service files, url must begin with http:// or https://")
    return url


def _content_id(identifier: object, missing: str) -> str:
    """A hash or transaction id, with or without a path below it, that cannot point outside of itself on the gateway."""
    if not isinstance(identifier, str) or not identifier:
        raise InvalidServiceFiles(missing)
    segments = identifier.split("/")
    if any(segment in ("", ".", "..") for segment in segments) or not re.match(r"^[A-Za-z0-9_-]+$", segments[0]):
        raise InvalidServiceFiles("malformed service files, the hash or transaction id is not valid")
    return "/".join(quote(segment, safe="") for segment in segments)
