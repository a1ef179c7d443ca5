"""Ethereum's personal_sign, in the forms that Ocean uses.

* Requests to and from a Provider sign the *keccak hash* of the text, as a message of 32 bytes (:func:`sign_hash`).
* Notifications of operator-engine sign the *text itself* (:func:`sign_text`).
* Provider fees sign 32 bytes (:func:`sign_digest`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from c2d.errors import InvalidSignature

if TYPE_CHECKING:
    from coincurve import PublicKey

PREFIX = b"\x19Ethereum Signed Message:\n"
SIGNATURE = re.compile(r"^(0x)?[0-9a-fA-F]{130}$")


def address_of(private_key: str) -> str:
    """The checksummed address that belongs to a private key (hex)."""
    from coincurve import PrivateKey

    return _address(PrivateKey.from_hex(private_key.removeprefix("0x")).public_key)


def signer_of_hash(text: str, signature: str) -> str:
    """The checksummed address that signed ``keccak(text)`` with the personal_sign prefix.

    :param signature: 65 bytes in hex; the last byte is 0, 1, 27 or 28.
    :raises InvalidSignature: the signature is malformed.
    """
    from eth_hash.auto import keccak

    return _recover(_prefixed(keccak(text.encode())), signature)


def public_key_of_hash(text: str, signature: str) -> str:
    """The public key (0x and 65 bytes in hex, uncompressed) of the signer that :func:`signer_of_hash` names.

    :raises InvalidSignature: the signature is malformed.
    """
    from eth_hash.auto import keccak

    return "0x" + _recover_key(_prefixed(keccak(text.encode())), signature).format(compressed=False).hex()


def signer_of_text(text: str, signature: str) -> str:
    """The checksummed address that signed ``text`` itself with the personal_sign prefix.

    :raises InvalidSignature: the signature is malformed.
    """
    return _recover(_prefixed(text.encode()), signature)


def signer_of_digest(digest: bytes, signature: str) -> str:
    """The checksummed address that signed these 32 bytes with the personal_sign prefix.

    :raises InvalidSignature: the signature is malformed.
    """
    return _recover(_prefixed(digest), signature)


def sign_digest(private_key: str, digest: bytes) -> str:
    """personal_sign of 32 bytes: 0x and 65 bytes in hex, the last one 27 or 28."""
    return _sign(private_key, _prefixed(digest), 27)


def sign_hash(private_key: str, text: str) -> str:
    """personal_sign of ``keccak(text)``, as in ``providerSignature``: 0x and 65 bytes in hex, the last one 0 or 1."""
    from eth_hash.auto import keccak

    return _sign(private_key, _prefixed(keccak(text.encode())), 0)


def sign_text(private_key: str, text: str) -> str:
    """personal_sign of ``text``: 0x and 65 bytes in hex, the last one 27 or 28."""
    return _sign(private_key, _prefixed(text.encode()), 27)


def _prefixed(message: bytes) -> bytes:
    from eth_hash.auto import keccak

    return keccak(PREFIX + str(len(message)).encode() + message)


def _sign(private_key: str, digest: bytes, v_of_zero: int) -> str:
    from coincurve import PrivateKey

    signed = PrivateKey.from_hex(private_key.removeprefix("0x")).sign_recoverable(digest, hasher=None)
    return "0x" + (signed[:64] + bytes([signed[64] + v_of_zero])).hex()


def _recover(digest: bytes, signature: str) -> str:
    return _address(_recover_key(digest, signature))


def _recover_key(digest: bytes, signature: str) -> PublicKey:
    from coincurve import PublicKey

    if not isinstance(signature, str) or not SIGNATURE.match(signature):
        raise InvalidSignature("must be 65 bytes in hex")
    raw = bytes.fromhex(signature.removeprefix("0x"))
    v = raw[64] - 27 if raw[64] >= 27 else raw[64]
    if v not in (0, 1):
        raise InvalidSignature("its last byte must be 0, 1, 27 or 28")
    try:
        return PublicKey.from_signature_and_message(raw[:64] + bytes([v]), digest, hasher=None)
    except Exception:  # the library raises bare Exception for points that are not on the curve
        raise InvalidSignature("no address can be recovered from it") from None


def checksummed(address: str) -> str:
    """The address with EIP-55's checksum, which is in the case of its letters."""
    from eth_hash.auto import keccak

    digits = address.lower().removeprefix("0x")
    mask = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(digits, mask, strict=False))


def _address(public_key: PublicKey) -> str:
    from eth_hash.auto import keccak

    return checksummed(keccak(public_key.format(compressed=False)[1:])[-20:].hex())
