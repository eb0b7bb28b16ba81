"""Slows guessing: counts attempts per account and per address, in the database, so that a restart forgets nothing.

An attempt is charged before it is tried and taken back when it succeeds: parallel guesses cannot slip past the count.
An account is named by a hash of what was typed, whether it exists or not, so that throttling tells nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import WaitError
from appliance.accounts.models import SignInFailureModel
from appliance.hookspecs import Clock
from appliance.ingest.addresses import parse_address, rate_key
from appliance.metadata.database import Database

WINDOW_SECONDS: Final = 15 * 60
WINDOW: Final = WINDOW_SECONDS * 1_000_000  # µs
ADDRESS_FACTOR: Final = 3  # an office shares one address; still 120 guesses an hour at most


class Charge(Struct, frozen=True):
    """An attempt that was counted."""

    ids: tuple[int, ...]


def account_key(email_key: str, what: str = "account") -> str:
    """The name under which attempts on an account are counted."""
    return f"{what}:{hashlib.sha256(email_key.encode()).hexdigest()[:48]}"


def address_key(address: str, what: str = "address") -> str:
    """The name under which attempts from an address are counted; a whole /64 is one IPv6 client."""
    return f"{what}:{rate_key(parse_address(address)) or 'unknown'}"


class Throttle:
    """At most so many attempts a quarter of an hour."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def charge(self, limits: Sequence[tuple[str, int]]) -> Charge:
        """Count an attempt under each key.

        Args:
            limits: pairs of a key and how many attempts it may have in a quarter of an hour.

        Raises:
            WaitError: one of them is used up; this attempt is then not counted, so that waiting ends.
        """
        now = self._clock.now()
        async with self._database.read() as session:  # a flood that is already refused takes no write lock
            for key, limit in limits:
                await _check(session, key, limit, now, pending=1)
        async with self._database.write() as session:
            await _lock(session, [key for key, _ in limits])
            rows = [SignInFailureModel(key=key, at=now) for key, _ in limits]
            session.add_all(rows)
            await session.flush()
            for key, limit in limits:
                await _check(session, key, limit, now, pending=0)
            return Charge(tuple(row.id for row in rows))

    async def forgive(self, charge: Charge, clear: str = "") -> None:
        """Take an attempt back that was a success.

        Args:
            charge: what `charge` returned.
            clear: a key whose earlier attempts are forgotten too.
        """
        async with self._database.write() as session:
            await session.execute(delete(SignInFailureModel).where(SignInFailureModel.id.in_(charge.ids)))
            if clear:
                await session.execute(delete(SignInFailureModel).where(SignInFailureModel.key == clear))

    async def clear(self, key: str) -> None:
        """Forget the attempts under a key: its owner has shown who they are."""
        async with self._database.write() as session:
            await session.execute(delete(SignInFailureModel).where(SignInFailureModel.key == key))

    async def prune(self) -> None:
        """Forget what no longer counts."""
        async with self._database.write() as session:
            await session.execute(delete(SignInFailureModel).where(SignInFailureModel.at < self._clock.now() - WINDOW))


async def _lock(session: AsyncSession, keys: Sequence[str]) -> None:
    """Make parallel attempts under a key wait for each other's count. SQLite's write transactions do that anyway."""
    if session.get_bind().dialect.name == "postgresql":
        for key in sorted(keys):
            await session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(key, 0))))


async def _check(session: AsyncSession, key: str, limit: int, now: int, *, pending: int) -> None:
    found = await session.execute(
        select(func.count(), func.min(SignInFailureModel.at)).where(
            SignInFailureModel.key == key, SignInFailureModel.at > now - WINDOW
        )
    )
    count, oldest = found.one()
    if count + pending <= limit:
        return
    seconds = max(1, (int(oldest or now) + WINDOW - now) // 1_000_000)
    minutes = -(-seconds // 60)
    raise WaitError(
        f"Too many attempts. Wait {minutes} minute{'s' if minutes > 1 else ''} and try again.", retry_after=seconds
    )
