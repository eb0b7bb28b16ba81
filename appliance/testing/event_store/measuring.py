"""Measurements: summed up, over time, by element, one by one; and the menu values of tables beside events."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from appliance.hookspecs import EventStore, MetricSummary, Page
from appliance.model import Batch
from appliance.testing.event_store.common import ALL, BATCH, where
from appliance.testing.rows import (
    DAY,
    HOUR,
    NOW,
    SECOND,
    event_row,
    hex_id,
    measurement_row,
    page_view_row,
    session_row,
    span_row,
)


class MeasuringSuite:
    """Measurements."""

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
        assert len((await store.measurements(ALL, "", Page()))[0]) == 6

    async def test_metrics_are_summed_up_per_route_and_filtered_by_it(self, store: EventStore) -> None:
        rows = [
            measurement_row(n, route=route, url=f"https://a{route}{n}", value=value)
            for n, (route, value) in enumerate((("/cart", 900.0), ("/cart", 900.0), ("/item/:id", 100.0)))
        ]
        await store.write(Batch(batch_id=BATCH, measurements=rows))
        for _ in range(2):
            found = await store.metric_summaries(ALL, ("LCP",), by_route=True)
            assert [(one.route, one.samples, one.url) for one in found] == [("/cart", 2, ""), ("/item/:id", 1, "")]
            (one,) = await store.metric_summaries(where(routes=("/item/:id",)))
            assert (one.samples, one.p75) == (1, pytest.approx(100.0))
            await store.summarise(NOW + HOUR)

    async def test_a_metric_over_time_is_drawn_from_sums_as_from_rows(self, store: EventStore) -> None:
        old = NOW - 6 * HOUR
        rows = [
            measurement_row(0, timestamp=old, value=100.0),
            measurement_row(1, timestamp=old + HOUR, value=300.0, rating="needs_improvement"),
            measurement_row(2, timestamp=NOW - HOUR, value=5_000.0, rating="poor"),
            measurement_row(3, timestamp=NOW - HOUR, value=0.3, rating="poor", metric="CLS"),
            measurement_row(4, timestamp=NOW - HOUR, project_id=2),
        ]
        await store.write(Batch(batch_id=BATCH, measurements=rows))
        first, second = old // (2 * HOUR) * 2 * HOUR, (NOW - HOUR) // (2 * HOUR) * 2 * HOUR
        for _ in range(2):
            drawn = await store.metric_histograms(ALL, ("LCP", "INP"), 2 * HOUR)
            assert list(drawn) == ["LCP", "INP"]
            assert drawn["INP"] == []
            assert [(bar.start, bar.samples) for bar in drawn["LCP"]] == [(first, 2), (second, 1)]
            assert [(bar.good, bar.needs_improvement, bar.poor) for bar in drawn["LCP"]] == [(1, 1, 0), (0, 0, 1)]
            assert drawn["LCP"][1].p75 == pytest.approx(5_000.0)
            minutes = await store.metric_histograms(where(start=NOW - HOUR), ("LCP",), 60 * SECOND)
            assert [bar.samples for bar in minutes["LCP"]] == [1]
            await store.summarise(NOW)
        assert await store.metric_histograms(ALL, (), HOUR) == {}
        with pytest.raises(ValueError, match="bucket"):
            await store.metric_histograms(ALL, ("LCP",), 0)

    async def test_the_elements_with_the_most_poor_samples_come_first(self, store: EventStore) -> None:
        rows = [
            measurement_row(n, element=element, value=value, rating=rating, route=route)
            for n, (element, value, rating, route) in enumerate(
                (
                    ("img.hero", 5_000.0, "poor", "/"), ("img.hero", 6_000.0, "poor", "/sale"),
                    ("h1", 900.0, "good", "/"), ("video", 9_000.0, "poor", "/film"), ("", 9_999.0, "poor", "/"),
                )
            )
        ]  # fmt: skip
        await store.write(Batch(batch_id=BATCH, measurements=[*rows, measurement_row(9, metric="CLS", element="p")]))
        found = await store.metric_elements(ALL, "LCP")
        assert [(one.element, one.samples, one.poor) for one in found] == [
            ("img.hero", 2, 2),
            ("video", 1, 1),
            ("h1", 1, 0),
        ]
        assert (found[0].worst, found[0].route) == (6_000.0, "/sale")
        assert [one.element for one in await store.metric_elements(ALL, "LCP", limit=1)] == ["img.hero"]

    async def test_a_sample_says_where_it_was_taken_and_samples_are_chosen_by_rating(self, store: EventStore) -> None:
        taken = measurement_row(
            0,
            rating="poor",
            route="/cart",
            element="img",
            session_id=hex_id(5),
            page_view_id=hex_id(6),
            trace_id=hex_id(7),
        )
        await store.write(Batch(batch_id=BATCH, measurements=[taken, measurement_row(1)]))
        (found,), _ = await store.measurements(where(ratings=("poor",)), "LCP", Page())
        assert (found.project_id, found.rating, found.route, found.element) == (1, "poor", "/cart", "img")
        assert (found.session_id, found.page_view_id, found.trace_id) == (hex_id(5), hex_id(6), hex_id(7))
        for chosen in (where(page_view_id=hex_id(6)), where(session_id=hex_id(5)), where(routes=("/cart",))):
            assert len((await store.measurements(chosen, "LCP", Page()))[0]) == 1

    async def test_filter_menus_of_other_tables_offer_what_occurs_there(self, store: EventStore) -> None:
        await store.write(
            Batch(
                batch_id=BATCH,
                events=[event_row(0, release="of events alone")],
                measurements=[measurement_row(1, route="/cart"), measurement_row(2, route="/cart"), measurement_row(3)],
                sessions=[session_row(4, status="crashed"), session_row(5, environment="staging")],
                spans=[span_row(6, op="pageload"), span_row(7, op="http.client", start=NOW - DAY)],
                page_views=[page_view_row(8, browser="Firefox", project_id=2)],
            )
        )
        routes = await store.field_values("measurements", ALL, "route")
        assert [(one.value, one.events) for one in routes] == [("/cart", 2), ("/", 1)]
        assert [one.value for one in await store.field_values("sessions", ALL, "status")] == ["crashed", "ok"]
        assert [one.value for one in await store.field_values("spans", where(start=NOW - 2 * HOUR), "op")] == [
            "pageload"
        ]
        assert [one.value for one in await store.field_values("sessions", ALL, "release")] == ["shop@1.0.0"]
        assert await store.field_values("page_views", ALL, "browser") == []
        assert await store.field_values("sessions", ALL, "batch_id") == []
        assert len(await store.field_values("measurements", ALL, "route", limit=1)) == 1
