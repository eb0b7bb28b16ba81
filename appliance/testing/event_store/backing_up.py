"""Backups: what an export brings, and what a load makes of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable

import pytest

from appliance.hookspecs import EventStore, EventStoreError, Page, StoreChunk
from appliance.model import TABLES, Batch
from appliance.testing.event_store.common import ALL, BATCH, HOSTILE, ids
from appliance.testing.rows import (
    DAY,
    NOW,
    event_row,
    hex_id,
    measurement_row,
    outcome_row,
    page_view_row,
    replay_segment_row,
    session_row,
    span_row,
)

EVERYTHING = (NOW - 40 * DAY, NOW + DAY)


async def again(chunks: Iterable[StoreChunk]) -> AsyncIterator[StoreChunk]:
    """Chunks as a backup's reader brings them."""
    for chunk in chunks:
        yield chunk


def one_of_each(batch_id: int = BATCH) -> Batch:
    """A row in every table."""
    return Batch(
        batch_id=batch_id,
        events=[event_row(0)],
        measurements=[measurement_row(1)],
        page_views=[page_view_row(2, envelope_id=hex_id(50), title="Cart", last_sequence=4, sequences=[1, 3])],
        sessions=[session_row(3)],
        spans=[span_row(4)],
        replay_segments=[replay_segment_row(5)],
        outcomes=[outcome_row(6)],
    )


class BackupSuite:
    """`export` and `load`."""

    async def test_what_was_exported_can_be_loaded_again(self, store: EventStore) -> None:
        rows = [
            event_row(n, title=text, message=text, tags={"text": text[:200]}, payload=text.encode())
            for n, text in enumerate(HOSTILE)
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        await store.write(one_of_each(BATCH + 1))
        before, _ = await store.events(ALL, Page(limit=200))
        views_before, _ = await store.page_views(ALL, Page())
        export = await store.export()
        try:
            chunks = [chunk async for chunk in export.chunks()]
        finally:
            await export.close()
        await store.write(Batch(batch_id=BATCH + 2, events=[event_row(90)]))
        await store.load(export.description, again(chunks))
        assert (await store.events(ALL, Page(limit=200)))[0] == before
        assert (await store.page_views(ALL, Page()))[0] == views_before
        assert [one.missing for one in views_before] == [2]
        assert (await store.present(BATCH, EVERYTHING))["events"] == set(range(len(HOSTILE)))
        found = await store.present(BATCH + 1, EVERYTHING)
        assert {table: set(ordinals) for table, ordinals in found.items() if table in TABLES} == {
            table: {n} for n, table in enumerate(("events", "measurements", "page_views", "sessions", "spans",
                                                  "replay_segments", "outcomes"))
        }  # fmt: skip
        assert not any((await store.present(BATCH + 2, EVERYTHING)).values())

    async def test_an_export_says_how_many_rows_it_brings(self, store: EventStore) -> None:
        await store.write(one_of_each())
        export = await store.export()
        brought: Counter[str] = Counter()
        async for chunk in export.chunks():
            brought[chunk.table] += chunk.rows
        await export.close()
        assert {table: rows for table, rows in export.rows.items() if rows} == brought
        assert {table: brought[table] for table in TABLES} == dict.fromkeys(TABLES, 1)

    async def test_an_export_knows_nothing_of_what_happens_after_it(self, store: EventStore) -> None:
        old = NOW // DAY * DAY - 3 * DAY
        await store.write(Batch(batch_id=BATCH, events=[event_row(0, timestamp=old, received_at=old), event_row(1)]))
        export = await store.export()
        await store.write(Batch(batch_id=BATCH + 1, events=[event_row(2)]))
        await store.drop_before("events", old + 2 * DAY)
        chunks = [chunk async for chunk in export.chunks()]
        await export.close()
        await store.load(export.description, again(chunks))
        assert sorted(await ids(store, ALL)) == [hex_id(1), hex_id(2)]
        assert not (await store.present(BATCH + 1, EVERYTHING))["events"]

    async def test_duplicates_and_sums_are_right_after_a_load(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0), event_row(1)]))
        export = await store.export()
        chunks = [chunk async for chunk in export.chunks()]
        await export.close()
        await store.write(Batch(batch_id=BATCH + 1, events=[event_row(2), event_row(3)]))
        await store.summarise(NOW)
        await store.load(export.description, again(chunks))
        for _ in range(2):
            assert (await store.count(ALL))[0] == 2
            assert sum(one.events for one in await store.group_stats(ALL)) == 2
            await store.summarise(NOW)
        kept, gone = (1, "event", hex_id(1)), (1, "event", hex_id(3))
        assert await store.seen([kept, gone], since=NOW - 40 * DAY, ignore_batch=0) == {kept}

    async def test_an_empty_store_can_be_exported_and_loaded(self, store: EventStore) -> None:
        export = await store.export()
        chunks = [chunk async for chunk in export.chunks()]
        await export.close()
        assert (sum(export.rows.values()), chunks) == (0, [])
        await store.write(one_of_each())
        await store.load(export.description, again(chunks))
        assert await store.count(ALL) == (0, 0)

    async def test_what_another_kind_of_store_exported_is_refused_and_changes_nothing(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        with pytest.raises(EventStoreError):
            await store.load({"format": "somebody else's"}, again(()))
        assert await ids(store, ALL) == [hex_id(1)]
