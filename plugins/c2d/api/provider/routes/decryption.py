"""DDOs that were published encrypted, decrypted for metadata caches."""

from __future__ import annotations

import re
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from c2d.api.common.request_data import data_of
from c2d.api.common.route_policy import requires
from c2d.api.provider import published_ddo, rules
from c2d.api.provider.auth import Signed
from c2d.api.provider.published_ddo import PublishedDdo
from c2d.api.provider.service import ProviderService, service_of
from c2d.api.provider.validation import whole_number
from c2d.errors import RequestDenied
from c2d.jobs.patterns import ADDRESS, TRANSACTION
from c2d.market.chain_facts import ChainQuestions
from c2d.market.fees import ZERO_ADDRESS

router = APIRouter(tags=["encrypt"])
ACTIVE = 0
STATES = {1: "Asset end of life", 2: "Asset deprecated", 3: "Asset revoked"}


def _signed_text(data: dict[str, Any]) -> str:
    return f"{data.get('transactionId') or data.get('dataNftAddress')}{data.get('decrypterAddress')}{data.get('chainId')}"


@router.post("/decrypt", summary="Decrypt the DDO of an NFT", status_code=201)
@requires(Signed(rules.DECRYPT, "decrypterAddress", _signed_text, shares_nonce=True))
def decrypt(request: Request) -> Response:
    """Arguments: `decrypterAddress`, `chainId`, `dataNftAddress`.

    `transactionId` names the transaction that published the DDO; or `encryptedDocument`, `flags` and `documentHash` hold it.
    Signed text: (`transactionId` or `dataNftAddress`) + `decrypterAddress` + `chainId` + `nonce`.
    """
    service, data = service_of(request), data_of(request)
    chain, nft = whole_number(data["chainId"]), str(data["dataNftAddress"])
    key = service.provider.key(chain) if chain is not None and chain in service.chains() else None
    if key is None or chain is None:
        raise RequestDenied("Unsupported chain ID")
    allowed = service.provider.AUTHORIZED_DECRYPTERS
    if allowed and str(data["decrypterAddress"]).lower() not in allowed:
        raise RequestDenied("Decrypter not authorized", 403)
    if not re.match(ADDRESS, nft):
        raise RequestDenied("dataNftAddress: must be 0x and 40 hex digits")
    with service.query_slot():
        published = _published(service, chain, nft, data)
        facts = service.chain_facts.facts(chain, ChainQuestions(nfts=frozenset({(nft, ZERO_ADDRESS, published.event)})))
    state = facts.nfts[nft.lower()].state
    if state != ACTIVE:
        raise RequestDenied(STATES[state], 403) if state in STATES else RequestDenied("Invalid MetadataState")
    return PlainTextResponse(published_ddo.opened(published, key, nft, chain), 201, media_type="text/plain")


def _published(service: ProviderService, chain: int, nft: str, data: dict[str, Any]) -> PublishedDdo:
    """The DDO in the transaction that the request names, or in the request itself.

    :raises RequestDenied: there is none.
    """
    tx = data.get("transactionId")
    if not tx:
        return published_ddo.from_request(data)
    published = None
    if re.match(TRANSACTION, str(tx)):
        (answer,) = service.chain_facts.rpc(chain).batch([("eth_getTransactionReceipt", [str(tx)])])
        published = published_ddo.from_receipt(answer.result, nft) if answer.result else None
    if published is None:
        raise RequestDenied("Failed to process transaction id.")
    return published
