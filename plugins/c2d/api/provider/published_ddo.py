"""A DDO that was published encrypted or compressed: how its NFT's metadata event holds it, and how it is opened."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from c2d.api.common.request_data import BODY_BYTES
from c2d.api.common.untrusted_json import parse_json
from c2d.errors import RequestDenied
from c2d.hooks.datatoken import METADATA_EVENTS
from c2d.market.ddo import did_of
from c2d.market.orders import topic

COMPRESSED, ENCRYPTED = 1, 2
"""Bits of the metadata's flags."""

MAX_DDO_BYTES = BODY_BYTES
EVENT_TYPES = ("uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256")


@dataclass(frozen=True)
class PublishedDdo:
    """A DDO as it was published.

    :param sha256: of the opened document.
    :param event: the transaction of the metadata event, and its block. None: the request holds the document.
    """

    document: bytes
    flags: int
    sha256: bytes
    event: tuple[str, int] | None = None


def from_request(data: Mapping[str, Any]) -> PublishedDdo:
    """The DDO in a request's ``encryptedDocument``, ``flags`` and ``documentHash``.

    :raises RequestDenied: they cannot be read.
    """
    flags = data["flags"]
    try:
        number = flags if isinstance(flags, int) else int(str(flags), 16 if str(flags).startswith("0x") else 10)
        return PublishedDdo(_bytes(data["encryptedDocument"]), number & 0xFF, _bytes(data["documentHash"]))
    except ValueError:
        raise RequestDenied("Failed to convert input args to bytes.") from None


def from_receipt(receipt: Mapping[str, Any], nft: str) -> PublishedDdo | None:
    """The DDO in the NFT's last metadata event of a transaction. None: the transaction has no such event."""
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    topics = {topic(event) for event in METADATA_EVENTS}
    logs = [log for log in receipt["logs"] if log["address"].lower() == nft.lower() and log["topics"] and log["topics"][0] in topics]
    if not logs:
        return None
    try:
        _, _, flags, document, digest, _, _ = decode(EVENT_TYPES, _bytes(logs[-1]["data"]))
    except (DecodingError, ValueError, OverflowError):
        return None
    event = (receipt["transactionHash"], int(receipt["blockNumber"], 16))
    return PublishedDdo(document, flags[0] if flags else 0, digest, event)


def opened(published: PublishedDdo, private_key: str, nft: str, chain: int) -> bytes:
    """The document, decrypted and decompressed.

    :raises RequestDenied: it cannot be opened, does not have the published digest, or is not the DDO of this NFT.
    """
    document = published.document
    if published.flags & ENCRYPTED:
        document = _decrypted(document, private_key)
    if published.flags & COMPRESSED:
        document = _decompressed(document)
    if hashlib.sha256(document).digest() != published.sha256:
        raise RequestDenied("Checksum doesn't match.")
    if not _is_ddo(document, nft, chain):
        # Otherwise anybody could have an asset's encrypted files, which its DDO shows to everybody, decrypted for an NFT of their own.
        raise RequestDenied("the document is not the DDO of dataNftAddress")
    return document


def _decrypted(document: bytes, private_key: str) -> bytes:
    from ecies import decrypt

    try:
        return decrypt(private_key.removeprefix("0x"), document)
    except Exception:  # the library raises a different class for each fault
        raise RequestDenied("Failed to decrypt.") from None


def _decompressed(document: bytes) -> bytes:
    decompressor = lzma.LZMADecompressor()
    try:
        content = decompressor.decompress(document, MAX_DDO_BYTES)
    except lzma.LZMAError:
        raise RequestDenied("Failed to decompress") from None
    if not decompressor.eof:  # cut off, or larger than MAX_DDO_BYTES
        raise RequestDenied("Failed to decompress")
    return content


def _is_ddo(document: bytes, nft: str, chain: int) -> bool:
    try:
        ddo = parse_json(document)
    except ValueError:
        return False
    return isinstance(ddo, dict) and ddo.get("id") == did_of(nft, chain) and "services" in ddo


def _bytes(text: Any) -> bytes:
    return bytes.fromhex(str(text).removeprefix("0x"))
