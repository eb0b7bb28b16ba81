"""Exports of the tables: between the two engines, of large rows, and what is left when one ends early."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, Page, Secret, StoreChunk
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import DAY, NOW, event_row, measurement_row
from condev_plugins.clickhouse import export as exporting
from condev_plugins.clickhouse.config import GIB, ClickHouseConfig, derive_caps
from condev_plugins.clickhouse.engine import Client, Engine, select
from condev_plugins.clickhouse.engine_server import ServerEngine
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import temporary_store

ALL = EventFilter(project_ids=(1,))
WIDE = (NOW - 40 * DAY, NOW + DAY)


@pytest.fixture(autouse=True)
def brief_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "MEMORY_WAITS", (0.0,) * len(exporting.MEMORY_WAITS))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ClickHouseStore]:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        yield store


@pytest.fixture
def server_url(tmp_path: Path) -> Iterator[str]:
    """Of an HTTP front over another engine, in a process of its own."""
    script = Path(__file__).with_name("http_front.py")
    command = [sys.executable, str(script), str(tmp_path / "server"), "password"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def again(chunks: Sequence[StoreChunk]) -> AsyncIterator[StoreChunk]:
    for chunk in chunks:
        yield chunk


async def exported(store: ClickHouseStore) -> tuple[list[StoreChunk], dict[str, int]]:
    export = await store.export()
    try:
        return [chunk async for chunk in export.chunks()], {t: n for t, n in export.rows.items() if n}
    finally:
        await export.close()


async def test_events_move_between_the_embedded_engine_and_a_server(store: ClickHouseStore, server_url: str) -> None:
    rows = [event_row(n, timestamp=NOW - n * DAY // 40, received_at=NOW - n * DAY // 40) for n in range(100)]
    await store.write(Batch(batch_id=1 << 100, events=rows, measurements=[measurement_row(200)]))
    config = ClickHouseConfig(
        engine="server", url=server_url, password=Secret("password"), database="moved", disk_reserve=0
    )
    server = ClickHouseStore(ServerEngine(config, derive_caps(config, 2 * GIB, 2)), FakeClock(NOW), 0)
    await server.open()
    try:
        chunks, counts = await exported(store)
        export = await store.export()
        await export.close()
        await server.load(export.description, again(chunks))
        assert (await server.events(ALL, Page(limit=200)))[0] == (await store.events(ALL, Page(limit=200)))[0]
        back, back_counts = await exported(server)
        assert back_counts == counts
        await store.write(Batch(batch_id=5, events=[event_row(300)]))
        await store.load(export.description, again(back))
        assert (await store.present(1 << 100, WIDE))["events"] == set(range(100))
        assert not (await store.present(5, WIDE))["events"]
    finally:
        await server.close()


async def test_rows_are_read_in_pieces_of_bounded_size(store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporting, "CHUNK_BYTES", 100_000)
    for batch in range(3):
        rows = [event_row(n, event_id=secrets.token_hex(16), payload=secrets.token_bytes(10_000)) for n in range(100)]
        await store.write(Batch(batch_id=batch + 1, events=rows))
    chunks, counts = await exported(store)
    assert counts["events"] == 300
    assert len([chunk for chunk in chunks if chunk.table == "events"]) >= 30
    assert max(len(chunk.body) for chunk in chunks) < 250_000


async def test_where_memory_is_short_fewer_rows_are_read_at_once(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(Batch(batch_id=1, events=[event_row(n, payload=b"x" * 1_000) for n in range(500)]))
    steps: list[int] = []
    read = exporting._read  # pyright: ignore[reportPrivateUsage]

    def short(client: object, table: str, part: str, start: int, end: int) -> bytes | None:
        steps.append(end - start)
        return None if end - start > 40 else read(client, table, part, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "_read", short)
    chunks, counts = await exported(store)
    assert sum(chunk.rows for chunk in chunks if chunk.table == "events") == counts["events"] == 500
    assert max(chunk.rows for chunk in chunks) <= 40 < max(steps)

    def refuse(*_: object) -> None:
        pass

    monkeypatch.setattr(exporting, "_read", refuse)
    with pytest.raises(EventStoreError, match="One row of events needs more memory"):
        await exported(store)


async def test_memory_that_comes_back_ends_no_export_and_leaves_its_pieces_large(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.write(Batch(batch_id=1, events=[event_row(n) for n in range(500)]))
    monkeypatch.setattr(exporting, "MAX_CHUNK_ROWS", 8)
    refusals = len(exporting.MEMORY_WAITS)  # of ever fewer rows, the last ones of one alone
    steps: list[int] = []
    read = exporting._read  # pyright: ignore[reportPrivateUsage]

    def short_for_a_while(client: object, table: str, part: str, start: int, end: int) -> bytes | None:
        steps.append(end - start)
        return None if len(steps) <= refusals else read(client, table, part, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "_read", short_for_a_while)
    chunks, counts = await exported(store)
    assert sum(chunk.rows for chunk in chunks if chunk.table == "events") == counts["events"] == 500
    assert steps[:3] == [8, 2, 1]
    assert steps[refusals] == 1
    assert max(steps[refusals:]) == 8


async def copies_in(store: ClickHouseStore) -> int:
    sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'backup_of_%'"
    return int((await store.engine.query("counting", sql))[0][0])


async def test_an_export_given_up_lets_its_caller_go_before_the_copies_are_dropped(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller keeps the pipeline paused meanwhile."""
    released, busy = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold_up(_: Client) -> None:
        loop.call_soon_threadsafe(busy.set)
        released.wait(60)

    async def hang(engine: Engine) -> NoReturn:  # all copies are made by now
        await engine.run("maintain", "holding everything up", hold_up)
        raise AssertionError("cancelled before")

    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "_parts", hang)
        taking = asyncio.create_task(store.export())
        await busy.wait()
        taking.cancel()
        done, _ = await asyncio.wait([taking], timeout=10)  # seconds; without end where it waits for the dropping
        assert not released.is_set()
        released.set()
        assert done
        assert taking.cancelled()
    export = await store.export()
    assert await copies_in(store) == len(exporting.EXPORTED)
    await export.close()
    assert await copies_in(store) == 0


