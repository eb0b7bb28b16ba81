"""Applies one decoded batch: leave out, store, record, conclude. Each step may be done again after a crash.

Nothing is dropped because a store does not answer: the step is tried again until it does, and ingest sheds meanwhile by
its watermark. What a store refuses for its content is narrowed down to the record, which becomes a dead letter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError

from appliance.config import Pipeline as Limits
from appliance.hookspecs import BlobStore, Clock, EventStore, IssueChange, StoreRefusedError
from appliance.metadata.database import Database
from appliance.model import ORDINALS_PER_RECORD, Batch
from appliance.pipeline import dead_letters
from appliance.pipeline.batches import (
    Ordinals,
    Work,
    drop_duplicates,
    drop_projects,
    identities,
    keep_rows,
    missing_of,
    part_of,
    project_ids,
    record_indexes,
)
from appliance.pipeline.bounds import HOUR, PayloadBounds
from appliance.pipeline.dead_letters import DeadLetterFiles
from appliance.pipeline.effects import Applied, apply_metadata, live_projects
from appliance.pipeline.wire import DeadRecord

T = TypeVar("T")
RETRY_SECONDS: Final = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0)  # a store that restarts is asked again soon, a dead one seldom
METADATA_TRIES: Final = 3  # of one batch as a whole, when the metadata refuses it for no passing reason
ReadRaw = Callable[[Work, Sequence[int], str, Mapping[int, str]], Awaitable[list[DeadRecord]]]

log = structlog.get_logger(__name__)


class StoppedError(Exception):
    """The pipeline was asked to stop while it waited for a store; the batch is done again at the next start."""


class Applier:
    """The steps behind the decode worker, in order; one batch at a time."""

    def __init__(
        self,
        *,
        database: Database,
        store: EventStore,
        blobs: BlobStore,
        files: DeadLetterFiles,
        limits: Limits,
        clock: Clock,
        stopping: asyncio.Event,
        read_raw: ReadRaw,
        checkpoint: Callable[[str], None],
    ) -> None:
        """Apply to these.

        Args:
            database: the metadata.
            store: events.
            blobs: replay bodies.
            files: bytes of dead letters.
            limits: `[pipeline]`.
            clock: time.
            stopping: set when waiting for a store must end.
            read_raw: makes dead letters of a batch's records by index.
            checkpoint: called with the name of each step that is done; tests raise or kill there.
        """
        self._database = database
        self._store = store
        self._blobs = blobs
        self._files = files
        self._limits = limits
        self._clock = clock
        self._stopping = stopping
        self._read_raw = read_raw
        self._checkpoint = checkpoint
        self.bounds = PayloadBounds(limits.payloads_per_hour_per_issue, limits.payloads_per_hour_per_project)
        self.waiting_for = ""  # what does not answer, in words; "" when nothing is waited for

    async def apply(self, work: Work) -> list[IssueChange]:
        """Store a batch and record it; returns what it changed, after commit.

        Raises:
            StoppedError: stopped while waiting for a store.
        """
        live = await self._patiently("the metadata", lambda: live_projects(self._database, project_ids(work)))
        drop_projects(work, project_ids(work) - live)
        await self._drop_duplicates(work)
        self.bounds.apply(work.batch.events)
        self._checkpoint("prepared")
        if record_indexes(work.batch):
            await self._put_blobs(work)
            self._checkpoint("blobs")
            await self._store_rows(work)
            self._checkpoint("stored")
        if work.dead and work.retry is None:
            await self._patiently("the dead letters' disk", lambda: asyncio.to_thread(self._files.write, work.dead))
        self._checkpoint("dead_letters")
        applied = await self._record(work)
        self._checkpoint("recorded")
        await self._tidy_dead_letters(work)
        return applied.changes

    async def _drop_duplicates(self, work: Work) -> None:
        ids = list(dict.fromkeys(identities(work.batch)))
        seen: frozenset[tuple[int, str, str]] = frozenset()
        if ids:
            since = work.received[0] - self._limits.duplicate_window_hours * HOUR
            seen = await self._patiently(
                "the event store", lambda: self._store.seen(ids, since=since, ignore_batch=work.batch.batch_id)
            )
        drop_duplicates(work, seen)

    async def _put_blobs(self, work: Work) -> None:
        """Bodies before the rows that name them. A body whose row is stored already lies there already."""
        stored = frozenset[int]()
        if work.recovered and work.blobs:
            stored = (await self._present(work.batch, work.received)).get("replay_segments", stored)
        wanted = {row.blob_key for row in work.batch.replay_segments if row.ordinal not in stored}
        for blob in work.blobs:
            if blob.key in wanted:
                await self._patiently("the blob store", lambda blob=blob: self._blobs.put(blob.key, blob.body))

    # ── the event store ──

    async def _store_rows(self, work: Work) -> None:
        try:
            await self._write(work.batch, work.received, ask=work.recovered)
        except StoreRefusedError as error:
            await self._store_apart(work, error)

    async def _write(self, batch: Batch, received: tuple[int, int], *, ask: bool) -> None:
        """Write until it is stored; from the second try on only what is missing."""

        async def once() -> None:
            nonlocal ask
            missing = missing_of(batch, await self._store.present(batch.batch_id, received)) if ask else None
            ask = True
            await self._store.write(batch, missing)

        await self._patiently("the event store", once)

    async def _store_apart(self, work: Work, error: StoreRefusedError) -> None:
        """Store what can be; what is refused alone becomes a dead letter."""
        refused: dict[int, str] = {}
        windows = [(record_indexes(work.batch), str(error))]
        while windows:
            records, why = windows.pop()
            if len(records) == 1:
                refused[records[0]] = why
                continue
            middle = len(records) // 2
            for part in (records[:middle], records[middle:]):
                try:
                    await self._write(part_of(work.batch, part), work.received, ask=True)
                except StoreRefusedError as narrower:
                    windows.append((part, str(narrower)))
        log.warning("event store refused records", records=len(refused), reason=next(iter(refused.values()), ""))
        present = await self._present(work.batch, work.received)
        keep_rows(
            work.batch,
            lambda table, row: (
                row.ordinal // ORDINALS_PER_RECORD not in refused or row.ordinal in present.get(table, frozenset[int]())
            ),
        )
        work.dead += await self._read_raw(work, sorted(refused), "refused_by_store", refused)

    async def is_stored(self, batch_id: int, record: DeadRecord) -> bool:
        """Whether rows of a record are there, as this batch's."""
        received = (record.received_at, max(record.received_at, self._clock.now()))
        present = await self._store.present(batch_id, received)
        return any(at // ORDINALS_PER_RECORD == record.index for found in present.values() for at in found)

    async def _present(self, batch: Batch, received: tuple[int, int]) -> Ordinals:
        return await self._patiently("the event store", lambda: self._store.present(batch.batch_id, received))

    # ── the metadata ──

    async def _record(self, work: Work) -> Applied:
        refusals = 0

        async def once() -> Applied:
            nonlocal refusals
            apart = refusals >= METADATA_TRIES
            try:
                return await apply_metadata(self._database, work, self._limits, self._clock.now(), one_by_one=apart)
            except (OperationalError, InterfaceError, OSError):  # passing: locked, unreachable, disk full
                raise
            except Exception:
                refusals += 1
                raise

        applied = await self._patiently("the metadata", once)
        if applied.refused:
            dead = await self._read_raw(work, sorted(applied.refused), "refused_by_metadata", applied.refused)
            await asyncio.to_thread(self._files.write, dead)
            async with self._database.write() as session:
                await dead_letters.add(session, dead, self._clock.now())
        return applied

    async def _tidy_dead_letters(self, work: Work) -> None:
        if work.retry is not None and not work.dead:
            await asyncio.to_thread(self._files.remove, [work.retry.record_id])
        elif work.dead:
            await dead_letters.prune(
                self._database,
                self._files,
                days=self._limits.dead_letter_days,
                max_bytes=self._limits.dead_letter_max_bytes,
                now=self._clock.now(),
            )

    # ── patience ──

    async def _patiently(self, what: str, action: Callable[[], Awaitable[T]]) -> T:
        """Do something until it succeeds; a refusal is raised at once."""
        attempt = 0
        while True:
            try:
                result = await action()
            except StoreRefusedError:
                raise
            except Exception as error:
                if self._stopping.is_set():
                    raise StoppedError(what) from error
                self._complain(what, error, attempt)
                await self._pause(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)], what)
                attempt += 1
            else:
                self.waiting_for = ""
                return result

    def _complain(self, what: str, error: Exception, attempt: int) -> None:
        self.waiting_for = f"{what}: {error}"[:500]
        if attempt in (0, len(RETRY_SECONDS)):  # at once, and once more when it is not over soon
            log.warning("pipeline waits", what=what, error=f"{type(error).__name__}: {error}", exc_info=attempt > 0)

    async def _pause(self, seconds: float, what: str) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
        raise StoppedError(what)
