"""A disk that gets short of room: nothing is merged, and what the engine damaged is put aside for what it came from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, StoreUnavailableError
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import DAY, NOW, event_row, measurement_row
from condev_plugins.clickhouse import disk_guard
from condev_plugins.clickhouse.disk_guard import DiskGuard
from condev_plugins.clickhouse.engine import Client
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import temporary_store

EVERYTHING = EventFilter(project_ids=(1,))
NEVER_FREE = 1 << 60
BATCHES, EACH = 4, 10


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ClickHouseStore]:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        await store.engine.maintain("keeping parts apart", "SYSTEM STOP MERGES")
        for number in range(BATCHES):
            rows = [event_row(number * EACH + n) for n in range(EACH)]
            await store.write(Batch(batch_id=number + 1, events=rows))
        yield store


@pytest.fixture
def guard(store: ClickHouseStore) -> DiskGuard:
    assert store.guard is not None
    return store.guard


async def parts(store: ClickHouseStore) -> list[tuple[str, Path]]:
    """The active parts of `events`, with where they lie."""
    sql = "SELECT name, path FROM system.parts WHERE database = currentDatabase() AND table = 'events' AND active"
    return [(str(name), Path(str(path))) for name, path in await store.engine.query("looking at parts", sql)]


async def damage_a_merge(store: ClickHouseStore) -> str:
    """What a full disk does to a merge: good parts give way to one with empty files."""
    await store.engine.maintain("merging", "SYSTEM START MERGES events")
    await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    ((name, path),) = await parts(store)
    damaged = [*path.glob("*.cmrk*"), path / "columns.txt"]
    assert len(damaged) > 1
    for file in damaged:
        file.write_bytes(b"")
    for cache in ("MARK CACHE", "UNCOMPRESSED CACHE", "QUERY CONDITION CACHE"):
        await store.engine.maintain("forgetting", f"SYSTEM DROP {cache}")
    with pytest.raises(EventStoreError):
        await store.engine.query("reading", "SELECT sum(cityHash64(*)) FROM events")
    return name


@pytest.mark.parametrize("turn", ["short", "room again"])
async def test_a_part_that_a_full_disk_damaged_gives_way_to_those_it_was_merged_from(
    store: ClickHouseStore, guard: DiskGuard, turn: str
) -> None:
    if turn == "room again":
        guard.reserve = NEVER_FREE
        await guard.look()
    damaged = await damage_a_merge(store)
    guard.reserve = NEVER_FREE if turn == "short" else 1
    await guard.look()
    assert guard.is_short == (turn == "short")
    assert any("Free some space" in note for note in (await store.stats()).notes) == guard.is_short
    assert damaged not in [name for name, _ in await parts(store)]
    assert await store.count(EVERYTHING) == (BATCHES * EACH, 0)
    await store.engine.query("reading", "SELECT sum(cityHash64(*)) FROM events")


async def test_nothing_is_merged_while_the_disk_is_short(store: ClickHouseStore, guard: DiskGuard) -> None:
    guard.reserve = NEVER_FREE
    await guard.look()
    await guard.look()
    with pytest.raises(EventStoreError, match=r"(?i)cancel"):
        await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    assert len(await parts(store)) == BATCHES
    guard.reserve = 1
    await guard.look()
    await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    assert len(await parts(store)) == 1


async def test_rows_written_while_the_disk_got_short_are_asked_for_again(
    store: ClickHouseStore, guard: DiskGuard
) -> None:
    guard.reserve = NEVER_FREE
    batch = Batch(batch_id=99, events=[event_row(1_000 + n) for n in range(EACH)])
    with pytest.raises(StoreUnavailableError, match="short of room"):
        await store.write(batch)
    there = await store.present(99, (0, NOW))
    assert there["events"] == {row.ordinal for row in batch.events}
    await store.write(batch, {"events": frozenset()})  # nothing is missing, so there is nothing to doubt


async def test_a_disk_with_room_is_left_in_peace(store: ClickHouseStore, guard: DiskGuard) -> None:
    guard.reserve = 1
    before = await parts(store)
    await guard.look()
    await guard.after_write()
    assert await parts(store) == before
    assert not guard.is_short


async def test_merges_go_on_when_there_is_room_again_before_the_next_look(
    store: ClickHouseStore, guard: DiskGuard
) -> None:
    guard.reserve = NEVER_FREE
    with pytest.raises(StoreUnavailableError, match="short of room"):
        await store.write(Batch(batch_id=99, events=[event_row(1_000)]))
    assert guard.is_short
    guard.reserve = 1
    await guard.look()
    assert not guard.is_short
    await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    assert len(await parts(store)) == 1


@pytest.mark.parametrize("turn", ["short", "room again"])
@pytest.mark.parametrize("afterwards", [NEVER_FREE, 1])
async def test_a_table_that_could_not_be_attached_is_attached_by_a_later_look(
    store: ClickHouseStore, guard: DiskGuard, monkeypatch: pytest.MonkeyPatch, turn: str, afterwards: int
) -> None:
    if turn == "room again":
        guard.reserve = NEVER_FREE
        await guard.look()

    def detach_only(client: Client, table: str, *, merging: bool) -> None:
        client.command(f"DETACH TABLE IF EXISTS {table}")
        raise StoreUnavailableError("A query still holds it.")

    with monkeypatch.context() as patch:
        patch.setattr(disk_guard, "_load", detach_only)
        guard.reserve = NEVER_FREE if turn == "short" else 1
        with pytest.raises(StoreUnavailableError, match="still holds"):
            await guard.look()
    with pytest.raises(StoreUnavailableError):
        await store.count(EVERYTHING)
    guard.reserve = afterwards
    await guard.look()
    assert await store.count(EVERYTHING) == (BATCHES * EACH, 0)
    guard.reserve = 1
    await guard.look()
    await store.engine.maintain("merging", "OPTIMIZE TABLE events FINAL")
    assert len(await parts(store)) == 1


async def test_a_detached_table_is_not_taken_for_an_empty_one(store: ClickHouseStore) -> None:
    """The ids of a day go only when its events did: without them a repeated event is stored twice."""
    old = NOW - 5 * DAY
    rows = [measurement_row(1, timestamp=old, received_at=old)]
    await store.write(Batch(batch_id=99, events=[event_row(2, timestamp=old, received_at=old)], measurements=rows))
    await store.engine.maintain("tearing", "DETACH TABLE events")
    with pytest.raises(StoreUnavailableError, match="events is not there"):
        await store.drop_before("measurements", NOW)
    with pytest.raises(StoreUnavailableError, match="events is not there"):
        await store.drop_oldest("events")
    await store.engine.maintain("mending", "ATTACH TABLE events")
    assert {one.table: one.rows for one in (await store.stats()).tables}["event_ids"] == BATCHES * EACH + 2


async def test_the_first_insert_into_a_detached_table_spoils_none_that_follow(store: ClickHouseStore) -> None:
    batch = Batch(batch_id=99, measurements=[measurement_row(1)])
    await store.engine.maintain("tearing", "DETACH TABLE measurements")
    with pytest.raises(StoreUnavailableError, match="measurements is not there"):
        await store.write(batch)
    await store.engine.maintain("mending", "ATTACH TABLE measurements")
    await store.write(batch)
    assert (await store.present(99, (0, NOW)))["measurements"] == {row.ordinal for row in batch.measurements}
