"""Secrets sealed to the operator's key: ECIES on secp256k1, as Ocean encrypts ``files``.

The plaintext is ``{"job": <job id or null>, "value": ...}``. A value that was sealed for one job cannot be used in another, so a sealed URL
copied from somebody else's run is useless.
"""

from __future__ import annotations

import json
from typing import Any

from c2d.errors import InvalidSeal


def new_private_key() -> str:
    """A fresh operator key: 0x and 64 hex digits."""
    from coincurve import PrivateKey

    return "0x" + PrivateKey().to_hex().zfill(64)


def public_key(private_key: str) -> str:
    """The public key (0x and 65 bytes in hex, uncompressed) that belongs to ``private_key``."""
    from coincurve import PrivateKey

    return "0x" + PrivateKey.from_hex(private_key.removeprefix("0x")).public_key.format(compressed=False).hex()


def is_public_key(text: str) -> bool:
    """Whether ``text`` is a public key on secp256k1, in hex."""
    from coincurve import PublicKey

    try:
        PublicKey(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        return False
    return True


def seal(public_key: str, value: Any, job_id: str | None = None) -> str:
    """``value`` (any JSON), encrypted to ``public_key``, as 0x and hex.

    :param job_id: the only job that may use the value; None: any job.
    """
    from ecies import encrypt

    return "0x" + encrypt(public_key.removeprefix("0x"), json.dumps({"job": job_id, "value": value}).encode()).hex()


def unseal(private_key: str, sealed: str, job_id: str) -> Any:
    """The value in ``sealed``.

    :raises InvalidSeal: it was not sealed to this operator, was altered, or was sealed for another job.
    """
    from ecies import decrypt

    try:
        content = json.loads(decrypt(private_key.removeprefix("0x"), bytes.fromhex(sealed.removeprefix("0x"))))
        bound, value = content["job"], content["value"]
    except Exception:  # the library raises various exceptions; the client must not learn which
        raise InvalidSeal("must be sealed to this operator's public key (`c2d seal`)") from None
    if bound is not None and bound != job_id:
        raise InvalidSeal("was sealed for another job; seal it again")
    return value
