"""DDOs that were published encrypted, for a metadata cache: as the chain has them, or as it is given them."""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from c2d.api.common.body import loads
from c2d.api.common.limits import BODY_BYTES
from c2d.api.provider import rules
from c2d.api.provider.auth import data_of, requires
from c2d.api.provider.service import ProviderService, service_of
from c2d.errors import RequestDenied
from c2d.hooks.datatoken import METADATA_EVENTS
from c2d.jobs.patterns import ADDRESS, TRANSACTION
from c2d.market.chain_facts import ChainQuestions
from c2d.market.ddo import did_of
from c2d.market.fees import ZERO_ADDRESS
from c2d.market.orders import topic

router = APIRouter(tags=["encrypt"])
ENCRYPTED, COMPRESSED = 2, 1  # bits of an NFT's metadata flags
STATES = {1: "Asset end of life", 2: "Asset deprecated", 3: "Asset revoked"}


@dataclass(frozen=True)
class Metadata:
    """A document as an NFT's metadata event has it. event: the transaction and its block; None: it was given in the request."""

    document: bytes
    flags: int
    sha256: bytes
    event: tuple[str, int] | None = None


def _decrypted_text(data: dict[str, Any]) -> str:
    return f"{data.get('transactionId') or data.get('dataNftAddress')}{data.get('decrypterAddress')}{data.get('chainId')}"


@router.post("/decrypt", summary="A DDO; signed: (transactionId or dataNftAddress) + decrypterAddress + chainId + nonce", status_code=201)
@requires(rules.DECRYPT, "decrypterAddress", _decrypted_text, several=True)
def decrypt(request: Request) -> Response:
    service, data = service_of(request), data_of(request)
    chain, nft = rules.whole(data["chainId"]), str(data["dataNftAddress"])
    key = service.own.key(chain) if chain is not None and chain in service.chains() else None
    if key is None or chain is None:
        raise RequestDenied("Unsupported chain ID")
    allowed = service.own.AUTHORIZED_DECRYPTERS
    if allowed and str(data["decrypterAddress"]).lower() not in allowed:
        raise RequestDenied("Decrypter not authorized", 403)
    if not re.match(ADDRESS, nft):
        raise RequestDenied("dataNftAddress: must be 0x and 40 hex digits")
    with service.asking():
        metadata = _metadata(service, chain, nft, data)
        facts = service.chain_facts.facts(chain, ChainQuestions(nfts=frozenset({(nft, ZERO_ADDRESS, metadata.event)})))
    state = facts.nfts[nft.lower()].state
    if state != 0:
        raise RequestDenied(STATES[state], 403) if state in STATES else RequestDenied("Invalid MetadataState")
    document = _opened(metadata, key)
    if hashlib.sha256(document).digest() != metadata.sha256:
        raise RequestDenied("Checksum doesn't match.")
    if not _is_ddo(document, nft, chain):
        # Else the encrypted files of an asset, which everybody can see, could be had in the name of an NFT of one's own.
        raise RequestDenied("the document is not the DDO of dataNftAddress")
    return PlainTextResponse(document, 201, media_type="text/plain")


def _metadata(service: ProviderService, chain: int, nft: str, data: dict[str, Any]) -> Metadata:
    tx = data.get("transactionId")
    if not tx:
        try:
            flags = data["flags"]
            number = flags if isinstance(flags, int) else int(str(flags), 16 if str(flags).startswith("0x") else 10)
            return Metadata(_bytes(data["encryptedDocument"]), number & 0xFF, _bytes(data["documentHash"]))
        except ValueError:
            raise RequestDenied("Failed to convert input args to bytes.") from None
    receipt = None
    if re.match(TRANSACTION, str(tx)):
        (answer,) = service.chain_facts.rpc(chain).batch([("eth_getTransactionReceipt", [str(tx)])])
        receipt = answer.result
    found = metadata_of(receipt, nft) if receipt else None
    if found is None:
        raise RequestDenied("Failed to process transaction id.")
    return found


def metadata_of(receipt: Mapping[str, Any], nft: str) -> Metadata | None:
    """What the NFT's last metadata event in a receipt says; None: there is none of it."""
    from eth_abi import decode
    from eth_abi.exceptions import DecodingError

    topics = {topic(event) for event in METADATA_EVENTS}
    own = [log for log in receipt["logs"] if log["address"].lower() == nft.lower() and log["topics"] and log["topics"][0] in topics]
    if not own:
        return None
    types = ("uint8", "string", "bytes", "bytes", "bytes32", "uint256", "uint256")
    try:
        _, _, flags, document, digest, _, _ = decode(types, _bytes(own[-1]["data"]))
    except (DecodingError, ValueError, OverflowError):
        return None
    return Metadata(document, flags[0] if flags else 0, digest, (receipt["transactionHash"], int(receipt["blockNumber"], 16)))


def _opened(metadata: Metadata, key: str) -> bytes:
    content = metadata.document
    if metadata.flags & ENCRYPTED:
        from ecies import decrypt as ecies_decrypt

        try:
            content = ecies_decrypt(key.removeprefix("0x"), content)
        except Exception:  # the library raises its own kinds for each way to be wrong
            raise RequestDenied("Failed to decrypt.") from None
    if metadata.flags & COMPRESSED:
        unpacker = lzma.LZMADecompressor()
        try:
            content = unpacker.decompress(content, BODY_BYTES)
        except lzma.LZMAError:
            raise RequestDenied("Failed to decompress") from None
        if not unpacker.eof:  # cut off, or larger than any DDO
            raise RequestDenied("Failed to decompress")
    return content


def _is_ddo(document: bytes, nft: str, chain: int) -> bool:
    """Whether a document is the DDO of an NFT, and not something else that was encrypted to the Provider."""
    try:
        ddo = loads(document)
    except ValueError:
        return False
    return isinstance(ddo, dict) and ddo.get("id") == did_of(nft, chain) and "services" in ddo


def _bytes(given: Any) -> bytes:
    return bytes.fromhex(str(given).removeprefix("0x"))
