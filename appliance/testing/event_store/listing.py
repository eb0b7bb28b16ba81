"""Lists of events, single events and their neighbours, values in menus."""

from __future__ import annotations

import msgspec
import pytest

from appliance.hookspecs import (
    BadCursorError,
    EventFilter,
    EventNotFoundError,
    EventStore,
    Page,
    TagCount,
)
from appliance.model import Batch, Event, Kind
from appliance.testing.event_store.common import ALL, BATCH, HOSTILE, where
from appliance.testing.rows import (
    HOUR,
    NOW,
    event_row,
    hex_id,
)


class EventsSuite:
    """Lists of events and single ones."""

    async def test_pages_show_every_event_once_newest_first(self, store: EventStore) -> None:
        # Eight share each time, so that a page ends within them.
        rows = [event_row(n, timestamp=NOW - HOUR + n // 8, project_id=1 + n % 2) for n in range(50)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        both, found, cursor = EventFilter(project_ids=(1, 2)), list[tuple[int, int, str]](), ""
        for _ in range(20):
            page, cursor = await store.events(both, Page(limit=7, cursor=cursor))
            found += [(one.timestamp, one.project_id, one.event_id) for one in page]
            if not cursor:
                break
        assert cursor == ""
        assert len(found) == 50
        assert found == sorted(set(found), reverse=True)

    async def test_a_page_goes_on_where_it_ended_though_new_events_came(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(n, timestamp=NOW - HOUR + n) for n in range(4)]))
        first, cursor = await store.events(ALL, Page(limit=2))
        await store.write(Batch(batch_id=BATCH + 1, events=[event_row(10, timestamp=NOW)]))
        second, end = await store.events(ALL, Page(limit=2, cursor=cursor))
        assert [one.event_id for one in first + second] == [hex_id(4), hex_id(3), hex_id(2), hex_id(1)]
        assert end == ""

    async def test_a_page_has_at_most_200_events(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(n) for n in range(250)]))
        found, cursor = await store.events(ALL, Page(limit=100_000))
        assert len(found) == 200
        assert cursor

    @pytest.mark.parametrize("cursor", ["x", "????", "bm8", "WzEsMiwzXQ", "'; --", "\u20ac", "A" * 100_000])
    async def test_a_forged_cursor_is_an_error_with_words(self, store: EventStore, cursor: str) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        with pytest.raises(BadCursorError, match="first page"):
            await store.events(ALL, Page(cursor=cursor))

    async def test_an_event_comes_back_with_its_payload(self, store: EventStore) -> None:
        event = Event(
            id=hex_id(1), kind=Kind.ERROR, timestamp=NOW - HOUR, message="x", extra={"deep": {"list": [1, None]}}
        )
        row = event_row(0, payload=msgspec.json.encode(event), tags={"tenant": "eu"}, handled=True)
        await store.write(Batch(batch_id=BATCH, events=[row, event_row(1)]))
        summary, payload = await store.event((3, 1), hex_id(1))
        assert payload == event
        for name in summary.__struct_fields__:
            assert getattr(summary, name) == getattr(row, name), name

    async def test_an_event_whose_payload_was_withheld_keeps_its_row(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0, payload=b"", payload_withheld=True)]))
        summary, payload = await store.event((1,), hex_id(1))
        assert summary.payload_withheld
        assert payload is None

    @pytest.mark.parametrize("event_id", ["", "nope", hex_id(77), *HOSTILE[:6]])
    async def test_an_event_that_is_not_there_is_not_found(self, store: EventStore, event_id: str) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)]))
        with pytest.raises(EventNotFoundError):
            await store.event((1,), event_id)

    async def test_neighbours_walk_through_a_group_in_order(self, store: EventStore) -> None:
        # 2 and 3 share a microsecond; 9 is in another group.
        times = {1: 10, 2: 20, 3: 20, 4: 30}
        rows = [event_row(n, event_id=hex_id(n), timestamp=NOW - HOUR + at) for n, at in times.items()]
        rows.append(event_row(9, event_id=hex_id(9), timestamp=NOW - HOUR + 15, group_hash=5))
        await store.write(Batch(batch_id=BATCH, events=rows))
        group, walked, here = where(group_hashes=(101,)), [hex_id(1)], hex_id(1)
        while here:
            summary, _ = await store.event((1,), here)
            around = await store.neighbours(group, summary)
            assert (around.oldest, around.newest) == (hex_id(1), hex_id(4))
            assert around.previous == (walked[-2] if len(walked) > 1 else "")
            here = around.next
            walked += [here] if here else []
        assert walked == [hex_id(n) for n in (1, 2, 3, 4)]

    async def test_the_latest_event_comes_with_its_payload_and_the_one_before(self, store: EventStore) -> None:
        kept = Event(id=hex_id(3), kind=Kind.ERROR, timestamp=NOW - HOUR, message="kept")
        rows = [event_row(n, timestamp=NOW - HOUR + n) for n in range(4)]
        rows[2].payload = msgspec.json.encode(kept)
        rows[3].level = "fatal"
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = await store.latest(where(levels=("error",)))
        assert found is not None
        assert (found.summary, found.event, found.previous) == (
            (await store.events(where(levels=("error",)), Page(limit=1)))[0][0], kept, hex_id(2),
        )  # fmt: skip
        withheld = await store.latest(where(levels=("fatal",)))
        assert withheld is not None
        assert (withheld.summary.event_id, withheld.event, withheld.previous) == (hex_id(4), None, "")
        assert await store.latest(where(levels=("info",))) is None

    async def test_the_latest_event_is_the_lists_first_where_times_are_the_same(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(n, timestamp=NOW - HOUR) for n in range(5)]))
        listed, _ = await store.events(ALL, Page())
        found = await store.latest(ALL)
        assert found is not None
        assert [found.summary.event_id, found.previous] == [summary.event_id for summary in listed[:2]]

    async def test_an_event_outside_the_filter_still_has_neighbours_in_it(self, store: EventStore) -> None:
        rows = [event_row(n, timestamp=NOW - HOUR + n, level="error" if n != 1 else "info") for n in range(3)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        summary, _ = await store.event((1,), hex_id(2))
        around = await store.neighbours(where(levels=("error",)), summary)
        assert (around.previous, around.next) == (hex_id(1), hex_id(3))
        nothing = await store.neighbours(where(levels=("fatal",)), summary)
        assert (nothing.previous, nothing.next, nothing.oldest, nothing.newest) == ("", "", "", "")


class ValuesSuite:
    """Tags and filter menus."""

    async def test_the_most_frequent_values_and_the_events_without_any(self, store: EventStore) -> None:
        browsers = ["Chrome"] * 4 + ["Firefox"] * 3 + ["Safari"] * 2 + [""]
        rows = [event_row(n, browser=name, tags={"tenant": "eu"} if n < 3 else {}) for n, name in enumerate(browsers)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = await store.tag_distribution(ALL, ("browser", "tenant", "none"), top=2)
        assert found == [
            TagCount(key="browser", value="Chrome", events=4),
            TagCount(key="browser", value="Firefox", events=3),
            TagCount(key="browser", value="", events=1),
            TagCount(key="tenant", value="eu", events=3),
            TagCount(key="tenant", value="", events=7),
            TagCount(key="none", value="", events=10),
        ]

    async def test_without_keys_all_tags_and_built_in_fields_are_told(self, store: EventStore) -> None:
        rows = [event_row(0, tags={"a": "1", "browser": "a tag of that name"}), event_row(1, tags={"b": "2"})]
        await store.write(Batch(batch_id=BATCH, events=rows))
        found = {(one.key, one.value): one.events for one in await store.tag_distribution(ALL, ())}
        built_in = {"browser", "os", "device", "release", "environment", "url", "level"}
        assert {key for key, _ in found} == built_in | {"a", "b"}
        assert found[("browser", "Chrome")] == 2
        assert found[("device", "")] == 2
        assert (found[("a", "1")], found[("a", "")]) == (1, 1)

    async def test_nothing_is_told_of_no_events(self, store: EventStore) -> None:
        assert await store.tag_distribution(ALL, ("browser",)) == []

    async def test_values_of_fields_and_tags_fill_menus(self, store: EventStore) -> None:
        names = ["shop@2", "shop@2", "shop@1", "admin@1", ""]
        rows = [event_row(n, release=name, tags={"t": name}, timestamp=NOW - 10 + n) for n, name in enumerate(names)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        for name in ("release", "t"):
            found = [(one.key, one.value, one.events, one.last_seen) for one in await store.values(ALL, name)]
            expected = [("shop@2", 2, NOW - 9), ("admin@1", 1, NOW - 7), ("shop@1", 1, NOW - 8)]
            assert found == [(name, *rest) for rest in expected]
            assert [one.value for one in await store.values(ALL, name, "SHOP", limit=1)] == ["shop@2"]
        assert [one.value for one in await store.values(ALL, "kind")] == ["error"]
