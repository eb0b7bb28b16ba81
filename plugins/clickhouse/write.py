"""Storing batches, exactly once in effect, and asking what is stored: `write`, `present`, `seen`.

The order matters: `event_ids` comes last, so that it never claims an event that is absent. Killed in between, the batch
is done again under the same `batch_id`, and each table is asked which ordinals it has.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final, cast

from appliance.model import TABLES, Batch

from .engine import Client, Engine
from .errors import is_memory_refusal, translate
from .known_ids import KnownIds
from .rows import Columns, blocks, id_blocks, id_hash, rows_of

MEMORY_PATIENCE: Final = 30.0  # seconds for which an insert refused for memory is tried in smaller blocks
FIRST_WAIT: Final = 0.05  # seconds; merges give memory back within a few of these
LONGEST_WAIT: Final = 2.0
IDS_PER_QUERY: Final = 2_000  # 42 KB of digits; servers take form fields up to 128 KB


class Writer:
    """Writes through the engine's one writing client."""

    def __init__(self, engine: Engine, known: KnownIds | None = None) -> None:
        """Args: engine: started. known: told of each id before it is stored; None where others write too."""
        self._engine = engine
        self._known = known

    async def write(self, batch: Batch, missing: Mapping[str, frozenset[int]] | None) -> None:
        """Store a batch, or of it only what is `missing`."""
        stored = await self._stored_ids(batch) if missing is not None else frozenset[int]()
        # In another thread: the dashboard's requests are answered in this one, and 1,000 rows take 10 ms.
        work = await asyncio.to_thread(_columns, batch, missing, stored)
        settings = self._engine.insert_settings(batch.batch_id)
        self._note(work)
        try:
            for block in work:
                await self._engine.run(
                    "write", f"writing to {block.table}", lambda c, b=block: self._insert(c, b, settings)
                )
        finally:
            self._note(work)

    def _note(self, work: Sequence[Columns]) -> None:
        for block in work:
            if self._known is not None and block.table == "event_ids":
                self._known.add(cast("Sequence[int]", block.data[0]))

    def _insert(self, client: Client, block: Columns, settings: dict[str, object]) -> None:
        """Insert a block; refused for memory, in ever smaller ones: nothing is dropped for want of memory."""
        pending = deque([block])
        wait, deadline = FIRST_WAIT, time.monotonic() + MEMORY_PATIENCE
        while pending:
            part = pending.popleft()
            try:
                self._insert_once(client, part, settings)
            except Exception as error:
                if not is_memory_refusal(error) or time.monotonic() > deadline:
                    raise translate(error, f"writing {part.count} rows to {part.table}") from error
                pending.extendleft(reversed(part.halves() if part.count > 1 else (part,)))
                time.sleep(wait)  # in the writing thread; merges that hold the memory go on meanwhile
                wait = min(wait * 2, LONGEST_WAIT)

    def _insert_once(self, client: Client, block: Columns, settings: dict[str, object]) -> None:
        self._engine.insert(client, block, settings)

    async def _stored_ids(self, batch: Batch) -> frozenset[int]:
        times = [row.received_at for rows in (batch.events, batch.measurements, batch.page_views) for row in rows]
        if not times:
            return frozenset()
        found = await present(self._engine, ("event_ids",), batch.batch_id, (min(times), max(times)))
        return found["event_ids"]


def _columns(batch: Batch, missing: Mapping[str, frozenset[int]] | None, stored: frozenset[int]) -> list[Columns]:
    """The blocks of a batch, or of what is `missing` of it; `stored`: the ordinals whose ids are there already."""
    work: list[Columns] = []
    for table in TABLES:
        rows = rows_of(batch, table)
        if missing is not None:
            wanted = missing.get(table, frozenset())
            rows = [row for row in rows if row.ordinal in wanted]  # pyright: ignore[reportAttributeAccessIssue]
        if rows:
            work.extend(blocks(table, rows, batch.batch_id))
    work.extend(id_blocks(batch, lambda ordinal: ordinal not in stored))
    return work


async def present(
    engine: Engine, tables: Sequence[str], batch_id: int, received: tuple[int, int]
) -> Mapping[str, frozenset[int]]:
    """Which ordinals each of `tables` has of a batch whose rows were received within [start, end] µs."""
    of_batch = """
        batch_id = {batch:UInt128}
        AND received_at >= fromUnixTimestamp64Micro({start:Int64}, 'UTC')
        AND received_at <= fromUnixTimestamp64Micro({end:Int64}, 'UTC')
    """
    sql = " UNION ALL ".join(f"SELECT '{table}', ordinal FROM {table} WHERE {of_batch}" for table in tables)
    parameters = {"batch": batch_id, "start": received[0], "end": received[1]}
    found: dict[str, set[int]] = {table: set() for table in tables}
    for table, ordinal in await engine.query("asking what is stored of a batch", sql, parameters):
        found[table].add(int(ordinal))
    return {table: frozenset(ordinals) for table, ordinals in found.items()}


async def seen(
    engine: Engine,
    ids: Sequence[tuple[int, str, str]],
    since: int,
    ignore_batch: int,
    known: KnownIds | None = None,
) -> frozenset[tuple[int, str, str]]:
    """Which of the (project_id, kind, id) other batches stored since a time; `known` spares asking for most."""
    sql = """
        SELECT project_id, kind, id FROM event_ids
        WHERE id_hash IN {hashes:Array(UInt64)} AND batch_id != {batch:UInt128}
        AND received_at >= fromUnixTimestamp64Micro({since:Int64}, 'UTC')
    """
    wanted = frozenset(ids)
    hashes = sorted({id_hash(*one) for one in wanted})
    if known is not None and hashes:
        hashes = known.unsure(hashes, since)
    found: set[tuple[int, str, str]] = set()
    for start in range(0, len(hashes), IDS_PER_QUERY):
        parameters = {"hashes": hashes[start : start + IDS_PER_QUERY], "batch": ignore_batch, "since": since}
        rows = await engine.query("looking for duplicates", sql, parameters)
        found.update((int(project), str(kind), str(identity)) for project, kind, identity in rows)
    return wanted & found
