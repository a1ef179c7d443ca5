"""What the Provider API stores about consumers: the highest nonce of each address, and revoked auth tokens.

A nonce is used up before the action that it was signed for, once over all routes, whatever the case of the address. So of any number of
requests with one signature exactly one is served, also after a crash.
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

from c2d.database.connections import pools
from c2d.database.jobs import change_jobs
from c2d.database.tables import consumer_nonces, jobs, revoked_tokens, used_texts
from c2d.errors import InvalidToken

# ocean.js sends digits; ocean.py sends the clock, milliseconds with a fraction.
NONCE = re.compile(r"^[0-9]{1,40}(\.[0-9]{1,20})?$")
LAST_SECOND = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp())
FIRST_NONCE = "1"
"""The answer for an address that has not signed anything yet, as Ocean's Provider gives it. Nothing is stored for it."""


class Consumers:
    """The consumers in ``url``.

    :param key: the Provider's private key; auth tokens are signed with it.
    """

    def __init__(self, url: str, key: str):
        self.engine = pools(url).changes
        self._key = key.removeprefix("0x").lower()

    def nonce(self, address: str) -> str:
        """The highest nonce that the address has used."""
        with self.engine.connect() as c:
            found = c.execute(sa.select(consumer_nonces.c.nonce).where(consumer_nonces.c.address == address.lower())).scalar()
        return FIRST_NONCE if found is None else f"{found.normalize():f}"

    def use_nonce(self, address: str, nonce: str, signed: str | None = None, several: bool = False) -> bool:
        """Use up a nonce. False: it is not higher than every earlier one, or the text was signed for another request.

        Nothing separates the nonce from the text before it: a thief could turn ``...12`` + ``3`` into ``...1`` + ``23``, a higher nonce.
        So a text that can be read in several ways is stored until the address has used a nonce as high as any of them.

        :param signed: the whole signed text, with the nonce. None: an auth token was sent instead.
        :param several: several texts may use the same nonce, each once. For read-only requests: a metadata cache's nonce is the second of
            the clock.
        """
        with self.engine.begin() as c:
            return _use(c, address.lower(), Decimal(nonce), signed, several and signed is not None)

    def use_nonce_for_job(self, job_id: str, address: str, nonce: str, signed: str) -> bool:
        """Use up the nonce of a run that was started in Airflow: the signed text is good for this job alone.

        The nonce must be higher than those used at the Provider API, but not than those of other runs, since runs are checked in any
        order. The text is stored until the address has used a nonce as high. A later try of the same job finds its own nonce.
        """
        address, number = address.lower(), Decimal(nonce)
        with self.engine.begin() as c:
            used = c.execute(sa.select(jobs.c.nonce).where(jobs.c.jobId == job_id).with_for_update()).scalar()
            if used is not None:
                return bool(used == number)
            last = c.execute(sa.select(consumer_nonces.c.nonce).where(consumer_nonces.c.address == address).with_for_update()).scalar()
            if last is not None and number <= last:
                return False
            text = {"address": address, "sha256": _sha256(signed), "until": max(_highest_reading(signed), number)}
            if not c.execute(insert(used_texts).values(text).on_conflict_do_nothing()).rowcount:
                return False
            change_jobs(c, jobs.c.jobId == job_id, nonce=number)
            return True

    def new_token(self, address: str, expiration: int) -> str:
        """An auth token of an address, valid until ``expiration`` (seconds since 1970). No two are equal: a revoked one stays revoked."""
        import jwt

        claims = {"exp": expiration, "address": address, "jti": secrets.token_hex(8)}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def check_token(self, token: str, address: str) -> dict[str, Any]:
        """The token's claims: ``exp`` and ``address``.

        :raises InvalidToken: it belongs to another address, has expired, or was revoked.
        """
        claims = self._claims(token, address)
        with self.engine.connect() as c:
            if c.execute(sa.select(revoked_tokens.c.sha256).where(revoked_tokens.c.sha256 == _sha256(token))).scalar() is not None:
                raise InvalidToken("Token is expired.")
        return claims

    def revoke_token(self, token: str, address: str) -> None:
        """Revoke a token for the rest of its life.

        :raises InvalidToken: it is no longer valid.
        """
        # Some clients give milliseconds, which as seconds lie in a year beyond what a date can hold.
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
