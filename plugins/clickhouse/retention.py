"""Dropping whole days, and the figures by which retention and the System page go."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from appliance.hookspecs import Dropped, StoreStats, StoreUnavailableError, TableStats
from appliance.model import MICROSECONDS, TABLES

from .engine import Client, Engine, select
from .engine_embedded import read_settings
from .rows import DAY
from .summaries import SummaryState

ALL_TABLES: Final = (*TABLES, "event_ids", "issue_summary", "measurement_hours")
WITH_IDS: Final = ("events", "measurements", "page_views")  # whose rows stand in `event_ids`
SHOWN_SETTINGS: Final = (
    "max_server_memory_usage", "max_memory_usage", "max_threads", "mark_cache_size", "background_pool_size",
    "merges_mutations_memory_usage_soft_limit", "max_bytes_before_external_group_by", "max_execution_time",
)  # fmt: skip


class Retention:
    """Drops days of tables."""

    def __init__(self, engine: Engine, states: Mapping[str, SummaryState]) -> None:
        """Args: states: base table → what is believed of its summary."""
        self._engine = engine
        self._states = states

    async def drop_before(self, table: str, received_before: int) -> list[Dropped]:
        """Drop the days of a table that lie wholly before a time."""
        _check(table)
        days = await self._days(table)
        dropped = [await self._drop(table, day, days[day]) for day in sorted(days) if day + DAY <= received_before]
        if table in WITH_IDS:
            await self._drop_orphaned_ids(received_before)
        return dropped

    async def drop_oldest(self, table: str, now: int) -> Dropped | None:
        """Drop a table's oldest day, never the one of `now` or a later one."""
        _check(table)
        days = await self._days(table)
        past = [day for day in sorted(days) if day < now // DAY * DAY]
        if not past:
            return None
        dropped = await self._drop(table, past[0], days[past[0]])
        if table in WITH_IDS:
            await self._drop_orphaned_ids(past[0] + DAY)
        return dropped

    async def _days(self, table: str) -> dict[int, tuple[int, int]]:
        """Received day (µs) → rows and bytes. Raises `StoreUnavailableError` when the table is not there."""
        # In the maintenance thread: the disk guard detaches and attaches a table within one call there, so between the
        # two looks nothing is detached. A detached table has no parts listed, which is not to say that it is empty.
        return await self._engine.run("maintain", "looking at the days kept", lambda client: _days(client, table))

    async def _drop(self, table: str, day: int, size: tuple[int, int]) -> Dropped:
        state, hours = self._states.get(table), list[int]()
        if state is not None:
            hours = await self._hours_received(table, day)
            state.touch(hours)
        await self._drop_partition(table, day)
        if state is not None:
            state.touch(hours)
        return Dropped(table=table, partition=_name_of(day), rows=size[0], bytes_on_disk=size[1])

    async def _drop_partition(self, table: str, day: int) -> None:
        await self._engine.maintain(
            f"dropping a day of {table}", f"ALTER TABLE {table} DROP PARTITION '{_name_of(day)}'"
        )

    async def _hours_received(self, table: str, day: int) -> list[int]:
        sql = f"""
            SELECT DISTINCT toInt64(toUnixTimestamp(toStartOfHour(timestamp))) * 1000000 FROM {table}
            WHERE toDate(received_at) = toDate('{_name_of(day)}')
        """
        return [int(hour) for (hour,) in await self._engine.query("looking at a day to drop", sql)]

    async def _drop_orphaned_ids(self, before: int) -> None:
        """Drop the ids of days of which nothing is kept: they could only call a new event a duplicate of nothing.

        All days that lie before a time, not only those just dropped: a kill in between leaves ids behind.
        """
        orphaned = {day for day in await self._days("event_ids") if day + DAY <= before}
        for table in WITH_IDS if orphaned else ():
            orphaned -= (await self._days(table)).keys()
        for day in sorted(orphaned):
            await self._drop_partition("event_ids", day)


async def stats(engine: Engine, schema_version: int) -> StoreStats:
    """Sizes, memory and settings."""
    sizes = """
        SELECT table, sum(rows), sum(bytes_on_disk), count() FROM system.parts
        WHERE database = currentDatabase() AND active GROUP BY table
    """
    found = {str(name): row for name, *row in await engine.query("measuring the tables", sizes)}
    oldest_sql = " UNION ALL ".join(
        f"SELECT '{table}', toUnixTimestamp64Micro(min(received_at)), count() FROM {table}"
        for table in (*TABLES, "event_ids")
    )
    oldest = {
        str(name): int(at) if rows else 0
        for name, at, rows in await engine.query("looking for the oldest rows", oldest_sql)
    }
    version = await engine.query("asking the version", "SELECT version()")
    memory = await engine.query(
        "reading the memory", "SELECT toInt64(value) FROM system.metrics WHERE metric = 'MemoryTracking'"
    )
    settings = await engine.run("read", "reading settings", lambda client: read_settings(client, SHOWN_SETTINGS))
    tables = tuple(
        TableStats(table=name, rows=row[0], bytes_on_disk=row[1], oldest=oldest.get(name, 0), parts=row[2])
        for name, row in ((name, found.get(name, [0, 0, 0])) for name in ALL_TABLES)
    )
    return StoreStats(
        backend=f"clickhouse ({engine.name})",
        version=str(version[0][0]),
        schema_version=schema_version,
        tables=tables,
        bytes_on_disk=sum(table.bytes_on_disk for table in tables),
        memory_bytes=max(0, int(memory[0][0])) if memory else 0,
        memory_limit_bytes=int(settings.get("max_server_memory_usage", "0")),
        settings=settings,
        notes=engine.notes,
    )


def _days(client: Client, table: str) -> dict[int, tuple[int, int]]:
    is_there = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name = {table:String}"
    if not select(client, is_there, {"table": table})[0][0]:
        raise StoreUnavailableError(
            f"The event store's table {table} is not there now, so nothing of its days is dropped: it is tried again. "
            "If it stays so, restart the appliance, which migrates."
        )
    sql = """
        SELECT partition, sum(rows), sum(bytes_on_disk) FROM system.parts
        WHERE database = currentDatabase() AND table = {table:String} AND active GROUP BY partition
    """
    found = select(client, sql, {"table": table})
    return {_day_of(partition): (int(count), int(size)) for partition, count, size in found}


def _check(table: str) -> None:
    if table not in TABLES:
        raise ValueError(f"no table {table!r}: it must be one of {', '.join(TABLES)}")


def _day_of(partition: str) -> int:
    at = datetime.strptime(partition.strip("'"), "%Y-%m-%d").replace(tzinfo=UTC)
    return int(at.timestamp()) * MICROSECONDS


def _name_of(day: int) -> str:
    return datetime.fromtimestamp(day // MICROSECONDS, UTC).strftime("%Y-%m-%d")