async def test_copies_that_cannot_be_dropped_keep_no_appliance_from_starting(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(engine: Engine) -> None:
        raise EventStoreError("Code: 359. It is too large to be dropped.")

    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    await store.export()
    await store.close()
    with monkeypatch.context() as patch:
        patch.setattr(f"{ClickHouseStore.__module__}.drop_copies", refuse)
        await store.open()
    assert await store.count(ALL) == (1, 0)


async def test_what_is_dropped_may_have_any_size(store: ClickHouseStore) -> None:
    """ClickHouse refuses to drop more than 50 GB at once to who does not say otherwise."""
    sql = "SELECT name, value FROM system.settings WHERE name LIKE 'max_%_size_to_drop'"
    found = await store.engine.run("maintain", "looking at settings", lambda client: select(client, sql))
    assert dict(found) == {"max_table_size_to_drop": "0", "max_partition_size_to_drop": "0"}


async def test_one_export_at_a_time_and_a_killed_one_leaves_nothing(store: ClickHouseStore) -> None:
    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    export = await store.export()
    assert await copies_in(store) == len(exporting.EXPORTED)
    with pytest.raises(EventStoreError, match="being made already"):
        await store.export()
    await store.close()  # without `export.close()`, as when the process is killed
    await store.open()
    assert await copies_in(store) == 0
    assert export.rows["events"] == 1


async def test_merges_change_nothing_for_an_export_that_is_being_read(store: ClickHouseStore) -> None:
    for batch in range(6):
        rows = [event_row(n, event_id=secrets.token_hex(16)) for n in range(50)]
        await store.write(Batch(batch_id=batch + 1, events=rows))
    export = await store.export()
    await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    await store.engine.maintain("merging", "OPTIMIZE TABLE backup_of_events")  # what the engine would do by itself
    assert sum([chunk.rows async for chunk in export.chunks() if chunk.table == "events"]) == 300
    await export.close()


@pytest.mark.parametrize(
    ("description", "said"),
    [
        ({"format": "other"}, "set .storage. backend to the plugin that made them"),
        ({"format": "clickhouse-native", "schema_version": 9_999, "columns": {}}, "or a newer one"),
        (
            {"format": "clickhouse-native", "schema_version": 1, "columns": {"events": ["x) SELECT 1; --"]}},
            "does not have",
        ),
        (
            {"format": "clickhouse-native", "schema_version": 1, "columns": {"schema_migrations": ["name"]}},
            "does not have",
        ),
    ],
)
async def test_what_a_backup_says_of_itself_is_checked_before_anything_goes(
    store: ClickHouseStore, description: dict[str, object], said: str
) -> None:
    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    with pytest.raises(EventStoreError, match=said):
        await store.load(description, again(()))  # type: ignore[arg-type]
    assert await store.count(ALL) == (1, 0)
