"""The schema: in order, once each, after a crash too, and never backwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, Page, StoreUnavailableError
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import HOUR, NOW, event_row, hex_id, measurement_row, page_view_row
from condev_plugins.clickhouse.engine import Engine
from condev_plugins.clickhouse.migrations import applied_versions, migrate, set_disk_reserve
from condev_plugins.clickhouse.schema import MIGRATIONS, SCHEMA_VERSION, Migration
from condev_plugins.clickhouse.testing import embedded_store

ADD_COLUMN = "ALTER TABLE events ADD COLUMN IF NOT EXISTS fresh String"
STEPS = (*MIGRATIONS, Migration(SCHEMA_VERSION + 1, "a column", (ADD_COLUMN, "SELECT 1")))


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.engine.start()
    yield store.engine
    await store.close()


async def test_steps_are_taken_in_order_and_once(engine: Engine) -> None:
    assert await migrate(engine, NOW, STEPS) == SCHEMA_VERSION + 1
    assert await migrate(engine, NOW, STEPS) == SCHEMA_VERSION + 1
    rows = await engine.query("reading", "SELECT version FROM schema_migrations ORDER BY version")
    assert rows == [(step.version,) for step in STEPS]


async def test_a_step_that_broke_off_is_taken_again_whole(engine: Engine) -> None:
    broken = Migration(SCHEMA_VERSION + 1, "a column", (ADD_COLUMN, "SELECT no_such_column FROM events"))
    with pytest.raises(StoreUnavailableError, match="migrating to version"):
        await migrate(engine, NOW, (*MIGRATIONS, broken))
    assert SCHEMA_VERSION + 1 not in await applied_versions(engine)
    assert await migrate(engine, NOW, STEPS) == SCHEMA_VERSION + 1


async def test_every_statement_may_be_run_again(engine: Engine) -> None:
    await migrate(engine, NOW)
    for step in MIGRATIONS:
        for statement in step.statements:
            await engine.maintain("running it again", statement)


async def test_data_of_a_newer_version_is_not_touched(engine: Engine) -> None:
    await migrate(engine, NOW, STEPS)
    with pytest.raises(EventStoreError, match="newer version"):
        await migrate(engine, NOW, MIGRATIONS)


async def test_an_older_program_goes_on_with_a_newer_schema_that_allows_it(engine: Engine) -> None:
    additive = Migration(SCHEMA_VERSION + 1, "a column", (ADD_COLUMN,), readable_from=SCHEMA_VERSION)
    await migrate(engine, NOW, (*MIGRATIONS, additive))
    assert await migrate(engine, NOW, MIGRATIONS) == SCHEMA_VERSION + 1
    breaking = Migration(SCHEMA_VERSION + 2, "another meaning", ("SELECT 1",))
    await migrate(engine, NOW, (*MIGRATIONS, additive, breaking))
    with pytest.raises(EventStoreError, match="cannot read"):
        await migrate(engine, NOW, MIGRATIONS)


async def test_a_log_of_migrations_from_before_it_knew_readers_is_widened(engine: Engine) -> None:
    old = "CREATE TABLE schema_migrations (version UInt32, name String) ENGINE = MergeTree ORDER BY version"
    await engine.maintain("as it was", old)
    await engine.maintain("as it was", "ALTER TABLE schema_migrations ADD COLUMN applied_at DateTime64(6, 'UTC')")
    await engine.maintain("as it was", f"INSERT INTO schema_migrations VALUES ({SCHEMA_VERSION + 1}, 'x', now64(6))")
    with pytest.raises(EventStoreError, match="cannot read"):
        await migrate(engine, NOW, MIGRATIONS)


async def test_rows_of_the_first_schema_are_read_after_the_second_and_its_program_still_writes(tmp_path: Path) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.engine.start()
    await migrate(store.engine, NOW, MIGRATIONS[:1])
    await store.engine.maintain("as it was", _OLD_VIEW.format(id="old"))
    await store.engine.stop()
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    try:
        await store.engine.maintain("as an older program does", _OLD_VIEW.format(id="later"))
        await store.write(Batch(batch_id=9, page_views=[page_view_row(0, last_sequence=2, sequences=[1])]))
        found, _ = await store.page_views(EventFilter(project_ids=(1,)), Page())
        assert {one.page_view_id: (one.last_sequence, one.missing) for one in found} == {
            "old": (3, 3), "later": (3, 3), hex_id(1): (2, 1),
        }  # fmt: skip
        assert await migrate(store.engine, NOW, MIGRATIONS[:1]) == SCHEMA_VERSION
    finally:
        await store.close()


async def test_measurements_of_an_older_schema_are_summed_up_by_the_newest(tmp_path: Path) -> None:
    rows = [measurement_row(n, route=route, value=100.0 * n) for n, route in enumerate(("/", "/", "/cart"))]
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.engine.start()
    await migrate(store.engine, NOW, MIGRATIONS[:2])
    await store.write(Batch(batch_id=1, measurements=rows))
    await store.engine.maintain(
        "as it was", "INSERT INTO measurement_summary (project_id, metric, samples) VALUES (1, 'LCP', 7)"
    )
    await store.engine.stop()
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    try:
        for _ in range(2):
            (lcp,) = await store.metric_summaries(EventFilter(project_ids=(1,)))
            assert (lcp.samples, lcp.p50) == (3, 100.0)
            by_route = await store.metric_summaries(EventFilter(project_ids=(1,)), by_route=True)
            assert [(one.route, one.samples) for one in by_route] == [("/cart", 1), ("/", 2)]
            await store.summarise(NOW + HOUR)
        count = "SELECT (SELECT count() FROM measurement_summary), (SELECT count() FROM measurement_hours)"
        assert await store.engine.query("reading", count) == [(0, 3)]  # a project's, and two of routes
    finally:
        await store.close()


_OLD_VIEW = (
    "INSERT INTO page_views (project_id, page_view_id, timestamp, received_at, last_sequence, batch_id, ordinal) "
    f"SELECT 1, '{{id}}', fromUnixTimestamp64Micro({NOW}, 'UTC'), fromUnixTimestamp64Micro({NOW}, 'UTC'), 3, 1, 1"
)


def test_the_schema_is_known_without_opening_the_store(tmp_path: Path) -> None:
    schema = embedded_store(tmp_path / "clickhouse", FakeClock(NOW)).schema()
    assert schema.version == SCHEMA_VERSION
    assert 0 < schema.readable_from <= schema.version
    assert not (tmp_path / "clickhouse").exists()


async def test_an_upgraded_store_still_shows_and_takes_events(tmp_path: Path) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    await migrate(store.engine, NOW, STEPS)
    await store.write(Batch(batch_id=2, events=[event_row(1)]))
    assert await store.count(EventFilter(project_ids=(1,))) == (2, 0)
    await store.close()


async def test_a_disk_with_too_little_free_space_refuses_for_now(tmp_path: Path) -> None:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    await set_disk_reserve(store.engine, 1 << 60)
    with pytest.raises(StoreUnavailableError, match="free some space"):
        await store.write(Batch(batch_id=1, events=[event_row(0)]))
    await set_disk_reserve(store.engine, 0)
    await store.write(Batch(batch_id=1, events=[event_row(0)]))
    assert await store.count(EventFilter(project_ids=(1,))) == (1, 0)
    await store.close()
