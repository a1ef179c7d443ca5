"""What a request to each route must have, as Ocean's Provider v2.1.6 checks it."""

from __future__ import annotations

from c2d.api.provider.validation import (
    Rules,
    field,
    future_timestamp,
    integer,
    matching,
    minimum,
    numeric,
    one_of,
    required,
    required_if,
    required_with,
    required_with_all,
    required_without,
    signature,
)

FILE_TYPES = ("url", "ipfs", "arweave", "graphql", "smartcontract")

_REQUIRED = field(required)
_REQUIRED_FIRST = field(required, bail=True)
_NONCE = field(required, numeric, bail=True)
_SIGNATURE = field(signature)
_TOKEN_SIGNATURE = field(required, signature)
_ALGORITHM: Rules = {
    "algorithm.documentId": field(required_without("algorithm.meta"), required_with_all("algorithm.serviceId", "algorithm.transferTxId")),
    "algorithm.meta": field(required_without("algorithm.documentId")),
}
_SIGNED_BY_CONSUMER: Rules = {"consumerAddress": _REQUIRED_FIRST, "nonce": _NONCE, "signature": _SIGNATURE}

NONCE: Rules = {"userAddress": _REQUIRED}
DECRYPT: Rules = {
    "decrypterAddress": _REQUIRED,
    "chainId": _REQUIRED,
    "dataNftAddress": _REQUIRED,
    "transactionId": field(required_without("dataNftAddress", "encryptedDocument", "flags", "documentHash")),
    "encryptedDocument": field(required_without("transactionId"), required_with("flags", "documentHash")),
    "flags": field(required_without("transactionId"), required_with("encryptedDocument", "documentHash")),
    "documentHash": field(required_without("transactionId"), required_with("encryptedDocument", "flags")),
    "nonce": field(required, numeric),
    "signature": _SIGNATURE,
}
FILE_INFO: Rules = {
    "type": field(required_without("did"), one_of(*FILE_TYPES)),
    "did": field(required_without("type"), matching("^did:op")),
    "hash": field(required_if("type", "ipfs")),
    "url": field(required_if("type", "url")),
    "transactionId": field(required_if("type", "arweave")),
    "serviceId": field(required_without("type")),
}
INITIALIZE: Rules = {
    "documentId": _REQUIRED,
    "serviceId": _REQUIRED,
    "consumerAddress": _REQUIRED,
    "fileIndex": field(integer, minimum(0), sometimes=True),
}
INITIALIZE_COMPUTE: Rules = {
    "datasets": _REQUIRED,
    **_ALGORITHM,
    "compute.env": _REQUIRED,
    "compute.validUntil": field(required, integer),
    "consumerAddress": _REQUIRED,
}
COMPUTE_START: Rules = {
    "dataset.documentId": _REQUIRED_FIRST,
    "dataset.serviceId": _REQUIRED_FIRST,
    "dataset.transferTxId": _REQUIRED,
    **_ALGORITHM,
    "consumerAddress": _REQUIRED_FIRST,
    "nonce": _NONCE,
    "signature": _SIGNATURE,
}
COMPUTE_STOP = _SIGNED_BY_CONSUMER
COMPUTE_DELETE = _SIGNED_BY_CONSUMER
COMPUTE_STATUS: Rules = {"consumerAddress": _REQUIRED_FIRST}
COMPUTE_RESULT: Rules = {
    "jobId": _REQUIRED_FIRST,
    "index": _REQUIRED_FIRST,
    "consumerAddress": _REQUIRED_FIRST,
    "nonce": _NONCE,
    "signature": _SIGNATURE,
}
DOWNLOAD: Rules = {
    "documentId": _REQUIRED_FIRST,
    "serviceId": _REQUIRED,
    "consumerAddress": _REQUIRED_FIRST,
    "transferTxId": _REQUIRED_FIRST,
    "fileIndex": _REQUIRED,
    "nonce": _NONCE,
    "signature": _SIGNATURE,
}
CREATE_TOKEN: Rules = {
    "address": _REQUIRED_FIRST,
    "expiration": field(required, integer, future_timestamp, bail=True),
    "nonce": _NONCE,
    "signature": _TOKEN_SIGNATURE,
}
DELETE_TOKEN: Rules = {
    "address": _REQUIRED_FIRST,
    "token": _REQUIRED_FIRST,
    "nonce": _NONCE,
    "signature": _TOKEN_SIGNATURE,
}
