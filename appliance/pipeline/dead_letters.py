"""Records that could not be processed: their bytes in files of mode 0600, what is known of them in the metadata.

They hold unscrubbed bodies: bounded in age, bytes and number, shown to owners and admins alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.pipeline.batches import Retry
from appliance.pipeline.counts import add_counts, add_drops, upsert
from appliance.pipeline.models import DeadLetterModel
from appliance.pipeline.wire import DeadRecord, Drop

MAX_KEPT: Final = 10_000  # files; a fault that makes more of them is understood from the first hundred
OPEN_AT_ONCE: Final = 200  # files; a process may usually have 1,024
PRUNE_AT_ONCE: Final = 1_000  # rows that one pass removes
DAY: Final = 86_400 * MICROSECONDS
WAITING: Final = ("kept", "retrying")  # states in which there is a file
_RECORD_ID: Final = re.compile(r"^[0-9a-f]{16}-[0-9a-f]{8}-[0-9a-f]{8}$")


def retry_batch_id(record_id: str) -> int:
    """The batch id of a record's retries: the same for each, and no spool's (those begin with its random epoch)."""
    return int.from_bytes(hashlib.blake2b(f"retry:{record_id}".encode(), digest_size=16).digest(), "big")


class DeadLetterFiles:
    """The directory with the bytes."""

    def __init__(self, directory: Path) -> None:
        """Args: directory: made here if need be, mode 0700."""
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, record_id: str) -> Path:
        """Where a record's bytes lie."""
        if not _RECORD_ID.match(record_id):
            raise ValueError(f"not a record id: {record_id!r}")
        return self.directory / f"{record_id}.record"

    def write(self, dead: Iterable[DeadRecord]) -> None:
        """Keep records' bytes durably; the same record again replaces.

        In steps over many files at once: the first fsync makes the file system write what the others wait for.
        """
        records = list(dead)
        for start in range(0, len(records), OPEN_AT_ONCE):
            self._write_some(records[start : start + OPEN_AT_ONCE])
        if records:
            descriptor = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _write_some(self, records: Sequence[DeadRecord]) -> None:
        with ExitStack() as stack:
            written: list[tuple[int, Path, Path]] = []
            for record in records:
                path = self.path(record.record_id)
                temporary = path.with_suffix(".tmp")
                descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                stack.callback(os.close, descriptor)
                with os.fdopen(descriptor, "wb", closefd=False) as file:
                    file.write(record.payload)
                written.append((descriptor, temporary, path))
            for descriptor, _, _ in written:
                os.fsync(descriptor)
            for _, temporary, path in written:
                temporary.rename(path)

    def remove(self, record_ids: Iterable[str]) -> None:
        """Forget bytes; absent is fine."""
        for record_id in record_ids:
            self.path(record_id).unlink(missing_ok=True)


async def add(session: AsyncSession, dead: Sequence[DeadRecord], now: int) -> None:
    """Note dead letters, once each; their bytes must lie there already."""
    for record in dead:
        await session.execute(
            upsert(session)(DeadLetterModel)
            .values(
                record_id=record.record_id,
                protocol=record.protocol[:32],
                route=record.route[:32],
                project_id=record.project_id,
                received_at=record.received_at or now,
                created_at=now,
                reason=record.reason,
                detail=record.detail,
                bytes=len(record.payload),
                state="kept",
            )
            .on_conflict_do_nothing(index_elements=["record_id"])
        )


async def count_buried(session: AsyncSession) -> None:
    """A record that killed the decode worker is processed, too: as a dead letter."""
    await add_counts(session, {"records": 1, "dead_letters": 1})


async def waiting_retries(database: Database, limit: int) -> list[Retry]:
    """Dead letters that wait to be tried again, oldest first."""
    async with database.read() as session:
        rows = await session.execute(
            select(DeadLetterModel.id, DeadLetterModel.record_id)
            .where(DeadLetterModel.state == "retrying")
            .order_by(DeadLetterModel.id)
            .limit(limit)
        )
        return [Retry(id=row.id, record_id=row.record_id) for row in rows]


async def retried(session: AsyncSession, letter_id: int) -> None:
    """A retry succeeded."""
    await session.execute(update(DeadLetterModel).where(DeadLetterModel.id == letter_id).values(state="retried"))


async def kept_again(session: AsyncSession, letter_id: int, reason: str, detail: str) -> None:
    """A retry failed: keep it, with the new reason."""
    await session.execute(
        update(DeadLetterModel)
        .where(DeadLetterModel.id == letter_id)
        .values(state="kept", reason=reason, detail=detail)
    )


async def prune(database: Database, files: DeadLetterFiles, *, days: int, max_bytes: int, now: int) -> int:
    """Remove the oldest until the bounds hold, and count them as dropped.

    Args:
        database: the metadata.
        files: the bytes.
        days: how long one is kept.
        max_bytes: how much is kept in all.
        now: µs.

    Returns:
        How many were removed.
    """
    removed = 0
    while True:
        gone = await _prune_some(database, days, max_bytes, now)
        await asyncio.to_thread(files.remove, gone)
        removed += len(gone)
        if len(gone) < PRUNE_AT_ONCE:
            return removed


async def _prune_some(database: Database, days: int, max_bytes: int, now: int) -> list[str]:
    async with database.write() as session:
        totals = await session.execute(
            select(func.count(), func.coalesce(func.sum(DeadLetterModel.bytes), 0)).where(
                DeadLetterModel.state.in_(WAITING)
            )
        )
        count, size = totals.one()
        oldest = await session.scalars(
            select(DeadLetterModel)
            .where(DeadLetterModel.state.in_(WAITING))
            .order_by(DeadLetterModel.created_at, DeadLetterModel.id)
            .limit(PRUNE_AT_ONCE)
        )
        gone: list[str] = []
        drops: list[Drop] = []
        for letter in oldest:
            expired = days > 0 and letter.created_at < now - days * DAY
            if not expired and count <= MAX_KEPT and size <= max_bytes:
                break
            letter.state = "discarded"
            count, size = count - 1, size - letter.bytes
            gone.append(letter.record_id)
            reason = "dead_letter_expired" if expired else "dead_letter_overflow"
            drops.append(Drop(now // DAY, letter.project_id, "pipeline", reason, "other", 1))
        await add_drops(session, drops)
    return gone


async def forget_old(database: Database, before: int) -> int:
    """Remove the rows of dead letters that were retried or discarded, made before a time."""
    async with database.write() as session:
        result = await session.execute(
            delete(DeadLetterModel)
            .where(DeadLetterModel.state.not_in(WAITING), DeadLetterModel.created_at < before)
            .returning(DeadLetterModel.id)
        )
        return len(result.all())
