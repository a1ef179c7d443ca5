"""Who signed a text: Ethereum's personal_sign in the two forms that Ocean uses.

* Requests of a Provider: the *keccak hash* of the text is signed as if it were the message (:func:`signer_of_hash`).
* Notifications of operator-engine: the *text itself* is signed (:func:`sign_text`).

Vectors: tests/unit/crypto/test_signatures.py.
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
    """The address (checksummed) that belongs to a private key (hex)."""
    from coincurve import PrivateKey

    return _address(PrivateKey.from_hex(private_key.removeprefix("0x")).public_key)


def signer_of_hash(text: str, signature: str) -> str:
    """The checksummed address that signed ``keccak(text)`` with the personal_sign prefix.

    :param signature: 65 bytes in hex; its last byte is 0 or 1, or 27 or 28.
    :raises InvalidSignature: nobody can have made it.
    """
    from eth_hash.auto import keccak

    return _recover(_prefixed(keccak(text.encode())), signature)


def public_key_of_hash(text: str, signature: str) -> str:
    """The public key (0x, uncompressed) of who signed as :func:`signer_of_hash` has it.

    :raises InvalidSignature: nobody can have made it.
    """
    from eth_hash.auto import keccak

    return "0x" + _recover_key(_prefixed(keccak(text.encode())), signature).format(compressed=False).hex()


def signer_of_text(text: str, signature: str) -> str:
    """The checksummed address that signed ``text`` itself with the personal_sign prefix.

    :raises InvalidSignature: nobody can have made it.
    """
    return _recover(_prefixed(text.encode()), signature)


def signer_of_digest(digest: bytes, signature: str) -> str:
    """The checksummed address that signed these 32 bytes with the personal_sign prefix.

    :raises InvalidSignature: nobody can have made it.
    """
    return _recover(_prefixed(digest), signature)


def sign_digest(private_key: str, digest: bytes) -> str:
    """personal_sign of 32 bytes: 0x and 65 bytes, the last one 27 or 28."""
    return _sign(private_key, _prefixed(digest), 27)


def sign_hash(private_key: str, text: str) -> str:
    """What a Provider sends as ``providerSignature`` for ``text``: 0x and 65 bytes, the last one 0 or 1."""
    from eth_hash.auto import keccak

    return _sign(private_key, _prefixed(keccak(text.encode())), 0)


def sign_text(private_key: str, text: str) -> str:
    """personal_sign of ``text``: 0x and 65 bytes, the last one 27 or 28."""
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
    except Exception:  # the library raises bare Exceptions for points that are not on the curve
        raise InvalidSignature("no address can be recovered from it") from None


def checksummed(address: str) -> str:
    """The address in EIP-55's mix of capitals, which guards against typing errors."""
    from eth_hash.auto import keccak

    digits = address.lower().removeprefix("0x")
    mask = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(m, 16) >= 8 else c for c, m in zip(digits, mask, strict=False))


def _address(public_key: object) -> str:
    from eth_hash.auto import keccak

    uncompressed: bytes = public_key.format(compressed=False)  # type: ignore[attr-defined]
    return checksummed(keccak(uncompressed[1:])[-20:].hex())
