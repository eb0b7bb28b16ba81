"""What a filter selects, and who may see it."""

from __future__ import annotations

import pytest

from appliance.hookspecs import (
    EventFilter,
    EventNotFoundError,
    EventStore,
    Page,
)
from appliance.model import Batch
from appliance.testing.event_store.common import ALL, BATCH, HOSTILE, ids, where
from appliance.testing.rows import (
    DAY,
    HOUR,
    NOW,
    event_row,
    hex_id,
    measurement_row,
)


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
