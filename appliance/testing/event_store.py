"""The conformance suite for event stores: subclass `EventStoreSuite`, give it a fixture `store`, and pytest runs it.

    from appliance.testing.event_store import NOW, EventStoreSuite

    class TestMyStore(EventStoreSuite):
        @pytest.fixture
        async def store(self, tmp_path):
            store = MyStore(tmp_path, FakeClock(NOW))  # its clock must stand at NOW: it decides what today is
            await store.open()
            yield store
            await store.close()

Each test begins with an empty, open store. What a test says in its name is part of the contract.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import pytest

from appliance.hookspecs import (
    BadCursorError,
    EventFilter,
    EventNotFoundError,
    EventStore,
    MetricSummary,
    Page,
    StoreRefusedError,
    StoreUnavailableError,
    TagCount,
)
from appliance.model import TABLES, Batch, Event, EventRow, Kind
from appliance.testing.rows import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    event_row,
    hex_id,
    measurement_row,
    outcome_row,
    page_view_row,
    replay_segment_row,
    session_row,
    span_row,
)

__all__ = ["HOSTILE", "NOW", "EventStoreSuite"]

BATCH: Final = (0xFEDC_BA98_7654_3210 << 64) | (7 << 32) | 4096  # all 128 bits matter
ALL: Final = EventFilter(project_ids=(1,))
# Text that breaks naive quoting, encoding or patterns somewhere on the way.
HOSTILE: Final = (
    "it's", 'say "hi"', "back\\slash", "trailing\\", "line\nbreak", "tab\there", "nul\x00byte", "\r\n", "\\N", "%s %(a)s",
    "{p0:String}", "'; DROP TABLE events; --", "`tick`", "$$", "€ 𝄞 é ß", "\u2028", "\x7f\x1b[31m", "a" * 5_000,
)  # fmt: skip


def where(**fields: Any) -> EventFilter:
    """A filter on project 1."""
    return msgspec.structs.replace(ALL, **fields)


async def ids(store: EventStore, chosen: EventFilter) -> list[str]:
    """The ids of the events a filter selects, newest first."""
    found, _ = await store.events(chosen, Page(limit=200))
    return [one.event_id for one in found]


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
        lone_surrogate = event_row(0, message="\ud800")
        try:
            await store.write(Batch(batch_id=BATCH, events=[lone_surrogate]))
        except StoreRefusedError as error:
            assert str(error)
        else:  # a store that can hold it must give it back
            assert (await store.count(ALL))[0] == 1

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


class FilterSuite:
    """What a filter selects, and who may see it."""

    async def test_no_project_selects_nothing(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0)], measurements=[measurement_row(1)]))
        nobody = EventFilter(project_ids=())
        assert await store.count(nobody) == (0, 0)
        assert await store.events(nobody, Page()) == ([], "")
        assert await store.group_stats(nobody) == []
        assert await store.tag_distribution(nobody, ()) == []
        assert await store.values(nobody, "browser") == []
        assert await store.metric_summaries(nobody) == []
        assert await store.outcomes(nobody) == []
        with pytest.raises(EventNotFoundError):
            await store.event((), hex_id(1))

    async def test_another_project_sees_nothing(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0), event_row(1, project_id=2)]))
        assert await ids(store, EventFilter(project_ids=(2,))) == [hex_id(2)]
        assert await ids(store, EventFilter(project_ids=(1, 2))) == [hex_id(2), hex_id(1)]
        with pytest.raises(EventNotFoundError):
            await store.event((2,), hex_id(1))

    @pytest.mark.parametrize(
        ("field", "column"),
        [
            ("kinds", "kind"),
            ("levels", "level"),
            ("environments", "environment"),
            ("releases", "release"),
            ("browsers", "browser"),
            ("oses", "os"),
            ("devices", "device"),
            ("user_ids", "user_id"),
            ("urls", "url"),
        ],
    )
    async def test_values_of_a_field_are_alternatives(self, store: EventStore, field: str, column: str) -> None:
        rows = [event_row(n, **{column: value}) for n, value in enumerate(("one", "two", "three"))]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert await ids(store, where(**{field: ("two",)})) == [hex_id(2)]
        assert sorted(await ids(store, where(**{field: ("one", "three")}))) == [hex_id(1), hex_id(3)]
        assert await ids(store, where(**{field: ("four",)})) == []

    @pytest.mark.parametrize("field", ["trace_id", "replay_id", "session_id"])
    async def test_a_linked_id_selects_its_events(self, store: EventStore, field: str) -> None:
        rows = [event_row(n, **{field: hex_id(n)}) for n in range(3)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert await ids(store, where(**{field: hex_id(2)})) == [hex_id(3)]

    async def test_group_hashes_use_all_64_bits(self, store: EventStore) -> None:
        rows = [event_row(n, group_hash=group) for n, group in enumerate((1, (1 << 64) - 1, 1 << 63))]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert await ids(store, where(group_hashes=((1 << 64) - 1,))) == [hex_id(2)]
        assert sorted(await ids(store, where(group_hashes=(1, 1 << 63)))) == [hex_id(1), hex_id(3)]

    async def test_times_include_the_start_and_exclude_the_end(self, store: EventStore) -> None:
        rows = [event_row(n, timestamp=NOW - HOUR + n) for n in range(4)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        chosen = where(start=NOW - HOUR + 1, end=NOW - HOUR + 3)
        assert await ids(store, chosen) == [hex_id(3), hex_id(2)]
        assert await store.count(chosen) == (2, 0)

    async def test_an_event_older_than_its_arrival_is_found_by_its_own_time(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, events=[event_row(0, timestamp=NOW - 3 * DAY, received_at=NOW)]))
        assert await ids(store, where(start=NOW - 3 * DAY, end=NOW - 2 * DAY)) == [hex_id(1)]
        assert await ids(store, where(start=NOW - DAY)) == []

    async def test_all_tags_must_hold(self, store: EventStore) -> None:
        rows = [
            event_row(0, tags={"tenant": "eu", "beta": "on"}),
            event_row(1, tags={"tenant": "eu"}),
            event_row(2),
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert sorted(await ids(store, where(tags=(("tenant", "eu"),)))) == [hex_id(1), hex_id(2)]
        assert await ids(store, where(tags=(("tenant", "eu"), ("beta", "on")))) == [hex_id(1)]
        assert await ids(store, where(tags=(("tenant", ""),))) == []

    async def test_all_words_must_stand_somewhere_whatever_their_case(self, store: EventStore) -> None:
        rows = [
            event_row(0, title="TypeError: Cart is undefined", message="Größe unbekannt"),
            event_row(1, title="Declined", message="", culprit="checkout.pay", url="https://shop.example/CART?step=2"),
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        assert sorted(await ids(store, where(text="cart"))) == [hex_id(1), hex_id(2)]
        assert await ids(store, where(text="CART  undefined")) == [hex_id(1)]
        assert await ids(store, where(text="grÖSSE")) == []
        assert await ids(store, where(text="GRÖß")) == [hex_id(1)]
        assert await ids(store, where(text="pay step=2")) == [hex_id(2)]
        assert await ids(store, where(text="%")) == []

    async def test_hostile_text_is_stored_filtered_and_given_back_as_it_is(self, store: EventStore) -> None:
        rows = [
            event_row(
                n, message=text, title=text, url=text, user_id=text, release=text, tags={"key": text, text[:64]: "v"}
            )
            for n, text in enumerate(HOSTILE)
        ]
        await store.write(Batch(batch_id=BATCH, events=rows))
        for number, text in enumerate(HOSTILE):
            expected = [hex_id(number + 1)]
            assert await ids(store, where(urls=(text,))) == expected, text
            assert await ids(store, where(releases=(text, "no such"))) == expected, text
            assert await ids(store, where(tags=(("key", text), (text[:64], "v")))) == expected, text
            summary, _ = await store.event((1,), expected[0])
            assert (summary.title, summary.user_id, summary.tags["key"]) == (text, text, text)
        assert len(await store.values(ALL, "key", limit=100)) == len(HOSTILE)


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

    async def test_an_event_outside_the_filter_still_has_neighbours_in_it(self, store: EventStore) -> None:
        rows = [event_row(n, timestamp=NOW - HOUR + n, level="error" if n != 1 else "info") for n in range(3)]
        await store.write(Batch(batch_id=BATCH, events=rows))
        summary, _ = await store.event((1,), hex_id(2))
        around = await store.neighbours(where(levels=("error",)), summary)
        assert (around.previous, around.next) == (hex_id(1), hex_id(3))
        nothing = await store.neighbours(where(levels=("fatal",)), summary)
        assert (nothing.previous, nothing.next, nothing.oldest, nothing.newest) == ("", "", "", "")


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


class VisitsSuite:
    """Measurements, replays, releases, outcomes."""

    async def test_metrics_are_summed_up_per_metric_and_page(self, store: EventStore) -> None:
        slow = [("https://a/", value, "poor") for value in (3_000.0, 4_000.0, 5_000.0)]
        fast = [("https://b/", value, "good") for value in (100.0, 200.0)]
        rows = [
            measurement_row(n, url=url, value=value, rating=rating)
            for n, (url, value, rating) in enumerate(slow + fast)
        ]
        rows += [measurement_row(9, metric="CLS", value=0.1, rating="needs-improvement")]
        rows += [measurement_row(10, metric="CLS", value=0.2, rating="needs_improvement", project_id=2)]
        await store.write(Batch(batch_id=BATCH, measurements=rows))
        for _ in range(2):
            cls, lcp = await store.metric_summaries(ALL)
            assert (cls.metric, cls.samples, cls.needs_improvement, cls.p75) == ("CLS", 1, 1, pytest.approx(0.1))
            assert (lcp.metric, lcp.samples, lcp.good, lcp.poor, lcp.url) == ("LCP", 5, 2, 3, "")
            assert lcp.p50 == pytest.approx(3_000.0)
            pages = await store.metric_summaries(ALL, ("LCP",), by_url=True)
            assert [(one.url, one.samples) for one in pages] == [("https://a/", 3), ("https://b/", 2)]
            assert pages[0].p50 == pytest.approx(4_000.0)
            assert await store.metric_summaries(where(urls=("https://c/",))) == []
            await store.summarise(NOW + HOUR)

    async def test_event_fields_filter_no_measurements(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, measurements=[measurement_row(0)]))
        found: Sequence[MetricSummary] = await store.metric_summaries(
            where(levels=("fatal",), text="x", environments=("production",))
        )
        assert [one.samples for one in found] == [1]

    async def test_samples_of_a_metric_are_paged(self, store: EventStore) -> None:
        rows = [measurement_row(n, value=float(n), attributes=b'{"element":"img"}') for n in range(5)]
        await store.write(Batch(batch_id=BATCH, measurements=[*rows, measurement_row(7, metric="CLS")]))
        first, cursor = await store.measurements(ALL, "LCP", Page(limit=3))
        second, end = await store.measurements(ALL, "LCP", Page(limit=3, cursor=cursor))
        assert [one.value for one in first + second] == [4.0, 3.0, 2.0, 1.0, 0.0]
        assert end == ""
        assert first[0].attributes == {"element": "img"}

    async def test_a_replay_is_told_from_its_segments(self, store: EventStore) -> None:
        rows = [
            replay_segment_row(
                n, segment=n, blob_key=f"k{n}", timestamp=NOW - HOUR + n * SECOND, urls=["https://a/", f"https://{n}/"],
                error_ids=[hex_id(n)], trace_ids=[hex_id(50 + n)],
            )
            for n in (1, 0, 2)
        ]  # fmt: skip
        again = replay_segment_row(5, segment=1, blob_key="k1-again", blob_bytes=7, timestamp=NOW - HOUR + 2 * SECOND)
        await store.write(Batch(batch_id=BATCH, replay_segments=rows))
        await store.write(Batch(batch_id=BATCH + 1, replay_segments=[again]))
        found = await store.replay((1,), hex_id(1))
        assert found is not None
        assert (found.segments, found.blob_bytes, found.blob_keys) == (3, 207, ("k0", "k1-again", "k2"))
        assert (found.started, found.ended) == (NOW - HOUR, NOW - HOUR + 2 * SECOND)
        assert found.urls == ("https://a/", "https://0/", "https://2/")
        assert found.error_ids == (hex_id(0), hex_id(2))
        assert await store.replay((2,), hex_id(1)) is None
        assert await store.replay((1,), "") is None

    async def test_replays_are_listed_newest_first_and_filtered(self, store: EventStore) -> None:
        rows = [
            replay_segment_row(
                n, replay_id=hex_id(n), started=NOW - HOUR + n, timestamp=NOW - HOUR + n + SECOND, urls=[f"https://{n}/"],
                environment=("staging", "production")[n % 2], trace_ids=[hex_id(90 + n)],
            )
            for n in range(5)
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, replay_segments=rows))
        first, cursor = await store.replays(ALL, Page(limit=3))
        second, end = await store.replays(ALL, Page(limit=3, cursor=cursor))
        assert [one.replay_id for one in first + second] == [hex_id(n) for n in (4, 3, 2, 1, 0)]
        assert end == ""

        async def chosen(**fields: Any) -> list[str]:
            return [one.replay_id for one in (await store.replays(where(**fields), Page()))[0]]

        assert await chosen(environments=("production",)) == [hex_id(3), hex_id(1)]
        assert await chosen(urls=("https://2/",)) == [hex_id(2)]
        assert await chosen(trace_id=hex_id(93)) == [hex_id(3)]
        assert await chosen(replay_id=hex_id(4)) == [hex_id(4)]
        assert await chosen(start=NOW - HOUR + 4 + SECOND) == [hex_id(4)]
        assert await chosen(end=NOW - HOUR + 1) == [hex_id(0)]

    async def test_releases_count_a_session_as_it_ended(self, store: EventStore) -> None:
        sessions = [
            session_row(0, release="b", timestamp=NOW - 20, status="ok", user_hash=5),
            session_row(1, session_id=hex_id(1), release="b", timestamp=NOW - 10, status="crashed", user_hash=5),
            session_row(2, release="b", status="exited", quantity=4),
        ]
        events = [event_row(3, release="a", timestamp=NOW - 2 * HOUR, user_hash=6), event_row(4, release="")]
        await store.write(Batch(batch_id=BATCH, events=events, sessions=sessions))
        newer, older = await store.releases(ALL)
        assert (newer.release, newer.events, newer.sessions, newer.crashed_sessions, newer.users) == ("b", 0, 5, 1, 1)
        assert (newer.first_seen, newer.last_seen) == (NOW - HOUR, NOW - 10)
        assert (older.release, older.events, older.sessions, older.users) == ("a", 1, 0, 1)

    async def test_outcomes_are_added_up(self, store: EventStore) -> None:
        rows = [outcome_row(n, quantity=n + 1) for n in range(3)] + [
            outcome_row(9, reason="before_send", source="server")
        ]
        await store.write(Batch(batch_id=BATCH, outcomes=rows))
        assert await store.outcomes(ALL) == [
            ("client", "ratelimit_backoff", "error", 6),
            ("server", "before_send", "error", 1),
        ]


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

    async def test_a_closed_store_says_so(self, store: EventStore) -> None:
        await store.close()
        try:
            await store.count(ALL)
        except StoreUnavailableError as error:
            assert "open" in str(error) or "closed" in str(error)
        finally:
            await store.open()


class EventStoreSuite(WritingSuite, FilterSuite, EventsSuite, CountingSuite, ValuesSuite, VisitsSuite, KeepingSuite):
    """All of the contract. A subclass provides the fixture `store`."""
