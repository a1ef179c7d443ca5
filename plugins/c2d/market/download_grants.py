"""Download grants: they let a job's configure pod download an asset from another Provider without the operator's key. Pure.

A Provider serves the files of an ordered asset to a client that signs ``<did><nonce>`` as the order's consumer, which is the operator. The
operator signs several such texts for each asset of the job and passes only these to the pod. A grant is valid for one asset that was
ordered for this operator, until the Provider has seen a higher nonce.

A Provider stores the highest nonce of each address and rejects lower ones. All jobs of an operator share its address, so a job that starts
later invalidates the low nonces that an earlier one has not used yet. Each asset therefore gets two kinds of nonces (milliseconds since
1970, as Ocean's clients use; a double holds them exactly):

* near: consecutive, one block for each asset, in the order in which the pod downloads the assets;
* far: spread over the stage's time limit at growing intervals, for the case that another job has passed the near ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from c2d.crypto import signatures

GRANT_BYTES = 160  # of one grant in stage.json: 13 digits, 132 characters of signature, and the JSON around them
ALL_BYTES = 480 * 1024  # of all grants of a job
SECRET_BYTES = 1000 * 1024  # of the stage's Secret; Kubernetes accepts 1 MiB
MOST, LEAST = 1024, 8  # grants for an asset; each attempt to download a file uses one


@dataclass(frozen=True)
class DownloadGrants:
    """The grants of a job.

    :param consumer: the checksummed address that signed them.
    :param of_assets: for each asset, pairs of a nonce and a signature, by rising nonce.
    """

    consumer: str
    of_assets: tuple[tuple[tuple[int, str], ...], ...] = field(repr=False)


def number_for(assets: int, other_bytes: int) -> int:
    """How many grants each of ``assets`` assets gets: 1024 for a single one, 30 for each of 100 (470 KiB), always at least 8.

    :param other_bytes: size of the other contents of the Secret.
    """
    room = min(ALL_BYTES, SECRET_BYTES - other_bytes)
    return max(LEAST, min(MOST, room // GRANT_BYTES // max(1, assets)))


def nonces(start: int, assets: int, number: int, seconds: int) -> list[list[int]]:
    """The nonces of each asset, rising; no nonce occurs twice.

    :param start: the lowest nonce, milliseconds since 1970.
    :param number: nonces for each asset; three quarters are near, the others far.
    :param seconds: how far the last nonces are ahead of ``start``.
    """
    far = number // 4
    near = number - far
    first_far = start + assets * near
    # A rung is `assets` nonces wide, so that each asset has a nonce of its own on every rung.
    last_rung = max(far, (start + seconds * 1000 - first_far) // assets)
    rungs: list[int] = []
    for n in range(1, far + 1):
        rungs.append(max(round(last_rung ** (n / far)), rungs[-1] + 1 if rungs else 0))
    return [[*(start + a * near + n for n in range(near)), *(first_far + rung * assets + a for rung in rungs)] for a in range(assets)]


def grant(private_key: str, dids: Sequence[str], start: int, number: int, seconds: int) -> DownloadGrants:
    """``number`` grants for each asset, signed as a Provider's consumer signs a download.

    :param dids: the assets, in the order of their downloads.

    The other parameters are those of :func:`nonces`.
    """
    of_assets = zip(dids, nonces(start, len(dids), number, seconds), strict=True)
    signed = (tuple((n, signatures.sign_hash(private_key, f"{did}{n}")) for n in of_asset) for did, of_asset in of_assets)
    return DownloadGrants(signatures.address_of(private_key), tuple(signed))
