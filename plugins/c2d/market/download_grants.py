"""Grants: what lets a job's configure pod download an asset from a Provider, without the operator's key.

A Provider hands the files of an ordered asset to whoever signed ``<did><nonce>`` as the order's consumer, which is the operator. The
operator signs a number of such texts for each asset of the job and gives these alone to the pod. A grant is good for one asset that
somebody ordered for this operator, and until the Provider has seen a higher nonce.

A Provider keeps one nonce for each address and refuses lower ones, and all jobs of an operator share its address: a job that begins
later makes the unused low nonces of the earlier one worthless. So each asset has two kinds of nonces (milliseconds since 1970, as the
incumbent's; float and JavaScript hold them exactly):

* near: one after the other, each asset its own block, the blocks in the order in which the pod fetches the assets;
* far: spread over the time that the stage may take, ever wider, for when another job has passed the near ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from c2d.crypto import signatures

GRANT_BYTES = 160  # of one grant in stage.json: 13 digits, 132 characters of signature, JSON around them
ALL_BYTES = 480 * 1024  # of all grants of a job
SECRET_BYTES = 1000 * 1024  # Kubernetes takes Secrets of 1 MiB
MOST, LEAST = 1024, 8  # for an asset; one is used up by each attempt at each file


@dataclass(frozen=True)
class DownloadGrants:
    """consumer: the checksummed address that signed. of_assets: for each asset, pairs of a nonce and the signature, nonces rising."""

    consumer: str
    of_assets: tuple[tuple[tuple[int, str], ...], ...] = field(repr=False)


def number_for(assets: int, other_bytes: int) -> int:
    """How many grants each of ``assets`` gets, in a Secret that holds ``other_bytes`` besides: 1024 for one, at least 8.

    100 assets get 30 each, which makes 470 KiB.
    """
    room = min(ALL_BYTES, SECRET_BYTES - other_bytes)
    return max(LEAST, min(MOST, room // GRANT_BYTES // max(1, assets)))


def nonces(start: int, assets: int, number: int, seconds: int) -> list[list[int]]:
    """The nonces of each asset, rising, none twice.

    :param start: the lowest, milliseconds since 1970.
    :param number: of each asset; three quarters are near, the others far.
    :param seconds: how far ahead of ``start`` the last ones are.
    """
    far = number // 4
    near = number - far
    first_far = start + assets * near
    # In steps of `assets`, so that each asset has its own nonce on every rung.
    last_rung = max(far, (start + seconds * 1000 - first_far) // assets)
    rungs: list[int] = []
    for n in range(1, far + 1):
        rungs.append(max(round(last_rung ** (n / far)), rungs[-1] + 1 if rungs else 0))
    return [[*(start + a * near + n for n in range(near)), *(first_far + rung * assets + a for rung in rungs)] for a in range(assets)]


def grant(private_key: str, dids: Sequence[str], start: int, number: int, seconds: int) -> DownloadGrants:
    """``number`` grants for each asset in ``dids`` (in the order of their downloads), signed as a Provider's consumer signs.

    Parameters otherwise as for :func:`nonces`.
    """
    ladder = nonces(start, len(dids), number, seconds)
    signed = (tuple((n, signatures.sign_hash(private_key, f"{did}{n}")) for n in own) for did, own in zip(dids, ladder, strict=True))
    return DownloadGrants(signatures.address_of(private_key), tuple(signed))
