"""Brings a database to the schema this version needs: in order, once each, safe to run again after a crash."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.hookspecs import EventStoreError

from .engine import Engine
from .schema import MIGRATIONS, Migration

# What an operator changes in config.toml and a table keeps as a setting of its own.
TABLES_WITH_RESERVE: Final = (
    "events", "event_ids", "measurements", "page_views", "sessions", "spans", "replay_segments", "outcomes",
)  # fmt: skip

_CREATE_LOG: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (version UInt32, name String, applied_at DateTime64(6, 'UTC'))
    ENGINE = MergeTree ORDER BY version SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""
# Which older programs may go on with what a step left: they ask this, since they do not know the step.
_WIDEN_LOG: Final = "ALTER TABLE schema_migrations ADD COLUMN IF NOT EXISTS readable_from UInt32 DEFAULT version"


async def migrate(engine: Engine, now: int, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Apply what is missing.

    Args:
        engine: a started engine.
        now: µs, for the record of when a step was taken.
        migrations: in order of their versions.

    Returns:
        The version that the database now has: a newer one than this program knows, where that step allows it.

    Raises:
        EventStoreError: a newer version of the appliance wrote this database, and this one cannot read it.
    """
    await engine.maintain("making the table of migrations", _CREATE_LOG)
    await engine.maintain("making the table of migrations", _WIDEN_LOG)
    done = await applied_versions(engine)
    newest = migrations[-1].version
    if done and max(done) > newest:
        if await _readable_from(engine) <= newest:
            return max(done)
        raise EventStoreError(
            f"The event store has schema version {max(done)}, this program knows {newest}: it was written by a newer "
            "version, in a way that this one cannot read. Install that version again, or restore a backup of this one."
        )
    for migration in migrations:
        if migration.version not in done:
            await _apply(engine, migration, now)
    return newest


async def applied_versions(engine: Engine) -> frozenset[int]:
    """The versions whose steps were all taken."""
    rows = await engine.query("reading the schema's version", "SELECT DISTINCT version FROM schema_migrations")
    return frozenset(int(version) for (version,) in rows)


async def _readable_from(engine: Engine) -> int:
    """The least version a program must know to work with this database."""
    rows = await engine.query("reading the schema's version", "SELECT max(readable_from) FROM schema_migrations")
    return int(rows[0][0])


async def _apply(engine: Engine, migration: Migration, now: int) -> None:
    for statement in migration.statements:
        await engine.maintain(f"migrating to version {migration.version} ({migration.name})", statement)
    # Recorded last: a crash before this runs the statements again, and each of them allows that.
    await engine.maintain(
        f"recording version {migration.version}",
        "INSERT INTO schema_migrations (version, name, applied_at, readable_from) "
        "SELECT {version:UInt32}, {name:String}, fromUnixTimestamp64Micro({now:Int64}, 'UTC'), {readable:UInt32}",
        {
            "version": migration.version,
            "name": migration.name,
            "now": now,
            "readable": migration.readable_from or migration.version,
        },
    )


async def set_disk_reserve(engine: Engine, reserve: int) -> None:
    """Have inserts refused, to be tried again later, while the disk has less than `reserve` bytes free."""
    found = await engine.query(
        "reading the tables' settings",
        "SELECT name, engine_full FROM system.tables "
        "WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        {"names": list(TABLES_WITH_RESERVE)},
    )
    setting = f"min_free_disk_bytes_to_perform_insert = {reserve:d}"
    for name, definition in found:
        if not reserve and "min_free_disk_bytes_to_perform_insert" not in definition:
            continue
        if not f"{definition},".count(f"{setting},"):
            await engine.maintain("setting the disk reserve", f"ALTER TABLE {name} MODIFY SETTING {setting}")
