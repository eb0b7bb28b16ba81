"""Exports of the tables: between the two engines, of large rows, and what is left when one ends early."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, Page, Secret, StoreChunk
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import DAY, NOW, event_row, measurement_row
from condev_plugins.clickhouse import export as exporting
from condev_plugins.clickhouse.config import GIB, ClickHouseConfig, derive_caps
from condev_plugins.clickhouse.engine_server import ServerEngine
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import temporary_store

ALL = EventFilter(project_ids=(1,))
WIDE = (NOW - 40 * DAY, NOW + DAY)


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
    read = exporting._read

    def short(client: object, table: str, part: str, start: int, end: int) -> bytes | None:
        steps.append(end - start)
        return None if end - start > 40 else read(client, table, part, start, end)  # type: ignore[arg-type]

    monkeypatch.setattr(exporting, "_read", short)
    chunks, counts = await exported(store)
    assert sum(chunk.rows for chunk in chunks if chunk.table == "events") == counts["events"] == 500
    assert max(chunk.rows for chunk in chunks) <= 40 < max(steps)
    monkeypatch.setattr(exporting, "_read", lambda *_: None)
    with pytest.raises(EventStoreError, match="One row of events needs more memory"):
        await exported(store)


async def test_one_export_at_a_time_and_a_killed_one_leaves_nothing(store: ClickHouseStore) -> None:
    async def copies() -> int:
        sql = "SELECT count() FROM system.tables WHERE database = currentDatabase() AND name LIKE 'backup_of_%'"
        return int((await store.engine.query("counting", sql))[0][0])

    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    export = await store.export()
    assert await copies() == len(exporting.EXPORTED)
    with pytest.raises(EventStoreError, match="being made already"):
        await store.export()
    await store.close()  # without `export.close()`, as when the process is killed
    await store.open()
    assert await copies() == 0
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
