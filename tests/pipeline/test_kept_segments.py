"""While an upgrade may have to go back to its backup, the spool keeps what is applied already."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

from appliance.pipeline.pipeline import KEEP_SHARE, KEEP_SPOOL_FILE
from appliance.spool import SpoolWriter

MIB = 1024 * 1024


def segments(house):
    return sorted((house.data_dir / "spool").glob("*.seg"))


async def small_spool(house, max_bytes):
    """Segments of an eighth of this; events of some 10 KB."""
    await house.writer.close()
    house.config.ingest.spool_max_bytes = max_bytes
    house.writer = SpoolWriter.open(house.data_dir / "spool", max_bytes=max_bytes, min_free_bytes=0)


def copy_database(source, target):
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


async def test_applied_segments_are_kept_while_the_file_is_there_and_go_without_traffic_when_it_is_not(house, event):
    await small_spool(house, 8 * MIB)
    (house.data_dir / KEEP_SPOOL_FILE).touch()
    for number in range(150):
        await house.send(event(number, filler="x" * 10_000))
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    await house.drained(pipeline)
    assert len(segments(house)) == 2
    before = house.event_ids()
    assert len(before) == 150
    (house.data_dir / KEEP_SPOOL_FILE).unlink()
    async with asyncio.timeout(30):
        while len(segments(house)) > 1:
            await asyncio.sleep(0.05)
    await pipeline.stop(10.0)
    await task
    assert house.event_ids() == before


async def test_what_is_kept_takes_at_most_its_share_of_the_spool(house, event):
    await small_spool(house, 4 * MIB)
    (house.data_dir / KEEP_SPOOL_FILE).touch()
    pipeline = house.pipeline()
    task = asyncio.create_task(pipeline.run())
    for number in range(500):  # 5 MB through a spool of 4
        await house.send(event(number, filler="x" * 10_000))
        if number % 50 == 49:
            await house.drained(pipeline)
            kept = sum(path.stat().st_size for path in segments(house)[:-1])
            assert kept <= 4 * MIB // KEEP_SHARE
    await pipeline.stop(10.0)
    await task
    assert len(house.event_ids()) == 500
    assert len(segments(house)) > 1


async def test_metadata_from_before_finds_what_was_accepted_since(house, event, tmp_path):
    """The way back: the stores of the backup, the spool of now."""
    await small_spool(house, 8 * MIB)
    await house.send(event(0))
    await house.drain(house.pipeline())
    live = house.database.engine.url.database
    backup = tmp_path / "backup.copy"
    copy_database(live, backup)
    rows = dict(house.store.tables["events"])
    (house.data_dir / KEEP_SPOOL_FILE).touch()
    for number in range(1, 200):
        await house.send(event(number, filler="x" * 10_000))
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 200
    # Restored: both stores as they were.
    house.store.tables["events"] = rows
    copy_database(backup, live)
    assert await house.project_events() == 1
    await house.drain(house.pipeline())
    assert len(house.event_ids()) == 200
    assert await house.project_events() == 200
