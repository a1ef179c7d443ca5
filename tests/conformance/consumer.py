"""Signs requests to a Provider as ocean.js 3.3 does."""

from __future__ import annotations

from typing import Any

from fastapi.testclient import TestClient

from c2d.crypto.signatures import address_of, sign_hash

SERVICES = "/api/services"


class Consumer:
    """Signs a text followed by a nonce, and gets each nonce by asking for the last one and adding 1."""

    def __init__(self, client: TestClient, key: str = "0x" + "33" * 32):
        self.client = client
        self.key = key
        self.address = address_of(key)

    def next_nonce(self) -> str:
        answer = self.client.get(f"{SERVICES}/nonce", params={"userAddress": self.address})
        assert answer.status_code == 200, answer.text
        nonce = answer.json()["nonce"]
        assert isinstance(nonce, str)
        return str(int(nonce) + 1)

    def signed(self, *text: str, nonce: str | None = None, who: str = "consumerAddress") -> dict[str, Any]:
        """The address, the nonce, and the signature over the concatenated ``text`` and the nonce."""
        nonce = self.next_nonce() if nonce is None else nonce
        return {who: self.address, "nonce": nonce, "signature": sign_hash(self.key, "".join(text) + nonce)}
