"""Secrets sealed to the operator's key: ECIES on secp256k1, the format of Ocean's own encrypted ``files``.

What is sealed is ``{"job": <job id or null>, "value": ...}``: a value that was sealed for one job cannot be opened in another,
so that a sealed URL seen in somebody else's run is worth nothing.
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
    """The public key (0x, uncompressed, 65 bytes) that belongs to ``private_key``; anybody may know it."""
    from coincurve import PrivateKey

    return "0x" + PrivateKey.from_hex(private_key.removeprefix("0x")).public_key.format(compressed=False).hex()


def is_public_key(text: str) -> bool:
    """Whether ``text`` is a public key that can be sealed to."""
    from coincurve import PublicKey

    try:
        PublicKey(bytes.fromhex(text.removeprefix("0x")))
    except ValueError:
        return False
    return True


def seal(public_key: str, value: Any, job_id: str | None = None) -> str:
    """``value`` (any JSON) as 0x and hex, readable only with the private key and in ``job_id`` only (None: in any job)."""
    from ecies import encrypt

    return "0x" + encrypt(public_key.removeprefix("0x"), json.dumps({"job": job_id, "value": value}).encode()).hex()


def unseal(private_key: str, sealed: str, job_id: str) -> Any:
    """The value in ``sealed``.

    :raises InvalidSeal: it was not sealed to this operator, was altered, or belongs to another job.
    """
    from ecies import decrypt

    try:
        content = json.loads(decrypt(private_key.removeprefix("0x"), bytes.fromhex(sealed.removeprefix("0x"))))
        bound, value = content["job"], content["value"]
    except Exception:  # the library raises its own kinds for each way to be wrong; none may tell more
        raise InvalidSeal("must be sealed to this operator's public key (`c2d seal`)") from None
    if bound is not None and bound != job_id:
        raise InvalidSeal("was sealed for another job; seal it again")
    return value
