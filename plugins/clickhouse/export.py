"""Backups of the tables, by SQL alone, so that the embedded engine and a server give and take the same.

An export makes a hard-linked copy of each table, which takes milliseconds and no room, reads it at leisure and drops
it. Summaries are left out: they are made again from base rows.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, cast

from msgspec import Struct

from appliance.hookspecs import EventStoreError, JsonObject, StoreChunk, StoreExport
from appliance.model import TABLES

from .config import MIB
from .engine import Client, Engine, quote, select
from .errors import is_memory_refusal, translate
from .rows import COLUMNS
from .schema import SCHEMA_VERSION

EXPORTED: Final = (*TABLES, "event_ids")
PREFIX: Final = "backup_of_"
CHUNK_BYTES: Final = 4 * MIB  # of rows as the engine counts them: three of these are in memory at once
MAX_CHUNK_ROWS: Final = 65_536
# Parts of the copy must stay as they are: rows are read by their place in a part. And nobody needs it after a crash.
_COPY_SETTINGS: Final = (
    "max_bytes_to_merge_at_max_space_in_pool = 1, max_bytes_to_merge_at_min_space_in_pool = 1, "
    "fsync_after_insert = 0, fsync_part_directory = 0"
)
MEMORY_WAITS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds; merges take as long
GROW_AFTER: Final = 8  # reads in a row before more rows are asked for again: where rows are large, few are refused
_FORMAT: Final = "clickhouse-native"
_COPIES: Final = (
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND startsWith(name, {prefix:String})"
)
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}")


class _Part(Struct, frozen=True):
    name: str
    rows: int
    bytes: int  # before compression


class ClickHouseExport(StoreExport):
    """The hard-linked copies, and how to read them."""

    def __init__(self, engine: Engine, parts: Mapping[str, Sequence[_Part]]) -> None:
        """Not for callers: `take` makes the copies."""
        self._engine = engine
        self._parts = parts
        self.closed = False
        self.rows = {table: sum(part.rows for part in found) for table, found in parts.items()}
        self.description: JsonObject = {
            "format": _FORMAT,
            "schema_version": SCHEMA_VERSION,
            "columns": {table: list(COLUMNS[table]) for table in EXPORTED},
        }

    @classmethod
    async def take(cls, engine: Engine) -> ClickHouseExport:
        """Copy every table as it is now. When it fails, the caller has to drop what there is of copies."""
        await drop_copies(engine)
        for table in EXPORTED:
            copy = PREFIX + table
            doing = f"making a copy of {table} to back up"
            await engine.maintain(doing, f"CREATE TABLE {copy} AS {table}")
            await engine.maintain(doing, f"ALTER TABLE {copy} MODIFY SETTING {_COPY_SETTINGS}")
            await engine.maintain(doing, f"ALTER TABLE {copy} ATTACH PARTITION ALL FROM {table}")
        return cls(engine, await _parts(engine))

    async def chunks(self) -> AsyncIterator[StoreChunk]:
        """All rows, part by part."""
        for table, parts in self._parts.items():
            for part in parts:
                async for chunk in self._chunks_of(table, part):
                    yield chunk

    async def _chunks_of(self, table: str, part: _Part) -> AsyncIterator[StoreChunk]:
        full = max(1, min(MAX_CHUNK_ROWS, CHUNK_BYTES * part.rows // max(1, part.bytes)))
        step, start, read, refused = full, 0, 0, 0  # the last two: reads and refusals in a row
        while start < part.rows:
            end = min(part.rows, start + step)
            body = await self._engine.run(
                "export",
                f"reading {table}",
                lambda c, s=start, e=end: _read(c, table, part.name, s, e),
            )
            if body is None:  # these rows are much larger than the others, or others hold the memory for a moment
                if step == 1 and refused >= len(MEMORY_WAITS):
                    raise EventStoreError(
                        f"One row of {table} needs more memory to be read than ClickHouse has: back up when it has "
                        "less to do, or raise [plugins.clickhouse] query_memory and server_memory."
                    )
                await asyncio.sleep(MEMORY_WAITS[min(refused, len(MEMORY_WAITS) - 1)])
                step, read, refused = max(1, step // 4), 0, refused + 1
                continue
            yield StoreChunk(table=table, rows=end - start, body=body)
            start, read, refused = end, read + 1, 0
            if read % GROW_AFTER == 0:
                step = min(full, step * 2)

    async def close(self) -> None:
        """Drop the copies."""
        self.closed = True
        await drop_copies(self._engine)


async def drop_copies(engine: Engine) -> None:
    """Drop the copies of an export that has ended, however it did."""
    doing = "looking for copies of a backup"
    # In the maintenance thread: behind a copy that is just being made there for somebody who waits no longer.
    for (name,) in await engine.run("maintain", doing, lambda client: select(client, _COPIES, {"prefix": PREFIX})):
        await engine.maintain("dropping a copy of a backup", f"DROP TABLE IF EXISTS {quote(str(name))} SYNC")


async def load(engine: Engine, description: JsonObject, chunks: AsyncIterator[StoreChunk]) -> None:
    """Replace the rows of all tables.

    Raises:
        EventStoreError: these are rows of another kind of store, or of a newer version.
    """
    columns = _columns_of(description)
    for table in (*EXPORTED, "issue_summary", "measurement_hours"):
        await engine.maintain(f"emptying {table}", f"TRUNCATE TABLE {table} SYNC")
    async for chunk in chunks:
        names = columns.get(chunk.table)
        if names is None:
            raise EventStoreError(f"The backup has rows of {chunk.table!r}, a table that it does not describe.")
        await _insert(engine, chunk, names)


async def _insert(engine: Engine, chunk: StoreChunk, names: Sequence[str]) -> None:
    """Insert a chunk; refused for memory, again when merges have given some back."""
    for wait in (*MEMORY_WAITS, None):
        try:
            await engine.run(
                "write", f"loading {chunk.table}", lambda c: engine.insert_raw(c, chunk.table, names, chunk.body)
            )
        except EventStoreError as error:
            if wait is None or error.__cause__ is None or not is_memory_refusal(error.__cause__):
                raise
            await asyncio.sleep(wait)
        else:
            return


def _columns_of(description: JsonObject) -> dict[str, list[str]]:
    if description.get("format") != _FORMAT:
        raise EventStoreError(
            f"The backup's events are not ClickHouse's but {description.get('format')!r}: "
            "set [storage] backend to the plugin that made them."
        )
    version = description.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise EventStoreError(
            f"The backup's events have schema version {version}, this program knows {SCHEMA_VERSION}: "
            "restore it with the version that made it, or a newer one."
        )
    columns = cast("dict[str, list[str]]", description.get("columns") or {})
    for table, names in columns.items():
        if table not in EXPORTED or not all(_NAME.fullmatch(name) for name in names):
            raise EventStoreError(f"The backup describes a table {table!r} that the event store does not have.")
    return columns


async def _parts(engine: Engine) -> dict[str, list[_Part]]:
    sql = """
        SELECT table, name, rows, data_uncompressed_bytes FROM system.parts
        WHERE database = currentDatabase() AND startsWith(table, {prefix:String}) AND active AND rows > 0
        ORDER BY table, name
    """
    found: dict[str, list[_Part]] = {table: [] for table in EXPORTED}
    for table, name, rows, size in await engine.query("looking at what to back up", sql, {"prefix": PREFIX}):
        found[str(table).removeprefix(PREFIX)].append(_Part(str(name), int(rows), int(size)))
    return found


def _read(client: Client, table: str, part: str, start: int, end: int) -> bytes | None:
    """Rows by their place in a part; None when they do not fit into memory."""
    sql = f"""
        SELECT {", ".join(map(quote, COLUMNS[table]))} FROM {PREFIX}{table}
        WHERE _part = {{part:String}} AND _part_offset >= {{start:UInt64}} AND _part_offset < {{end:UInt64}}
    """
    try:
        return client.raw_query(sql, {"part": part, "start": start, "end": end}, fmt="Native")
    except Exception as error:
        if is_memory_refusal(error):
            return None
        raise translate(error, f"reading {table} for a backup") from error
