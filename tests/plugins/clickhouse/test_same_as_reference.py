"""On random rows and random filters ClickHouse answers as the reference store does, with and without hourly sums."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from appliance.hookspecs import EventFilter, EventStore, Page
from appliance.model import Batch
from appliance.testing.clock import FakeClock
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import (
    DAY,
    HOUR,
    NOW,
    event_row,
    hex_id,
    measurement_row,
    page_view_row,
    session_row,
    span_row,
)
from condev_plugins.clickhouse.store import ClickHouseStore
from condev_plugins.clickhouse.testing import temporary_store

FILTERS = 8  # each asks about ten questions of both stores


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[ClickHouseStore]:
    async with temporary_store(tmp_path / "clickhouse", FakeClock(NOW)) as store:
        yield store


def random_batch(dice: random.Random, number: int) -> Batch:
    def common() -> dict[str, Any]:
        received = NOW - dice.randrange(3 * DAY)
        return {
            "project_id": dice.choice((1, 1, 2)), "received_at": received,
            "timestamp": received - dice.choice((0, 1, 5 * HOUR, DAY, dice.randrange(2 * HOUR))),
            "release": dice.choice(("", "a@1", "a@2")), "environment": dice.choice(("production", "staging", "")),
            "browser": dice.choice(("Chrome", "Firefox", "")), "os": dice.choice(("Windows", "macOS")),
            "user_hash": dice.randrange(20), "url": dice.choice(("https://a/", "https://b/?q=1")),
        }  # fmt: skip

    events = [
        event_row(
            n, event_id=hex_id(dice.getrandbits(128)), group_hash=dice.choice((0, 1, 2, 3, 1 << 63)),
            kind=dice.choice(("error", "custom")), level=dice.choice(("error", "warning")),
            title=dice.choice(("Alpha beta", "gamma", "ALPHA")), user_id=dice.choice(("", "u1", "u2")),
            tags=dice.choice(({}, {"t": "1"}, {"t": "2", "browser": "x"}, {"u": ""})), **common(),
        )
        for n in range(60)
    ]  # fmt: skip
    measurements = [
        measurement_row(100 + n, measurement_id=hex_id(dice.getrandbits(128)), metric=dice.choice(("LCP", "CLS")),
                        value=7.0, rating=dice.choice(("good", "poor", "needs-improvement", "")), **common())
        for n in range(20)
    ]  # fmt: skip
    sessions = []
    for n in range(10):
        fields = common()
        del fields["url"]
        sessions.append(
            session_row(200 + n, session_id=hex_id(dice.randrange(9)), status=dice.choice(("ok", "crashed")), **fields)
        )
    views = [
        page_view_row(
            300 + n, envelope_id=hex_id(dice.getrandbits(128)), session_id=hex_id(dice.randrange(9)),
            last_sequence=dice.randrange(9), sequences=sorted(dice.sample(range(1, 12), dice.randrange(5))),
            route=dice.choice(("", "/a")), **_of_one_view(dice),
        )
        for n in range(15)
    ]  # fmt: skip
    spans = [
        span_row(
            400 + n, span_id=f"{place:016x}", trace_id=hex_id(place % 4), start=begun, end=begun + dice.randrange(HOUR),
            received_at=NOW - dice.randrange(HOUR), is_segment=dice.random() < 0.5, project_id=1 + place % 2,
            browser=dice.choice(("Chrome", "Firefox")), url=dice.choice(("https://a/", "")),
        )
        for n in range(10)
        for place in (dice.randrange(20),)
        for begun in (NOW - (place + 1) * 3 * HOUR - dice.randrange(60_000_000),)
    ]  # fmt: skip
    return Batch(
        batch_id=number + (1 << 100), events=events, measurements=measurements, sessions=sessions, page_views=views,
        spans=spans,
    )  # fmt: skip


def _of_one_view(dice: random.Random) -> dict[str, Any]:
    """What all requests of a page view say alike: its id, project and beginning."""
    number = dice.randrange(12)
    began = NOW - (number + 1) * 5 * HOUR
    return {
        "page_view_id": hex_id(number), "project_id": 1 + number % 2, "timestamp": began,
        "received_at": began + dice.randrange(HOUR), "url": dice.choice(("https://a/", "https://b/?q=1")),
        "environment": dice.choice(("production", "staging", "")), "browser": dice.choice(("Chrome", "Firefox", "")),
    }  # fmt: skip


def random_filter(dice: random.Random) -> EventFilter:
    def maybe(*values: Any) -> Any:
        return dice.choice((type(values[0])(), *values))

    start = dice.choice((0, 0, NOW - 2 * DAY, NOW - dice.randrange(3 * DAY)))
    return EventFilter(
        project_ids=dice.choice(((1,), (1, 2), (2,))), start=start,
        end=dice.choice((0, 0, NOW - HOUR, start + dice.randrange(1, 2 * DAY))),
        group_hashes=maybe((1,), (2, 3), (1 << 63, 9)), kinds=maybe(("error",)), levels=maybe(("error", "fatal")),
        environments=maybe(("production",), ("staging", "")), releases=maybe(("a@1",)), browsers=maybe(("Chrome",)),
        oses=maybe(("macOS",)), user_ids=maybe(("u1",)), urls=maybe(("https://a/",)), tags=maybe((("t", "1"),)),
        text=maybe("alpha"),
    )  # fmt: skip


async def _all(query: Any, where: EventFilter) -> list[object]:
    """Every item, four at a time."""
    found, cursor = list[object](), ""
    for _ in range(100):
        some, cursor = await query(where, Page(limit=4, cursor=cursor))
        found += some
        if not cursor:
            break
    return found


async def answers(store: EventStore, where: EventFilter) -> dict[str, object]:
    pages, cursor = list[object](), ""
    for _ in range(100):
        found, cursor = await store.events(where, Page(limit=37, cursor=cursor))
        pages += found
        if not cursor:
            break
    first, _ = await store.events(where, Page(limit=1))
    bars = await store.group_histograms(where, 6 * HOUR)
    return {
        "count": await store.count(where), "events": pages, "groups": await store.group_stats(where, order="events"),
        "by last": await store.group_stats(where), "hours": await store.histogram(where, HOUR),
        "minutes": await store.histogram(where, 60_000_000), "sparklines": dict(bars),
        "tags": await store.tag_distribution(where, ("browser", "t", "u", "release"), 50),
        "all tags": sorted(map(repr, await store.tag_distribution(where, (), 50))),
        "values": await store.values(where, "t"), "releases": await store.releases(where),
        "all metrics": await store.metric_summaries(where), "metrics": await store.metric_summaries(where, by_url=True),
        "routes": await store.metric_summaries(where, by_route=True),
        "neighbours": await store.neighbours(where, first[0]) if first else None,
        "replays": await store.replays(where, Page()),
        "page views": await _all(store.page_views, where), "gaps": await store.page_view_count(where),
        "spans": await _all(store.spans, where), "trace": await store.trace(where.project_ids, hex_id(1)),
    }  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_rows_and_filters_give_the_same_answers(store: ClickHouseStore, seed: int) -> None:
    dice, reference = random.Random(seed), MemoryStore(FakeClock(NOW))
    for number in range(6):
        batch = random_batch(dice, number)
        await store.write(batch)
        await reference.write(batch)
        if number in {2, 4}:
            await store.summarise(NOW - dice.randrange(DAY))
    for _ in range(FILTERS):
        where = random_filter(dice)
        assert await answers(store, where) == await answers(reference, where), where
        if dice.random() < 0.2:
            await store.summarise(NOW)
    oldest = (await store.drop_oldest("events"), await reference.drop_oldest("events"))
    assert oldest[0] is not None
    assert oldest[1] is not None
    assert oldest[0].rows == oldest[1].rows
    everything = EventFilter(project_ids=(1, 2))
    for _ in range(2):
        assert await answers(store, everything) == await answers(reference, everything)
        await store.summarise(NOW)
