"""What the Provider API keeps of consumers: the highest nonce of each address, and the auth tokens that were revoked.

A nonce is used up before the action that it was signed for, once over all routes, whatever the letters' case of the address: of any number
of requests with one signature exactly one is served, and none after a crash either.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from c2d.database import queue
from c2d.database.tables import consumer_nonces, jobs, revoked_tokens, used_texts
from c2d.errors import InvalidToken

# Digits as ocean.js counts and as ocean.py takes the clock, milliseconds with a fraction.
NONCE = re.compile(r"^[0-9]{1,40}(\.[0-9]{1,20})?$")
LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
FIRST_NONCE = "1"
"""What an address that has not signed anything yet is told, as the incumbent has it; nothing is stored for it."""


class Consumers:
    """The consumers in ``url``.

    :param key: the Provider's private key; auth tokens are signed with it.
    """

    def __init__(self, url: str, key: str):
        self.engine = queue.engines(url)[0]
        self._key = key.removeprefix("0x").lower()

    def nonce(self, address: str) -> str:
        """The highest nonce that the address has used."""
        with self.engine.connect() as c:
            found = c.execute(sa.select(consumer_nonces.c.nonce).where(consumer_nonces.c.address == address.lower())).scalar()
        return FIRST_NONCE if found is None else f"{found.normalize():f}"

    def use_nonce(self, address: str, nonce: str, signed: str | None = None, several: bool = False) -> bool:
        """Uses up a nonce; False where it is not higher than every one before, or where the text was signed for another request.

        There is no mark before the nonce in a signed text: of ``...12`` + ``3`` a thief could make ``...1`` + ``23``, a higher nonce.
        So a text that can be read in several ways is kept until the address has used a nonce that is as high as any of them.

        :param signed: the whole text that was signed, with the nonce; None: a token stood for it.
        :param several: several texts may have the same nonce, each once. For what only reads: a metadata cache takes the second for it.
        """
        with self.engine.begin() as c:
            return _use(c, address.lower(), Decimal(nonce), signed, several and signed is not None)

    def use_nonce_for_job(self, job_id: str, address: str, nonce: str, signed: str) -> bool:
        """For a run that was started in Airflow: the text is good for this job alone, whatever the order in which several are looked at.

        So its nonce must be higher than those of the Provider API, but not than those of other runs; and the text is kept, here as there,
        until the address has used a nonce that is as high. A further try of the same job finds it used by itself.
        """
        address, number = address.lower(), Decimal(nonce)
        with self.engine.begin() as c:
            used = c.execute(sa.select(jobs.c.nonce).where(jobs.c.jobId == job_id).with_for_update()).scalar()
            if used is not None:
                return used == number
            last = c.execute(sa.select(consumer_nonces.c.nonce).where(consumer_nonces.c.address == address).with_for_update()).scalar()
            if last is not None and number <= last:
                return False
            text = {"address": address, "sha256": _sha256(signed), "until": max(_highest_reading(signed), number)}
            if not c.execute(insert(used_texts).values(text).on_conflict_do_nothing()).rowcount:
                return False
            c.execute(sa.update(jobs).where(jobs.c.jobId == job_id).values(nonce=number))
            return True

    def new_token(self, address: str, expiration: int) -> str:
        """An auth token of an address until ``expiration`` (seconds since 1970); each is another one, so that a revoked one stays that."""
        import jwt

        claims = {"exp": expiration, "address": address, "jti": secrets.token_hex(8)}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def check_token(self, token: str, address: str) -> dict[str, Any]:
        """What the token says: ``exp`` and ``address``.

        :raises InvalidToken: it is not of this address, has expired, or was revoked.
        """
        claims = self._claims(token, address)
        with self.engine.connect() as c:
            if c.execute(sa.select(revoked_tokens.c.sha256).where(revoked_tokens.c.sha256 == _sha256(token))).scalar() is not None:
                raise InvalidToken("Token is expired.")
        return claims

    def revoke_token(self, token: str, address: str) -> None:
        """:raises InvalidToken: it is not valid any more."""
        # Clients give milliseconds too, by which it ends in a year that a date cannot have.
        expires = datetime.fromtimestamp(min(int(self.check_token(token, address)["exp"]), LAST_SECOND), UTC)
        with self.engine.begin() as c:
            c.execute(sa.delete(revoked_tokens).where(revoked_tokens.c.expires < sa.func.now()))
            c.execute(insert(revoked_tokens).values(sha256=_sha256(token), expires=expires).on_conflict_do_nothing())

    def _claims(self, token: str, address: str) -> dict[str, Any]:
        import jwt

        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, algorithms=["HS256"], options={"require": ["exp"]})
        except jwt.ExpiredSignatureError:
            raise InvalidToken("Token is expired.") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise InvalidToken("Token is invalid.") from None
        if str(claims.get("address", "")).lower() != address.lower():
            raise InvalidToken("Token is invalid.")
        return claims


def _highest_reading(signed: str) -> Decimal:
    """The highest number that a signed text ends with."""
    match = re.search(r"[0-9]+(\.[0-9]+)?$", signed)
    return Decimal(match[0]) if match else Decimal(0)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _use(c: sa.Connection, address: str, number: Decimal, signed: str | None, several: bool = False) -> bool:
    """:param address: in lower case."""
    new = insert(consumer_nonces).values(address=address, nonce=number)
    last = consumer_nonces.c.nonce
    rising = new.on_conflict_do_update(
        index_elements=[consumer_nonces.c.address],
        set_={"nonce": new.excluded.nonce},
        where=last <= new.excluded.nonce if several else last < new.excluded.nonce,
    ).returning(consumer_nonces.c.address)
    if c.execute(rising).scalar() is None:
        return False
    mine, digest = used_texts.c.address == address, _sha256(signed or "")
    again = c.execute(sa.select(used_texts.c.sha256).where(mine, used_texts.c.sha256 == digest)).scalar() is not None
    c.execute(sa.delete(used_texts).where(mine, used_texts.c.until < number))
    until = _highest_reading(signed or "")
    if signed and not again and (several or until > number):
        c.execute(insert(used_texts).values(address=address, sha256=digest, until=max(until, number)))
    return not again
