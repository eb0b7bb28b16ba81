"""Intents: which spool range is being applied, durable before its first effect. The last done one is the cursor."""

from __future__ import annotations

import json
from typing import Final

from msgspec import Struct, field
from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.metadata.database import Database
from appliance.pipeline.models import IntentModel
from appliance.spool.framing import Position, SpoolRange

RETRIES: Final = 0  # the epoch under which retries of dead letters stand; a spool's own is never 0


class Intent(Struct, kw_only=True):
    """One range, or under epoch `RETRIES` the retry of the dead letter whose id is `segment`."""

    epoch: int
    segment: int
    start: int
    end: int
    attempts: int = 1  # tries begun, this one included
    skip: list[int] = field(default_factory=list)

    @property
    def after(self) -> Position:
        """Where to go on when it is done."""
        return Position(self.segment, self.end)

    @property
    def batch_id(self) -> int:
        """128 bits: epoch, segment, start."""
        return self.epoch << 64 | self.segment << 32 | self.start


class Progress(Struct, kw_only=True):
    """How far a spool was applied."""

    after: Position | None = None  # the end of the last range that was claimed; None: nothing ever was
    unfinished: list[Intent] = field(default_factory=list)  # in order


async def load(database: Database, epoch: int) -> Progress:
    """What is known of a spool."""
    async with database.read() as session:
        rows = await session.scalars(
            select(IntentModel).where(IntentModel.epoch == epoch).order_by(IntentModel.segment, IntentModel.start)
        )
        found = list(rows)
    unfinished = [
        Intent(
            epoch=row.epoch,
            segment=row.segment,
            start=row.start,
            end=row.end,
            attempts=row.attempts,
            skip=list(json.loads(row.skip)),
        )
        for row in found
        if row.done_at is None
    ]
    after = Position(found[-1].segment, found[-1].end) if found else None
    return Progress(after=after, unfinished=unfinished)


async def claim(database: Database, epoch: int, found: SpoolRange, now: int) -> Intent:
    """Make the first try of a range durable."""
    intent = Intent(epoch=epoch, segment=found.segment, start=found.start, end=found.end)
    async with database.write() as session:
        session.add(
            IntentModel(
                epoch=epoch,
                segment=found.segment,
                start=found.start,
                end=found.end,
                attempts=1,
                skip="[]",
                created_at=now,
            )
        )
    return intent


async def note_attempt(database: Database, intent: Intent) -> int:
    """Make another try durable; its number."""
    intent.attempts += 1
    async with database.write() as session:
        await session.execute(update(IntentModel).where(*_is(intent)).values(attempts=intent.attempts))
    return intent.attempts


async def cut(database: Database, intent: Intent, end: int) -> None:
    """End a range earlier. Only before its first effect: its rows carry ordinals of the range as it is."""
    intent.end = end
    async with database.write() as session:
        await session.execute(update(IntentModel).where(*_is(intent)).values(end=end))


async def skip(session: AsyncSession, intent: Intent, offset: int) -> None:
    """Leave a record out of every further try: it is a dead letter."""
    if offset not in intent.skip:
        intent.skip.append(offset)
    await session.execute(update(IntentModel).where(*_is(intent)).values(skip=json.dumps(intent.skip)))


async def finish(session: AsyncSession, intent: Intent, now: int) -> None:
    """The range is applied; forget the done ones before it."""
    await session.execute(update(IntentModel).where(*_is(intent)).values(done_at=now))
    earlier = or_(
        IntentModel.segment < intent.segment,
        (IntentModel.segment == intent.segment) & (IntentModel.start < intent.start),
    )
    await session.execute(
        delete(IntentModel).where(IntentModel.epoch == intent.epoch, IntentModel.done_at.is_not(None), earlier)
    )


async def forget(session: AsyncSession, intent: Intent) -> None:
    """A retry ended; it leaves no cursor."""
    await session.execute(delete(IntentModel).where(*_is(intent)))


def _is(intent: Intent) -> tuple[ColumnElement[bool], ...]:
    return (
        IntentModel.epoch == intent.epoch,
        IntentModel.segment == intent.segment,
        IntentModel.start == intent.start,
    )
