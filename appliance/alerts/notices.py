"""Telling owners and admins of the appliance itself: a path of the outbox that no rule of a project leads to.

The channel that the configuration names comes first; one that cannot deliver is passed over, and a message that is
stuck in one is sent through the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.alerts.channels import Channels
from appliance.alerts.compose import Notice, Site, compose_notice
from appliance.alerts.entries import Body, Purpose, State, add_entry
from appliance.alerts.facts import operators
from appliance.alerts.models import OutboxModel
from appliance.hookspecs import Clock

PATIENCE_SECONDS: Final = 600  # three tries (10 s, 30 s, 90 s) are over, and a breaker had its five minutes


class Fate(StrEnum):
    """What became of a message."""

    DELIVERED = "delivered"  # or given up by a person, who has read it then
    WAITING = "waiting"
    LATE = "late"  # refused, for so long that another channel should be tried
    LOST = "lost"  # given up, or no longer there


class Sent(Struct, frozen=True):
    """A message that lies in the outbox."""

    channel: str
    entry: int


class Notices:
    """Puts messages about the appliance into the outbox, in the caller's transaction."""

    def __init__(self, channels: Channels, clock: Clock, site: Site, first: str) -> None:
        """Wire up.

        Args:
            channels: of this process.
            clock: time.
            site: where links lead.
            first: the channel to be tried first.
        """
        self._channels = channels
        self._clock = clock
        self._site = site
        self._first = first

    def channels(self) -> list[str]:
        """Which channels to try, in order: with a notifier that is not left alone, then whatever is configured.

        Asks plugins, so it is not for use in a transaction.
        """
        names = [self._first, *(name for name in self._channels.chains if name != self._first)]
        usable = [name for name in names if not self._channels.problem(name)]
        healthy = [
            name
            for name in usable
            if any(not state.problem and state.open_until is None for state in self._channels.states(name))
        ]
        return [*healthy, *(name for name in usable if name not in healthy)]

    async def tell(self, session: AsyncSession, notice: Notice, key: str, channels: Sequence[str]) -> Sent | None:
        """Add the message to the caller's transaction. Call the worker's `poke` after it.

        Args:
            session: a write session.
            notice: what to tell.
            key: names this message: the same one is added once to a channel.
            channels: the first of them is taken.

        Returns:
            None when there is no channel, nobody to tell, or it was there already.
        """
        recipients = await operators(session)
        if not channels or not recipients:
            return None
        channel = channels[0]
        notification = compose_notice(self._site, notice, recipients)
        entry = await add_entry(
            session,
            Purpose.NOTIFICATION,
            f"notice:{hashlib.sha256(key.encode()).hexdigest()[:40]}:{channel[:64]}",
            Body(notification=notification),
            self._clock.now(),
            channel=channel,
        )
        return Sent(channel, entry) if entry is not None else None

    async def fate(self, session: AsyncSession, entry_id: int) -> Fate:
        """What became of a message."""
        entry = await session.get(OutboxModel, entry_id)
        if entry is None or entry.state == State.FAILED:
            return Fate.LOST
        if entry.state in (State.DELIVERED, State.DISCARDED):
            return Fate.DELIVERED
        age = (self._clock.now() - entry.created_at) / 1_000_000
        return Fate.LATE if age > PATIENCE_SECONDS else Fate.WAITING
