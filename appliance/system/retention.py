"""Keeping what is stored within `[retention]`: whole days are dropped, by age first, then by bytes.

In bytes the order is replays, spans, measurements, events; when only today is left, payloads stop first.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct

from appliance.config import Retention as Limits
from appliance.hookspecs import BlobStore, Clock, EventStore
from appliance.model import MICROSECONDS

DAY: Final = 86_400 * MICROSECONDS
REPLAYS: Final = "replay_segments"
# Cheapest loss first. Outcomes, page views and sessions are small, and go with what they belong to.
ORDER: Final = (REPLAYS, "spans", "measurements", "page_views", "sessions", "outcomes", "events")
MAX_DROPS: Final = 200  # of one run: more days than that are not there

log = structlog.get_logger(__name__)


class Kept(Struct, frozen=True, kw_only=True):
    """What a run did."""

    dropped_days: int
    dropped_blobs: int
    bytes: int  # of events and replay bodies, afterwards
    full: bool  # only today is left, and it is more than `[retention] bytes`


class Retention:
    """Drops what is too old or too much."""

    def __init__(
        self,
        store: EventStore,
        blobs: BlobStore,
        clock: Clock,
        limits: Limits,
        *,
        oldest_waiting: Callable[[], float] = lambda: 0.0,
        on_full: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Keep these within bounds.

        Args:
            store: events.
            blobs: replay bodies.
            clock: what is today.
            limits: `[retention]`.
            oldest_waiting: age in seconds of the oldest record that is not applied yet: its blobs must stay.
            on_full: told at each run whether payloads must stop.
        """
        self._store = store
        self._blobs = blobs
        self._clock = clock
        self._limits = limits
        self._oldest_waiting = oldest_waiting
        self._on_full = on_full

    async def run(self) -> Kept:
        """Drop what is too old, then what is too much."""
        dropped = 0
        if self._limits.days:
            before = self._clock.now() - self._limits.days * DAY
            for table in ORDER:
                dropped += len(await self._store.drop_before(table, before))
        blobs = await self._delete_blobs()
        size = await self._size()
        for _ in range(MAX_DROPS):
            if not self._limits.bytes or size <= self._limits.bytes or not await self._drop_one():
                break
            dropped += 1
            blobs += await self._delete_blobs()
            size = await self._size()
        full = bool(self._limits.bytes) and size > self._limits.bytes
        self._on_full(full)
        if full:
            log.warning("only today is left and it is over retention.bytes: payloads are not kept", bytes=size)
        return Kept(dropped_days=dropped, dropped_blobs=blobs, bytes=size, full=full)

    async def _drop_one(self) -> bool:
        """The oldest day of the first table that has one before today."""
        for table in ORDER:
            gone = await self._store.drop_oldest(table)
            if gone is not None:
                log.info("retention dropped a day", table=table, partition=gone.partition, rows=gone.rows)
                return True
        return False

    async def _size(self) -> int:
        size = (await self._store.stats()).bytes_on_disk
        async for blob in self._blobs.list("replays/"):
            size += blob.size
        return size

    async def _delete_blobs(self) -> int:
        """Replay bodies of days whose index rows are gone."""
        now = self._clock.now()
        stats = await self._store.stats()
        oldest = next((table.oldest for table in stats.tables if table.table == REPLAYS), 0) or now
        # What waits in the spool may be putting bodies of its own receive day just now.
        first = min(oldest, now - round(self._oldest_waiting() * MICROSECONDS)) // DAY
        keys = [blob.key async for blob in self._blobs.list("replays/") if _day_of(blob.key) < first]
        for key in keys:
            await self._blobs.delete(key)
        return len(keys)


def _day_of(key: str) -> int:
    """Days since the epoch in `replays/PROJECT/YYYY-MM-DD/NAME`; a key without a day is never too old."""
    parts = key.split("/")
    try:
        moment = datetime.strptime(parts[2], "%Y-%m-%d").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return 1 << 40
    return int(moment.timestamp()) // 86_400
