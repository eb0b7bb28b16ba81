"""Killed at random moments, the store still tells the truth about what it has, and doing a batch again completes it."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest

from appliance.hookspecs import EventFilter
from appliance.model import TABLES, Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import DAY, HOUR, NOW
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import embedded_store

SCRIPT = Path(__file__).with_name("crash_writer.py")
KILLS = 8  # each costs about two seconds; the stack tests kill fifty times
ALL_TIMES = (0, NOW + DAY)


@pytest.fixture(scope="module")
def writer() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crash_writer", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_until_killed(directory: Path, first: int, seconds: float) -> list[int]:
    """Run the writer, kill it some time after its first acknowledgement; returns what it acknowledged."""
    acknowledged: list[int] = []
    with subprocess.Popen([sys.executable, str(SCRIPT), str(directory), str(first)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        acknowledged.append(int(process.stdout.readline()))
        killer = threading.Timer(seconds, process.kill)
        killer.start()
        acknowledged += [int(line) for line in process.stdout.read().split()]
        killer.join()
    return acknowledged


async def duplicated(store: ClickHouseStore, table: str) -> list[object]:
    sql = "SELECT batch_id, ordinal, count() FROM {table:Identifier} GROUP BY 1, 2 HAVING count() > 1"
    rows = await store.engine.query("looking for doubles", sql, {"table": table})
    return list(rows)


@pytest.mark.faults
@pytest.mark.timeout(300)
async def test_a_killed_writer_loses_no_acknowledged_batch_and_each_ordinal_ends_up_there_once(
    tmp_path: Path, writer: ModuleType
) -> None:
    dice, number = random.Random(4), 0
    for _ in range(KILLS):
        acknowledged = await asyncio.to_thread(
            write_until_killed, tmp_path / "clickhouse", number, dice.uniform(0.02, 0.6)
        )
        store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
        await store.open()
        try:
            for done in acknowledged:
                batch: Batch = writer.batch_of(done)
                present = await store.present(batch.batch_id, ALL_TIMES)
                assert all(present[table] == {row.ordinal for row in getattr(batch, table)} for table in TABLES)
            # The one in flight: ask, write what is missing, as the pipeline does after a crash.
            number = acknowledged[-1] + 1
            await complete(store, writer.batch_of(number))
            number += 1
        finally:
            await store.close()
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    try:
        await check(store, writer, number)
    finally:
        await store.close()


async def complete(store: ClickHouseStore, batch: Batch) -> None:
    present = await store.present(batch.batch_id, ALL_TIMES)
    ordinals = {table: frozenset(row.ordinal for row in getattr(batch, table)) for table in TABLES}
    await store.write(batch, {table: ordinals[table] - present[table] for table in TABLES})


async def check(store: ClickHouseStore, writer: ModuleType, batches: int) -> None:
    everything = EventFilter(project_ids=(1,))
    for table in (*TABLES, "event_ids"):
        assert await duplicated(store, table) == []
    counts = await store.engine.query("counting", "SELECT count(), uniqExact(event_id) FROM events")
    assert counts == [(batches * 40, batches * 40)]
    assert await store.engine.query("counting", "SELECT count() FROM event_ids") == [(batches * 50,)]
    ids = [(1, "event", row.event_id) for row in writer.batch_of(batches - 1).events]
    assert await store.seen(ids, since=0, ignore_batch=0) == frozenset(ids)
    # The sums that killed processes left are either right or not believed.
    before = await store.group_stats(everything, order="events"), await store.histogram(everything, HOUR)
    await store.summarise(NOW + DAY)
    assert (await store.group_stats(everything, order="events"), await store.histogram(everything, HOUR)) == before
    assert (await store.count(everything))[0] == batches * 40


async def test_a_batch_whose_ids_were_not_written_yet_gets_them_when_it_is_done_again(
    tmp_path: Path, writer: ModuleType
) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    try:
        batch: Batch = writer.batch_of(1)
        await store.write(batch)
        await store.engine.maintain("as if killed in between", "TRUNCATE TABLE event_ids")
        await complete(store, batch)
        await complete(store, batch)
        ids = [(1, "event", row.event_id) for row in batch.events]
        assert await store.seen(ids, since=0, ignore_batch=0) == frozenset(ids)
        assert await duplicated(store, "event_ids") == []
        assert await duplicated(store, "events") == []
    finally:
        await store.close()


async def test_ids_whose_rows_were_dropped_before_a_kill_are_dropped_by_the_next_look(
    tmp_path: Path, writer: ModuleType
) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    try:
        batch: Batch = writer.batch_of(1)
        await store.write(batch)
        for table in ("events", "measurements", "page_views"):
            await store.engine.maintain("as if killed in between", f"TRUNCATE TABLE {table}")
        await store.drop_before("events", NOW - 1 * DAY)
        assert await store.engine.query("counting", "SELECT count() > 0 FROM event_ids") == [(1,)]  # their day goes on
        await store.drop_before("events", NOW + 2 * DAY)
        assert await store.engine.query("counting", "SELECT count() FROM event_ids") == [(0,)]
    finally:
        await store.close()
