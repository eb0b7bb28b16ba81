"""Batches: what is stored, what is missing, what was seen before."""

from __future__ import annotations

import asyncio

from appliance.hookspecs import (
    EventStore,
    StoreRefusedError,
)
from appliance.model import TABLES, Batch
from appliance.testing.event_store.common import ALL, BATCH, ids
from appliance.testing.rows import (
    DAY,
    HOUR,
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


class WritingSuite:
    """Batches: what is stored, what is missing, what was seen before."""

    async def test_a_batch_is_present_with_its_ordinals_in_each_table(self, store: EventStore) -> None:
        batch = Batch(
            batch_id=BATCH,
            events=[event_row(0), event_row(65_536)],
            measurements=[measurement_row(1)],
            page_views=[page_view_row(2)],
            sessions=[session_row(3)],
            spans=[span_row(4)],
            replay_segments=[replay_segment_row(5)],
            outcomes=[outcome_row(6)],
        )
        await store.write(batch)
        assert await store.present(BATCH, (NOW - HOUR, NOW)) == {
            "events": frozenset({0, 65_536}),
            "measurements": frozenset({1}),
            "page_views": frozenset({2}),
            "sessions": frozenset({3}),
            "spans": frozenset({4}),
            "replay_segments": frozenset({5}),
            "outcomes": frozenset({6}),
        }

    async def test_another_batch_and_another_time_have_nothing(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        nothing = dict.fromkeys(TABLES, frozenset[int]())
        assert await store.present(BATCH + 1, (NOW - HOUR, NOW)) == nothing
        assert await store.present(BATCH + (1 << 64), (NOW - HOUR, NOW)) == nothing
        assert await store.present(BATCH, (NOW - HOUR + 1, NOW)) == nothing

    async def test_an_empty_batch_is_fine(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH))
        assert await store.count(ALL) == (0, 0)

    async def test_only_missing_ordinals_are_written_after_a_crash(self, store: EventStore) -> None:
        rows = [event_row(n) for n in range(5)]
        await store.write(Batch(batch_id=BATCH, events=rows[:2]))
        whole = Batch(batch_id=BATCH, events=rows, measurements=[measurement_row(9)])
        present = await store.present(BATCH, (NOW - HOUR, NOW))
        missing = {"events": frozenset(range(5)) - present["events"], "measurements": frozenset({9})}
        await store.write(whole, missing)
        assert (await store.count(ALL))[0] == 5
        assert sorted(await ids(store, ALL)) == [hex_id(n + 1) for n in range(5)]
        assert (await store.present(BATCH, (NOW - HOUR, NOW)))["measurements"] == {9}

    async def test_a_table_that_is_not_named_as_missing_is_left_alone(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]), {})
        assert await store.count(ALL) == (0, 0)

    async def test_a_batch_received_around_midnight_is_whole(self, store: EventStore) -> None:
        midnight = NOW // DAY * DAY
        rows = [
            event_row(n, timestamp=midnight - 1, received_at=midnight - 1 + n) for n in range(3)
        ]  # the first one before
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert (await store.present(BATCH, (midnight - 1, midnight + 5)))["events"] == {0, 1, 2}
        assert (await store.count(ALL))[0] == 3

    async def test_seen_finds_what_other_batches_stored(self, store: EventStore) -> None:
        await store.write(
            Batch(
                batch_id=BATCH,
                events=[event_row(0)],
                measurements=[measurement_row(1)],
                page_views=[page_view_row(2)],
            )
        )
        asked = [(1, "event", hex_id(1)), (1, "measurement", hex_id(2)), (1, "page_view", hex_id(3))]
        strangers = [(2, "event", hex_id(1)), (1, "measurement", hex_id(1)), (1, "event", hex_id(99))]
        found = await store.seen([*asked, *strangers], since=NOW - DAY, ignore_batch=BATCH + 1)
        assert found == frozenset(asked)

    async def test_seen_ignores_the_batch_itself_and_what_is_older(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        asked = [(1, "event", hex_id(1))]
        assert await store.seen(asked, since=0, ignore_batch=BATCH) == frozenset()
        assert await store.seen(asked, since=NOW - HOUR + 1, ignore_batch=0) == frozenset()
        assert await store.seen(asked, since=NOW - HOUR, ignore_batch=0) == frozenset(asked)
        assert await store.seen([], since=0, ignore_batch=0) == frozenset()

    async def test_an_event_written_as_missing_is_seen_like_any_other(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]), {"events": frozenset({0})})
        assert await store.seen([(1, "event", hex_id(1))], since=0, ignore_batch=0)

    async def test_thousands_of_ids_are_looked_up_at_once(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(n) for n in range(0, 5_000, 2)]))
        asked = [(1, "event", hex_id(n + 1)) for n in range(5_000)]
        assert await store.seen(asked, since=0, ignore_batch=0) == frozenset(asked[::2])

    async def test_a_value_that_no_store_can_hold_is_refused(self, store: EventStore) -> None:
        batch = Batch(batch_id=BATCH, events=[event_row(0, message="\ud800")])
        error: StoreRefusedError | None = None
        try:
            await store.write(batch)
        except StoreRefusedError as caught:
            error = caught
        # A store that can hold half a surrogate pair must have it now; any other must have said that it cannot.
        assert (await store.count(ALL))[0] == (1 if error is None else 0)

    async def test_reading_while_writing_never_fails_and_never_shows_half_a_batch(self, store: EventStore) -> None:
        async def write() -> None:
            for number in range(10):
                rows = [event_row(number * 10 + n) for n in range(10)]
                await store.write(Batch(batch_id=BATCH + number, events=rows))

        async def read() -> list[int]:
            return [(await store.count(ALL))[0] for _ in range(20)]

        _, *counts = await asyncio.gather(write(), read(), read())
        assert all(count % 10 == 0 for one in counts for count in one)
        assert (await store.count(ALL))[0] == 100
