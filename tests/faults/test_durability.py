"""What is said to be on disk is: the settings in force, read back, and a disk that would show a missing sync.

That acknowledged records survive power cuts is tried in tests/spool/test_recovery.py, on a disk that forgets.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from sqlalchemy import text

from appliance.metadata.database import Database
from appliance.model import TABLES
from appliance.spool import SpoolError, SpoolReader, SpoolWriter, read_records
from appliance.testing.clock import FakeClock
from appliance.testing.databases import temporary_database
from appliance.testing.files import PowerCutFiles
from appliance.testing.rows import NOW
from condev_plugins.clickhouse.testing import temporary_store

SYNCED = {"fsync_after_insert": "1", "fsync_part_directory": "1"}
MERGED = {"min_rows_to_fsync_after_merge": "1", "min_compressed_bytes_to_fsync_after_merge": "1"}


async def test_every_event_table_syncs_its_parts_before_an_insert_is_acknowledged_and_before_merged_ones_go(
    tmp_path: Path,
) -> None:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        sql = "SELECT name, engine_full FROM system.tables WHERE database = currentDatabase()"
        made = {str(name): str(engine) for name, engine in await store.engine.query("reading tables", sql)}
        defaults = "SELECT name, value FROM system.merge_tree_settings WHERE name LIKE '%fsync%'"
        known = {str(name) for name, _ in await store.engine.query("reading settings", defaults)}
    assert known >= SYNCED.keys() | MERGED.keys()
    assert {*TABLES, "event_ids"} <= made.keys()
    for name in (*TABLES, "event_ids"):
        for setting, value in {**SYNCED, **MERGED}.items():
            assert f"{setting} = {value}" in made[name], name


async def test_sqlite_syncs_each_commit_on_every_connection(tmp_path: Path) -> None:
    async with temporary_database("sqlite", tmp_path) as database:
        connections = [await _pragmas(database) for _ in range(3)]
        async with database.write() as session:
            connections.append(
                {name: (await session.execute(text(f"PRAGMA {name}"))).scalar() for name in connections[0]}
            )
    assert connections == [{"synchronous": 2, "journal_mode": "wal"}] * 4  # 2 = FULL


async def _pragmas(database: Database) -> dict[str, object]:
    async with database.engine.connect() as connection:
        return {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar()
            for name in ("synchronous", "journal_mode")
        }


@pytest.mark.parametrize("forgotten", ["sync", "sync_directory"])
async def test_the_disk_that_forgets_would_show_a_spool_that_forgot_to_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    """The proof that the spool's power cut tests can fail."""
    lost = 0
    for seed in range(20):
        files = PowerCutFiles(seed)
        with monkeypatch.context() as patched:
            if forgotten == "sync":
                patched.setattr("appliance.testing.files._Handle.sync", lambda self: None)
            else:
                patched.setattr(PowerCutFiles, "sync_directory", lambda self, path: None)
            writer = SpoolWriter.open(tmp_path / "spool", max_bytes=1 << 20, min_free_bytes=0, files=files)
            await writer.append(b"acknowledged")
            await writer.close()
        files = files.power_cut()
        with contextlib.suppress(OSError, SpoolError):
            await SpoolWriter.open(tmp_path / "spool", max_bytes=1 << 20, min_free_bytes=0, files=files).close()
        lost += b"acknowledged" not in _read_all(tmp_path / "spool", files)
    assert lost > 0


def _read_all(directory: Path, files: PowerCutFiles) -> list[bytes]:
    with contextlib.suppress(OSError, SpoolError):
        found = SpoolReader.open(directory, files=files).next_range(None, 100, 1 << 20)
        if found is not None:
            return [payload for _, payload in read_records(directory, found, files=files)]
    return []
