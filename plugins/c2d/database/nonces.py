"""The nonces of those who sign Operator-Service requests. Each signer's must rise, so a recorded request cannot be replayed."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from c2d.database.tables import nonces
from c2d.errors import NonceUsed

NONCE_LIMIT = 2**63
NONCE_USED = "nonce: must be higher than every nonce that this signer has used before"

_NEW = insert(nonces).values(signer=sa.bindparam("signer"), nonce=sa.bindparam("nonce"))
USE = _NEW.on_conflict_do_update(
    index_elements=[nonces.c.signer], set_={"nonce": _NEW.excluded.nonce}, where=nonces.c.nonce < _NEW.excluded.nonce
).returning(nonces.c.signer)
"""Use up a nonce. Returns a row only if the nonce is higher than the signer's last one."""


@dataclass(frozen=True)
class Caller:
    """Who sent a request.

    :param provider: the signer's address in lower case.
    :param nonce: the nonce that the request uses up. None: replays are refused elsewhere, or (legacy mode) not at all.
    :param everybody: the caller sees every Provider's jobs (legacy mode).
    """

    provider: str
    nonce: int | None
    everybody: bool = False

    @property
    def sees(self) -> str | None:
        """The Provider whose jobs the caller may see. None: all Providers."""
        return None if self.everybody else self.provider


def use_nonce(c: sa.Connection, caller: Caller) -> None:
    """Use up the caller's nonce, if the request has one.

    :raises NonceUsed: it is not higher than the signer's last one.
    """
    if caller.nonce is not None and c.execute(USE, {"signer": caller.provider, "nonce": caller.nonce}).scalar() is None:
        raise NonceUsed(NONCE_USED)
