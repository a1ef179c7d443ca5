"""Sends requests to an Operator-Service as Ocean's Provider v2.1.6 does."""

from __future__ import annotations

import time
from typing import Any

from c2d.crypto.signatures import address_of, sign_hash

OWNER = "0xC41808BBef371AD5CFc76466dDF9dEe228d2BdAA"
# The public test key of Ocean's operator-service repository.
KEY = "0x1f990f8b013fc5c7955e0f8746f11ded231721b9cf3f99ff06cdc03492b28090"
OTHER_KEY = "0x" + "22" * 32
API = "/api/v1/operator"
DATA = "https://data.example/table.csv?token=TOPSECRET"


def workflow(**changes: Any) -> dict[str, Any]:
    stage: dict[str, Any] = {
        "index": 0,
        "input": [{"index": 0, "id": "did:op:aa", "url": [DATA]}],
        "compute": {"Instances": 1, "namespace": "ocean-compute", "maxtime": 3600},
        "algorithm": {
            "id": "did:op:cc",
            "rawcode": "print('hello')",
            "container": {"image": "c2d.test/python-data", "tag": "1", "checksum": "", "entrypoint": "python3 $ALGO"},
            "algouserdata": None,
            "algocustomdata": {"k": 1},
        },
        "output": {"metadataUri": "https://aquarius.example"},
    }
    return {"stages": [{**stage, **changes}]}


class Provider:
    """Signs as the Provider does. Its methods return the fields of a request."""

    def __init__(self, key: str = KEY, owner: str = OWNER):
        self.key = key
        self.owner = owner
        self.address = address_of(key)

    def signed(self, job_id: str = "", nonce: int | None = None, **more: Any) -> dict[str, Any]:
        """The query of every call except start. The signature is over owner, job id and nonce."""
        nonce = time.time_ns() if nonce is None else nonce
        job = {"jobId": job_id} if job_id else {}
        signature = sign_hash(self.key, f"{self.owner}{job_id}{nonce}")
        return {"owner": self.owner, "providerAddress": self.address, "nonce": nonce, "providerSignature": signature, **job, **more}

    def start_body(self, agreement: str, nonce: int | None = None, **more: Any) -> dict[str, Any]:
        body = {"workflow": workflow(), "agreementId": agreement, "environment": "ocean-compute", "validUntil": int(time.time()) + 600}
        return {**body, "chainId": 8996, **self.signed(nonce=nonce), **more}
