"""Page views with what is missing of them, visits, spans, and measurements that took each other's place."""

from __future__ import annotations

from typing import Any

from appliance.hookspecs import EventStore, Page
from appliance.model import Batch
from appliance.testing.event_store.common import ALL, BATCH, HOSTILE, where
from appliance.testing.rows import (
    HOUR,
    NOW,
    SECOND,
    hex_id,
    measurement_row,
    page_view_row,
    session_row,
    span_row,
)

BEGAN = NOW - HOUR


class ViewingSuite:
    """Page views, visits, spans, replaced measurements."""

    async def test_a_page_view_is_one_however_many_requests_told_of_it(self, store: EventStore) -> None:
        rows = [
            page_view_row(0, envelope_id=hex_id(10), last_sequence=3, sequences=[1, 2], url="https://shop.example/a"),
            page_view_row(
                1, page_view_id=hex_id(1), envelope_id=hex_id(11), last_sequence=7, sequences=[5, 6, 2],
                received_at=BEGAN + SECOND, route="/b", title="Cart",
            ),
            page_view_row(2, page_view_id=hex_id(9), envelope_id=hex_id(12), last_sequence=2, sequences=[2, 1]),
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, page_views=rows[:1]))
        await store.write(Batch(batch_id=BATCH + 1, page_views=rows[1:]))
        whole, gappy = (await store.page_views(ALL, Page()))[0]
        assert (whole.page_view_id, whole.envelopes, whole.last_sequence, whole.missing) == (hex_id(9), 1, 2, 0)
        assert (gappy.page_view_id, gappy.envelopes, gappy.last_sequence) == (hex_id(1), 2, 7)
        assert (gappy.arrived, gappy.missing) == (4, 3)  # 3, 4 and 7 were never heard of
        assert (gappy.timestamp, gappy.route, gappy.title) == (BEGAN, "/b", "Cart")
        assert await store.page_view_count(ALL) == (2, 1, 3)

    async def test_each_request_of_a_page_view_is_seen_by_its_own_id(self, store: EventStore) -> None:
        rows = [page_view_row(n, page_view_id=hex_id(1), envelope_id=hex_id(10 + n)) for n in range(2)]
        await store.write(Batch(batch_id=BATCH, page_views=rows))
        asked = [(1, "page_view", hex_id(number)) for number in (10, 11, 12, 1)]
        assert await store.seen(asked, since=0, ignore_batch=0) == frozenset(asked[:2])

    async def test_a_number_beyond_the_last_one_given_out_moves_it(self, store: EventStore) -> None:
        await store.write(Batch(batch_id=BATCH, page_views=[page_view_row(0, last_sequence=1, sequences=[1, 4])]))
        (view,) = (await store.page_views(ALL, Page()))[0]
        assert (view.last_sequence, view.missing) == (4, 2)
        assert await store.page_view_count(ALL) == (1, 1, 2)

    async def test_page_views_are_paged_and_filtered_by_any_of_their_requests(self, store: EventStore) -> None:
        rows = [
            page_view_row(
                n, page_view_id=hex_id(n // 2), envelope_id=hex_id(50 + n), timestamp=BEGAN + n // 2, sequences=[n + 1],
                route=("", "/named")[n % 2] if n < 4 else "", session_id=hex_id(n // 4), last_sequence=2,
            )
            for n in range(10)
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, page_views=rows))
        first, cursor = await store.page_views(ALL, Page(limit=3))
        second, end = await store.page_views(ALL, Page(limit=3, cursor=cursor))
        assert [one.page_view_id for one in first + second] == [hex_id(n) for n in (4, 3, 2, 1, 0)]
        assert end == ""

        async def chosen(**fields: Any) -> list[tuple[str, int]]:
            found, _ = await store.page_views(where(**fields), Page())
            assert await store.page_view_count(where(**fields)) == (
                len(found), sum(one.missing > 0 for one in found), sum(one.missing for one in found),
            )  # fmt: skip
            return [(one.page_view_id, one.envelopes) for one in found]

        assert await chosen(routes=("/named",)) == [(hex_id(1), 2), (hex_id(0), 2)]
        assert await chosen(session_id=hex_id(1)) == [(hex_id(3), 2), (hex_id(2), 2)]
        assert await chosen(page_view_id=hex_id(2)) == [(hex_id(2), 2)]
        assert await chosen(start=BEGAN + 1, end=BEGAN + 3) == [(hex_id(2), 2), (hex_id(1), 2)]
        assert await chosen(environments=("staging",)) == []
        assert (await store.page_views(where(project_ids=()), Page()))[0] == []
        assert await store.page_view_count(where(project_ids=(2,))) == (0, 0, 0)

    async def test_a_session_counts_as_its_newest_row_says_with_its_page_views(self, store: EventStore) -> None:
        sessions = [
            session_row(0, timestamp=BEGAN + 1, status="ok", user_id="u1", user_hash=5),
            session_row(
                1, session_id=hex_id(1), timestamp=BEGAN + 9, status="crashed", errors=2, user_id="u1", user_hash=5,
                duration=9.0,
            ),
            session_row(2, session_id=hex_id(2), started=BEGAN + 5, timestamp=BEGAN + 6),
        ]  # fmt: skip
        views = [
            page_view_row(3, session_id=hex_id(1), timestamp=BEGAN + 2, url="https://a/", last_sequence=4),
            page_view_row(4, session_id=hex_id(1), timestamp=BEGAN + 1, url="https://first/", route="/first"),
            page_view_row(5, session_id=hex_id(1), page_view_id=hex_id(4), envelope_id=hex_id(70), sequences=[2, 3]),
        ]
        await store.write(Batch(batch_id=BATCH, sessions=sessions, page_views=views))
        newer, older = (await store.sessions(ALL, Page()))[0]
        assert (newer.session_id, newer.status, newer.page_views, newer.url) == (hex_id(2), "ok", 0, "")
        assert (older.session_id, older.started, older.timestamp) == (hex_id(1), BEGAN, BEGAN + 9)
        assert (older.status, older.errors, older.duration, older.user_id) == ("crashed", 2, 9.0, "u1")
        # Of one page view there are two requests: it began at the earlier time, and the later one names its address.
        assert (older.page_views, older.missing, older.url) == (2, 2, "https://shop.example/")
        assert await store.session((1,), hex_id(1)) == older
        assert await store.session((2,), hex_id(1)) is None
        assert await store.session((1,), "") is None

    async def test_sessions_are_paged_and_filtered(self, store: EventStore) -> None:
        sessions = [
            session_row(n, session_id=hex_id(n), started=BEGAN + n, timestamp=BEGAN + n, user_id=("a", "b")[n % 2])
            for n in range(5)
        ]
        views = [page_view_row(9, session_id=hex_id(3), url="https://deep/", route="/deep")]
        await store.write(Batch(batch_id=BATCH, sessions=sessions, page_views=views))
        first, cursor = await store.sessions(ALL, Page(limit=3))
        second, end = await store.sessions(ALL, Page(limit=3, cursor=cursor))
        assert [one.session_id for one in first + second] == [hex_id(n) for n in (4, 3, 2, 1, 0)]
        assert end == ""

        async def chosen(**fields: Any) -> list[str]:
            return [one.session_id for one in (await store.sessions(where(**fields), Page()))[0]]

        assert await chosen(user_ids=("b",)) == [hex_id(3), hex_id(1)]
        assert await chosen(urls=("https://deep/",)) == [hex_id(3)]
        assert await chosen(routes=("/deep",)) == [hex_id(3)]
        assert await chosen(page_view_id=hex_id(10)) == [hex_id(3)]
        assert await chosen(start=BEGAN + 1, end=BEGAN + 3) == [hex_id(2), hex_id(1)]
        assert await chosen(releases=("other",)) == []
        assert await chosen(project_ids=()) == []

    async def test_root_spans_are_listed_and_a_trace_is_told_in_order(self, store: EventStore) -> None:
        rows = [span_row(n, trace_id=hex_id(n), start=BEGAN + n, end=BEGAN + n + SECOND) for n in range(4)]
        child = span_row(7, trace_id=hex_id(2), start=BEGAN, is_segment=False, parent_span_id=rows[2].span_id)
        again = span_row(
            8, trace_id=hex_id(2), span_id=rows[2].span_id, start=BEGAN + 2, end=BEGAN + 5 * SECOND, name="renamed",
            attributes=b'{"a":1}',
        )  # fmt: skip
        await store.write(Batch(batch_id=BATCH, spans=[*rows, child]))
        await store.write(Batch(batch_id=BATCH + 1, spans=[again]))
        first, cursor = await store.spans(ALL, Page(limit=3))
        second, end = await store.spans(ALL, Page(limit=3, cursor=cursor))
        assert [one.trace_id for one in first + second] == [hex_id(n) for n in (3, 2, 1, 0)]
        assert end == ""
        assert (first[1].name, first[1].end, first[1].attributes) == ("renamed", BEGAN + 5 * SECOND, {"a": 1})
        both, _ = await store.spans(where(trace_id=hex_id(2)), Page())
        assert [one.span_id for one in both] == [rows[2].span_id, child.span_id]
        assert await store.trace((1,), hex_id(2)) == both[::-1]
        assert await store.trace((1,), hex_id(2), limit=1) == both[1:]
        assert await store.trace((2,), hex_id(2)) == []
        assert await store.trace((1,), "") == []
        assert [one.trace_id for one in (await store.spans(where(start=BEGAN + 3), Page()))[0]] == [hex_id(3)]
        assert (await store.spans(where(browsers=("Opera",)), Page()))[0] == []

    async def test_of_a_measurement_that_was_replaced_the_last_value_counts(self, store: EventStore) -> None:
        first = [measurement_row(n, metric="CLS", value=0.1, rating="good") for n in range(3)]
        later = [
            measurement_row(10 + n, measurement_id=first[0].measurement_id, metric="CLS", value=value, rating=rating,
                            revision=revision)
            for n, (value, rating, revision) in enumerate(((0.3, "poor", 9), (0.2, "needs-improvement", 4)))
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, measurements=first))
        await store.write(Batch(batch_id=BATCH + 1, measurements=later))
        for _ in range(2):
            (summary,) = await store.metric_summaries(ALL)
            assert (summary.samples, summary.good, summary.needs_improvement, summary.poor) == (3, 2, 0, 1)
            found, _ = await store.measurements(ALL, "CLS", Page())
            assert sorted(one.value for one in found) == [0.1, 0.1, 0.3]
            await store.summarise(NOW + HOUR)
        seen = [(1, "measurement", first[0].measurement_id + suffix) for suffix in ("", "/4", "/9", "/5")]
        assert await store.seen(seen, since=0, ignore_batch=0) == frozenset(seen[:3])

    async def test_a_value_that_arrives_after_its_hour_was_summed_up_counts_too(self, store: EventStore) -> None:
        row = measurement_row(0, metric="INP", value=100.0, rating="good")
        await store.write(Batch(batch_id=BATCH, measurements=[row]))
        await store.summarise(NOW + HOUR)
        again = measurement_row(
            1, measurement_id=row.measurement_id, metric="INP", value=700.0, rating="poor", revision=3, received_at=NOW
        )
        await store.write(Batch(batch_id=BATCH + 1, measurements=[again]))
        for _ in range(2):
            (summary,) = await store.metric_summaries(ALL)
            assert (summary.samples, summary.poor, summary.p75) == (1, 1, 700.0)
            await store.summarise(NOW + HOUR)

    async def test_hostile_text_in_page_views_sessions_and_spans_comes_back_as_it_was(self, store: EventStore) -> None:
        views = [page_view_row(n, route=text, title=text, url=text) for n, text in enumerate(HOSTILE)]
        sessions = [session_row(100 + n, user_id=text) for n, text in enumerate(HOSTILE)]
        spans = [span_row(200 + n, trace_id=hex_id(n), name=text) for n, text in enumerate(HOSTILE)]
        await store.write(Batch(batch_id=BATCH, page_views=views, sessions=sessions, spans=spans))
        for text in HOSTILE:
            (view,) = (await store.page_views(where(routes=(text,), urls=(text,)), Page()))[0]
            assert (view.route, view.title) == (text, text)
            (visit,) = (await store.sessions(where(user_ids=(text,)), Page()))[0]
            assert visit.user_id == text
        assert {one.name for one in (await store.spans(ALL, Page()))[0]} == set(HOSTILE)

    async def test_sessions_are_chosen_by_how_they_ended(self, store: EventStore) -> None:
        rows = [
            session_row(0, session_id=hex_id(1), status="ok", timestamp=BEGAN),
            session_row(1, session_id=hex_id(1), status="crashed", timestamp=BEGAN + SECOND),
            session_row(2, session_id=hex_id(2), status="ok", timestamp=BEGAN),
            session_row(3, session_id=hex_id(3), status="errored", timestamp=BEGAN, project_id=2),
        ]
        await store.write(Batch(batch_id=BATCH, sessions=rows))

        async def chosen(*statuses: str) -> list[str]:
            return [one.session_id for one in (await store.sessions(where(statuses=statuses), Page()))[0]]

        assert await chosen("crashed", "errored") == [hex_id(1)]
        assert await chosen("ok") == [hex_id(2)]
        assert len(await chosen()) == 2
