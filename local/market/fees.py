"""A Provider's fees in the form that Ocean's contracts expect."""

from __future__ import annotations

import json
from typing import Any


def provider_fee(key: str, datatoken: str, *, environment: str, amount: int, token: str, valid_until: int, **more: Any) -> tuple[Any, ...]:
    """A Provider's fee as the contract expects it, signed with the Provider's key.

    :param amount: in wei of `token`.
    :param more: fields of providerData (environment, timestamp, dt and id in Provider v2.1.6) that replace the usual ones.
    """
    from eth_account import Account as Keys
    from eth_account.messages import encode_defunct
    from web3 import Web3

    address = Keys.from_key(key).address
    provider_data = {"environment": environment, "timestamp": valid_until, "dt": datatoken, "id": "", **more}
    data = json.dumps(provider_data, separators=(",", ":")).encode()
    digest = Web3.solidity_keccak(["bytes", "address", "address", "uint256", "uint256"], [data, address, token, amount, valid_until])
    signed = Keys.sign_message(encode_defunct(digest), key)
    return (address, token, amount, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"), valid_until, data)


def fee_of(answer: dict[str, Any]) -> tuple[Any, ...]:
    """The `providerFee` in a Provider's answer to initialize or initializeCompute, as the contract expects it."""
    names = ("providerFeeAddress", "providerFeeToken", "providerFeeAmount", "v", "r", "s", "validUntil", "providerData")
    address, token, amount, v, r, s, valid_until, data = (answer[name] for name in names)

    def number(value: Any) -> int:
        return int(value, 0) if isinstance(value, str) else int(value)

    def raw(value: str) -> bytes:
        return bytes.fromhex(value.removeprefix("0x"))

    return (address, token, number(amount), number(v), raw(r), raw(s), number(valid_until), raw(data))
