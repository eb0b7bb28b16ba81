"""Keeps the embedded engine from losing data on a disk that runs full.

The engine refuses an insert when the disk is short, but not a merge that is under way, and what it meets in the middle
of writing it does not always notice: measured, one merge in fifteen on a disk that filled up meanwhile was committed
with empty files, in place of the good parts that it came from. Those stay beside it for eight minutes, and the engine
goes back to them when it loads the table. So: while the disk is short nothing is merged, and whenever it gets short or
has room again the tables are loaded anew, which puts every damaged part aside.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence
from typing import Final

from appliance.hookspecs import EventStoreError, StoreUnavailableError

from .config import MIB
from .engine import Client
from .engine_embedded import EmbeddedEngine

LOOK_SECONDS: Final = 0.25  # a disk that takes 400 MB/s uses 100 MB between two looks: less than the usual reserve
ENOUGH: Final = 1.25  # times the reserve must be free before merges go on; not to begin and stop every second
ATTACH_SECONDS: Final = 30.0  # a query that still uses the old table ends within its own 10
ATTACH_PAUSE: Final = 0.1


class DiskGuard:
    """Watches the free space of one engine's directory."""

    def __init__(self, engine: EmbeddedEngine, tables: Sequence[str], reserve: int) -> None:
        """Watch nothing yet.

        Args:
            engine: started before `start`.
            tables: those that hold data.
            reserve: bytes of free space below which the disk is short; 0: never.
        """
        self.reserve = reserve
        self.is_short = False
        self._engine = engine
        self._tables = tables
        self._task: asyncio.Task[None] | None = None
        self._mending = asyncio.Lock()
        self._torn = False  # loading anew began and did not end: a table may be detached, or merge when it should not

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of the disk."""
        if not self.is_short:
            return ()
        return (
            f"The disk has less than {self.reserve // MIB:,} MiB free: nothing is written or merged until it has more. "
            "Free some space, or lower [retention] bytes.",
        )

    async def start(self) -> None:
        """Begin to watch."""
        if self.reserve:
            self._task = asyncio.create_task(self._watch(), name="clickhouse-disk-guard")

    async def stop(self) -> None:
        """No longer watch."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def look(self) -> None:
        """One look at the disk, and what follows from it.

        Raises:
            StoreUnavailableError: it could not be done; look again.
        """
        async with self._mending:
            free = self._free()
            if not self.is_short and free < self.reserve:
                await self._stop_and_load_anew()
            elif self.is_short and free >= self.reserve * ENOUGH:
                await self._load_anew(merging=True)
                self.is_short = False
            elif self._torn:
                await self._load_anew(merging=not self.is_short)

    async def after_write(self) -> None:
        """To be called when rows were written.

        Raises:
            StoreUnavailableError: the disk got short meanwhile, so what of them is there has to be asked.
        """
        if self._free() >= self.reserve:
            return
        async with self._mending:
            await self._stop_and_load_anew()
        raise StoreUnavailableError(
            "The event store's disk got short of room while rows were written: free some space, or lower "
            "[retention] bytes. What is there of them is looked at again."
        )

    def _free(self) -> int:
        stats = os.statvfs(self._engine.path)
        return stats.f_bavail * stats.f_frsize

    async def _watch(self) -> None:
        while True:
            with contextlib.suppress(EventStoreError, OSError):  # the next look does it; the store says what is wrong
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _stop_and_load_anew(self) -> None:
        self.is_short = True  # first of all: whatever of this is done or fails, the look that finds room makes it good
        await self._engine.maintain("stopping merges", "SYSTEM STOP MERGES")  # also those under way
        await self._load_anew(merging=False)

    async def _load_anew(self, *, merging: bool) -> None:
        self._torn = True
        for table in self._tables:
            await self._engine.run("maintain", f"loading {table} anew", lambda c, t=table: _load(c, t, merging=merging))
        self._torn = False


def _load(client: Client, table: str, *, merging: bool) -> None:
    """Detach and attach one table, which merges from then on or does not; in the maintenance thread."""
    client.command(f"DETACH TABLE IF EXISTS {table}")
    deadline = time.monotonic() + ATTACH_SECONDS
    while True:
        try:
            client.command(f"ATTACH TABLE IF NOT EXISTS {table}")
        except Exception:
            if time.monotonic() > deadline:
                raise
            time.sleep(ATTACH_PAUSE)  # a query still holds what was detached
        else:
            break
    if not merging:
        client.command(f"SYSTEM STOP MERGES {table}")
