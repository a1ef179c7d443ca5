"""Provider fees: the price of a compute start, and fees signed as Ocean's Provider signs them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, localcontext

from c2d.crypto import signatures
from c2d.errors import InvalidSignature

ZERO_ADDRESS = "0x" + "0" * 40
UNPRICED = "chain {}: PROVIDER_FEE_TOKEN must name the token that the environment is paid in; the zero address: nothing is charged"
"""The error text for an environment that has a price, on a chain without a fee token. ``format`` it with the chain id."""


@dataclass(frozen=True)
class ProviderFee:
    """The fee that an order must pay, as the datatoken's contract verifies and emits it.

    :param providerFeeAmount: in the token's smallest unit.
    :param providerData: JSON, UTF-8: environment, timestamp (when the fee was made), dt (datatoken), id (service).
    :param v: of the signature, 27 or 28.
    :param r, s: of the signature, 32 bytes each.
    :param validUntil: seconds since 1970; 0: the fee does not expire.
    """

    providerFeeAddress: str
    providerFeeToken: str
    providerFeeAmount: int
    providerData: bytes
    v: int
    r: bytes
    s: bytes
    validUntil: int

    def dump(self) -> dict[str, str | int]:
        """As the Provider API sends it to clients."""
        return {
            "providerFeeAddress": self.providerFeeAddress,
            "providerFeeToken": self.providerFeeToken,
            "providerFeeAmount": str(self.providerFeeAmount),
            "providerData": "0x" + self.providerData.hex(),
            "v": self.v,
            "r": "0x" + self.r.hex(),
            "s": "0x" + self.s.hex(),
            "validUntil": self.validUntil,
        }


def amount(seconds: float, price_minute: Decimal, token: str | None, decimals: int) -> int:
    """The price of ``seconds`` of an environment, in the token's smallest unit; 0 without a token.

    Ocean's Provider leaves out whole days; this does not.

    :param price_minute: in whole tokens.
    """
    if token in (None, ZERO_ADDRESS) or seconds <= 0:
        return 0
    with localcontext() as context:
        context.prec = 78  # uint256
        exact = Decimal(int(seconds)) * price_minute / 60 * Decimal(10) ** decimals
        return int(exact.to_integral_value(ROUND_DOWN))


def make(
    private_key: str,
    token: str | None,
    fee_amount: int,
    *,
    environment: str | None,
    datatoken: str,
    service_id: str,
    valid_until: int,
    now: int,
) -> ProviderFee:
    """A fee, signed by the Provider.

    :param token: None: the zero address, for a fee of nothing.
    :param fee_amount: in the token's smallest unit.
    :param environment: the compute environment that the fee is for; None: not a compute start's.
    :param valid_until: seconds since 1970; 0: the fee does not expire.
    :param now: seconds since 1970; goes into ``providerData``.
    """
    data = json.dumps({"environment": environment, "timestamp": now, "dt": datatoken, "id": service_id}, separators=(",", ":")).encode()
    address = signatures.address_of(private_key)
    token = token or ZERO_ADDRESS
    signature = bytes.fromhex(signatures.sign_digest(private_key, digest(data, address, token, fee_amount, valid_until))[2:])
    return ProviderFee(address, token, fee_amount, data, signature[64], signature[:32], signature[32:64], valid_until)


def signer(fee: ProviderFee) -> str | None:
    """The checksummed address that signed the fee; None: the signature is malformed."""
    signed = digest(fee.providerData, fee.providerFeeAddress, fee.providerFeeToken, fee.providerFeeAmount, fee.validUntil)
    try:
        return signatures.signer_of_digest(signed, "0x" + (fee.r + fee.s + bytes([fee.v & 0xFF])).hex())
    except InvalidSignature:
        return None


def digest(data: bytes, address: str, token: str, fee_amount: int, valid_until: int) -> bytes:
    """The 32 bytes that the Provider signs with personal_sign: keccak of the packed fields."""
    from eth_hash.auto import keccak

    packed = data + bytes.fromhex(address[2:]) + bytes.fromhex(token[2:]) + fee_amount.to_bytes(32, "big") + valid_until.to_bytes(32, "big")
    return keccak(packed)
