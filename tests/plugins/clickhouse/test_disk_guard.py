"""A disk that gets short of room: nothing is merged, and what the engine damaged is put aside for what it came from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from appliance.hookspecs import EventFilter, EventStoreError, StoreUnavailableError
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import NOW, event_row
from condev_plugins.clickhouse.disk_guard import DiskGuard
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
