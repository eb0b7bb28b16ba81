"""Retention and figures."""

from __future__ import annotations

import pytest

from appliance.hookspecs import (
    EventNotFoundError,
    EventStore,
)
from appliance.model import TABLES, Batch
from appliance.testing.event_store.common import ALL, BATCH, ids
from appliance.testing.rows import (
    DAY,
    NOW,
    event_row,
    hex_id,
    measurement_row,
)


class KeepingSuite:
    """Retention and figures."""

    async def test_whole_days_before_a_time_are_dropped(self, store: EventStore) -> None:
        today = NOW // DAY * DAY
        times = [today - 3 * DAY, today - 2 * DAY, today - DAY, today]
        rows = [event_row(n, timestamp=at, received_at=at) for n, at in enumerate(times)]
        await store.write(Batch(batch_id=BATCH, events=rows, measurements=[measurement_row(9, received_at=times[0])]))
        dropped = await store.drop_before("events", today - DAY - 1)  # a microsecond short of the end of a day
        assert [(one.table, one.rows) for one in dropped] == [("events", 1)]
        dropped = await store.drop_before("events", today - DAY)
        assert [one.rows for one in dropped] == [1]
        assert sorted(await ids(store, ALL)) == [hex_id(3), hex_id(4)]
        with pytest.raises(EventNotFoundError):
            await store.event((1,), hex_id(1))
        assert (await store.present(BATCH, (0, NOW)))["measurements"] == {9}

    async def test_the_oldest_day_goes_first_and_today_never(self, store: EventStore) -> None:
        today = NOW // DAY * DAY
        rows = [event_row(n, received_at=today - n * DAY, timestamp=today - n * DAY) for n in range(3)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert [one.rows if (one := await store.drop_oldest("events")) else None for _ in range(3)] == [1, 1, None]
        assert await ids(store, ALL) == [hex_id(1)]
        assert await store.drop_oldest("spans") is None

    async def test_sums_follow_what_was_dropped(self, store: EventStore) -> None:
        today = NOW // DAY * DAY
        rows = [event_row(n, received_at=today - n * DAY, timestamp=today - 2 * DAY) for n in range(3)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        await store.summarise(NOW)
        await store.drop_before("events", today - DAY)
        for _ in range(2):
            assert (await store.count(ALL))[0] == 2
            assert [one.events for one in await store.group_stats(ALL)] == [2]
            await store.summarise(NOW)

    async def test_a_table_that_does_not_exist_is_a_mistake(self, store: EventStore) -> None:
        with pytest.raises(ValueError, match="no table"):
            await store.drop_before("events; DROP TABLE events", NOW)
        with pytest.raises(ValueError, match="no table"):
            await store.drop_oldest("nothing")

    async def test_figures_tell_rows_and_age_of_each_table(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(n, received_at=NOW - n) for n in range(3)]))
        stats = await store.stats()
        tables = {one.table: one for one in stats.tables}
        assert set(TABLES) <= set(tables)
        assert (tables["events"].rows, tables["events"].oldest) == (3, NOW - 2)
        assert (tables["spans"].rows, tables["spans"].oldest) == (0, 0)
        assert stats.backend
        assert stats.version
        assert stats.schema_version > 0

    async def test_a_store_can_be_opened_again(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        await store.close()
        await store.open()
        assert await store.count(ALL) == (1, 0)
