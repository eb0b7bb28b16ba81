"""Groups, histograms and counts, before and after the hourly sums were made."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliance.hookspecs import (
    EventStore,
)
from appliance.model import Batch, EventRow
from appliance.testing.event_store.common import ALL, BATCH, where
from appliance.testing.rows import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    event_row,
)


def _spread() -> list[EventRow]:
    """Events over three hours, in two groups and two releases, by three users; one is in no group."""
    rows = [
        event_row(
            n,
            timestamp=NOW - 4 * HOUR + n * 20 * 60 * SECOND,
            received_at=NOW - HOUR,
            group_hash=(201, 202)[n % 2],
            release=("a", "b")[n % 3 == 0],
            environment=("production", "staging")[n % 4 == 0],
            user_hash=n % 4,
        )
        for n in range(9)
    ]
    return [*rows, event_row(20, timestamp=NOW - 2 * HOUR, group_hash=0, kind="custom")]


class CountingSuite:
    """Groups, histograms, counts; before and after the hourly sums were made."""

    async def test_groups_are_counted_with_users_and_times(self, store: EventStore) -> None:
        rows = [
            event_row(0, group_hash=7, user_hash=11, timestamp=NOW - 30),
            event_row(1, group_hash=7, user_hash=11, timestamp=NOW - 20),
            event_row(2, group_hash=7, user_hash=12, timestamp=NOW - 10),
            event_row(3, group_hash=8, user_hash=0, timestamp=NOW - 5),
            event_row(4, group_hash=0, kind="custom"),
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = {one.group_hash: one for one in await store.group_stats(ALL)}
        assert set(found) == {7, 8}
        assert (found[7].events, found[7].users) == (3, 2)
        assert (found[7].first_seen, found[7].last_seen) == (NOW - 30, NOW - 10)
        assert (found[8].events, found[8].users) == (1, 0)

    @pytest.mark.parametrize(("order", "expected"), [("last_seen", 3), ("first_seen", 3), ("events", 1), ("users", 2)])
    async def test_groups_come_in_the_order_asked_for(self, store: EventStore, order: Any, expected: int) -> None:
        rows = [event_row(n, group_hash=1, timestamp=NOW - 100 + n) for n in range(5)]
        rows += [event_row(10 + n, group_hash=2, user_hash=n + 1, timestamp=NOW - 90 + n) for n in range(3)]
        rows += [event_row(20, group_hash=3, timestamp=NOW - 1)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = await store.group_stats(ALL, order=order)
        assert found[0].group_hash == expected
        assert len(found) == 3
        assert len(await store.group_stats(ALL, order=order, limit=2)) == 2

    async def test_histograms_leave_empty_buckets_out(self, store: EventStore) -> None:
        hour = NOW // HOUR * HOUR
        rows = [
            event_row(n, timestamp=hour - at, user_hash=n % 2 + 1) for n, at in enumerate((1, 2, 2 * HOUR, 5 * HOUR))
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = [(one.start, one.events, one.users) for one in await store.histogram(ALL, HOUR)]
        assert found == [(hour - 5 * HOUR, 1, 1), (hour - 2 * HOUR, 1, 1), (hour - HOUR, 2, 2)]

    async def test_sparklines_have_an_entry_for_each_group_asked_for(self, store: EventStore) -> None:
        hour = NOW // HOUR * HOUR
        rows = [event_row(n, group_hash=1 + n % 2, timestamp=hour - n * HOUR) for n in range(4)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = await store.group_histograms(where(group_hashes=(1, 2, 3)), HOUR)
        assert {group: [(one.start, one.events) for one in bars] for group, bars in found.items()} == {
            1: [(hour - 2 * HOUR, 1), (hour, 1)],
            2: [(hour - 3 * HOUR, 1), (hour - HOUR, 1)],
            3: [],
        }
        assert await store.group_histograms(ALL, HOUR) == {}

    @pytest.mark.parametrize("bucket", [0, -1])
    async def test_a_bucket_without_length_is_a_mistake(self, store: EventStore, bucket: int) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        with pytest.raises(ValueError, match="bucket"):
            await store.histogram(ALL, bucket)

    async def test_hourly_sums_change_no_answer(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=_spread()))
        before = await self._answers(store)
        await store.summarise(NOW)
        assert await self._answers(store) == before
        assert await store.summarise(NOW) == 0  # nothing changed since

    async def test_a_late_row_counts_at_once_and_after_the_next_sums(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=_spread()))
        await store.summarise(NOW)
        late = event_row(30, timestamp=NOW - 4 * HOUR + 1, received_at=NOW, group_hash=201, user_hash=9)
        await store.write(Batch(batch_id=BATCH + 1, events=[late]))
        at_once = await self._answers(store)
        assert (await store.count(ALL))[0] == 11
        await store.summarise(NOW)
        assert await self._answers(store) == at_once

    async def test_rows_of_the_hour_that_is_not_over_count(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=_spread()))
        await store.summarise(NOW + 60 * SECOND)
        fresh = event_row(30, timestamp=NOW + 30 * SECOND, received_at=NOW + 30 * SECOND, group_hash=201)
        await store.write(Batch(batch_id=BATCH + 1, events=[fresh]))
        assert (await store.count(ALL))[0] == 11
        assert (await store.group_stats(where(group_hashes=(201,))))[0].last_seen == NOW + 30 * SECOND

    async def _answers(self, store: EventStore) -> list[object]:
        start, end = NOW - 4 * HOUR + 30 * 60 * SECOND, NOW - HOUR - 5 * 60 * SECOND  # neither on the hour
        filters = [
            ALL, where(start=start, end=end), where(environments=("staging",)), where(releases=("a", "b"), start=start),
            where(browsers=("Chrome",), levels=("error",), kinds=("error",)), where(group_hashes=(202,), end=end),
            where(user_ids=("nobody",)), where(text="typeerror"),
        ]  # fmt: skip
        result: list[object] = []
        for chosen in filters:
            result += [await store.count(chosen), await store.group_stats(chosen, order="events")]
            result += [await store.histogram(chosen, bucket) for bucket in (HOUR, 2 * HOUR, 60 * SECOND, DAY)]
            sparks = msgspec.structs.replace(chosen, group_hashes=(201, 202))
            result += [dict(await store.group_histograms(sparks, bucket)) for bucket in (HOUR, 7 * SECOND)]
        return result
