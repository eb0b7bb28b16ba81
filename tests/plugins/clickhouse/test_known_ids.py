"""Duplicates are found as without the filter in memory, and new ids are not looked up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from appliance.hookspecs import StoreUnavailableError
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.rows import HOUR, NOW, event_row, hex_id, measurement_row
from condev_plugins.clickhouse import known_ids
from condev_plugins.clickhouse.engine import Parameters, Row
from condev_plugins.clickhouse.known_ids import KnownIds
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import embedded_store

Identity = tuple[int, str, str]
EVENTS = [(1, "event", hex_id(n)) for n in range(1, 5)]  # of rows 0 to 3
STRANGERS = [(1, "event", hex_id(n)) for n in range(900, 980)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ClickHouseStore]:
    store = embedded_store(tmp_path / "clickhouse", FakeClock(NOW))
    await store.open()
    yield store
    await store.close()


@pytest.fixture
def asked(store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the store was asked for, in words."""
    doings: list[str] = []
    query = store.engine.query

    async def noted(doing: str, sql: str, parameters: Parameters | None = None) -> list[Row]:
        doings.append(doing)
        return await query(doing, sql, parameters)

    monkeypatch.setattr(store.engine, "query", noted)
    return doings


async def seen(store: ClickHouseStore, ids: Sequence[Identity], since: int = NOW - 2 * HOUR) -> frozenset[Identity]:
    return await store.seen(ids, since=since, ignore_batch=99)


async def made() -> None:
    """Wait until the filter is there, or cannot be."""
    making = [task for task in asyncio.all_tasks() if task.get_name() == "clickhouse-known-ids"]
    await asyncio.gather(*making, return_exceptions=True)


async def write(store: ClickHouseStore, batch_id: int, *ordinals: int) -> None:
    await store.write(Batch(batch_id=batch_id, events=[event_row(n) for n in ordinals]))


async def test_what_was_stored_before_and_after_the_filter_was_made_is_seen(store: ClickHouseStore) -> None:
    await write(store, 1, 0, 1)
    for _ in range(2):
        assert await seen(store, [*EVENTS, *STRANGERS]) == {*EVENTS[:2]}
        await made()
    await store.write(Batch(batch_id=2, events=[event_row(2)], measurements=[measurement_row(3)]))
    measured = (1, "measurement", hex_id(4))
    assert await seen(store, [*EVENTS, measured, *STRANGERS]) == {*EVENTS[:3], measured}


async def test_new_ids_are_not_looked_up(store: ClickHouseStore, asked: list[str]) -> None:
    await write(store, 1, 0)
    await seen(store, STRANGERS)
    await made()
    asked.clear()
    assert await seen(store, STRANGERS) == frozenset()
    assert asked == []
    assert await seen(store, EVENTS) == {EVENTS[0]}
    assert asked == ["looking for duplicates"]


async def test_a_time_before_the_filter_begins_is_looked_up(store: ClickHouseStore) -> None:
    await store.write(Batch(batch_id=1, events=[event_row(0, received_at=NOW - 5 * HOUR, timestamp=NOW - 5 * HOUR)]))
    assert await seen(store, EVENTS, NOW - HOUR) == frozenset()
    await made()
    assert await seen(store, EVENTS, NOW - 6 * HOUR) == {EVENTS[0]}


async def test_rows_that_are_stored_while_it_is_made_are_in_it(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, wrote = known_ids._read, asyncio.Event()  # pyright: ignore[reportPrivateUsage]
    loop = asyncio.get_running_loop()

    def slowly(*given: object) -> bytes:
        body = read(*given)  # pyright: ignore[reportArgumentType]
        asyncio.run_coroutine_threadsafe(write(store, 1, 0), loop).result(30)
        loop.call_soon_threadsafe(wrote.set)
        return body

    monkeypatch.setattr(known_ids, "_read", slowly)
    await seen(store, STRANGERS)
    await made()
    assert wrote.is_set()
    assert await seen(store, EVENTS) == {EVENTS[0]}


async def test_a_crowded_filter_is_made_anew_and_misses_nothing(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_ids, "FEWEST_BITS", 4)
    monkeypatch.setattr(known_ids, "MOST_BITS", 8)
    monkeypatch.setattr(known_ids, "READ_AT_ONCE", 100)  # so that it is read in several steps
    known, dice = KnownIds(store.engine), random.Random(1)
    await write(store, 1, *range(400))
    stored = [int(key) for (key,) in await store.engine.query("reading", "SELECT id_hash FROM event_ids")]
    assert known.unsure(stored, 0) == stored
    await made()
    assert known.unsure(stored, 0) == stored
    added = [dice.getrandbits(64) for _ in range(4_000)]
    known.add(added)
    assert known.unsure([*stored, *added], 0) == [*stored, *added]
    await made()
    assert set(known.unsure([*stored, *added], 0)) >= set(stored)
    fresh = [dice.getrandbits(64) for _ in range(1_000)]
    assert len(known.unsure(fresh, 0)) < 300  # made of the table again, which has not what was never stored


async def test_a_filter_that_is_forgotten_while_it_is_made_is_not_believed(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = KnownIds(store.engine)
    read = known_ids._read  # pyright: ignore[reportPrivateUsage]

    def forgetting(*given: object) -> bytes:
        known.forget()
        return read(*given)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(known_ids, "_read", forgetting)
    for _ in range(2):
        assert known.unsure([5, 6], 0) == [5, 6]
        await made()
    monkeypatch.setattr(known_ids, "_read", read)
    assert known.unsure([5, 6], 0) == [5, 6]
    await made()
    assert known.unsure([5, 6], 0) == []


async def test_a_filter_that_cannot_be_made_costs_nothing_but_its_use(
    store: ClickHouseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bytes:
        raise StoreUnavailableError("out of memory")

    await write(store, 1, 0)
    with monkeypatch.context() as patch:
        patch.setattr(known_ids, "_read", broken)
        for _ in range(2):
            assert await seen(store, EVENTS) == {EVENTS[0]}
            await made()
    await seen(store, STRANGERS)
    await made()
    assert await seen(store, EVENTS) == {EVENTS[0]}


async def test_events_are_written_in_the_order_of_their_table(store: ClickHouseStore) -> None:
    sql = "SELECT value FROM system.events WHERE event = 'MergeTreeDataWriterBlocksAlreadySorted'"
    before = await store.engine.query("counting", sql)
    rows = [event_row(n, group_hash=7 - n % 5, timestamp=NOW - n) for n in range(20)]
    await store.write(Batch(batch_id=1, events=rows))
    after = await store.engine.query("counting", sql)
    assert after[0][0] - (before[0][0] if before else 0) == 2  # events and event_ids
