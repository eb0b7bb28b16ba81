"""Measurements of a project: how its pages do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct, structs

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import (
    EventFilter,
    EventStore,
    Measure,
    MetricSummary,
    Page,
    TagCount,
)
from appliance.performance.metrics import KNOWN, VITAL_NAMES, Metric, described
from appliance.performance.views import (
    ROUTE_METRICS,
    MetricPage,
    Overview,
    metric_page,
    overview,
)
from appliance.web.charts import slots

MAX_METRICS: Final = 60  # on one page; an application may make up any number of names
MAX_ROUTES: Final = 400  # of all vitals together: a hundred routes
MAX_ROWS: Final = 50  # of a metric's own page
MAX_UNKNOWN: Final = 12  # metrics whose unit is looked up in a sample
MENU_VALUES: Final = 50
HOUR: Final = 3_600_000_000  # µs
# SDKs write the middle rating in two ways.
RATINGS: Final = {
    "good": ("good",),
    "needs improvement": ("needs-improvement", "needs_improvement"),
    "poor": ("poor",),
}


class Span(Struct, frozen=True, kw_only=True):
    """The time that a chart shows, and how wide its bars are; µs."""

    end: int
    bucket: int


class PerformanceService:
    """Web vitals and the like, as an actor may see them. Raises `NotFoundError` for a project that is not theirs."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def summaries(
        self,
        actor: Actor,
        where: EventFilter,
        metrics: Sequence[str],
        *,
        by_url: bool = False,
        by_route: bool = False,
        limit: int,
    ) -> list[MetricSummary]:
        """Percentiles of each metric, for the project or for each of its pages or routes, the worst first.

        Args:
            actor: who asks.
            where: of one project.
            metrics: empty: all of them.
            by_url: one row a page instead of one for all.
            by_route: one row a route.
            limit: rows at most.
        """
        _require(actor, where)
        return await self._store.metric_summaries(where, metrics, by_url, limit, by_route)

    async def overview(self, actor: Actor, where: EventFilter, span: Span) -> Overview:
        """All metrics of a project: vitals over time, the rest, the busiest routes.

        Args:
            actor: who asks.
            where: of one project, with a start.
            span: what the charts show, from the filter's start on.
        """
        _require(actor, where)
        found, before, bars, routes = await asyncio.gather(
            self._store.metric_summaries(where, limit=MAX_METRICS),
            self._store.metric_summaries(_before(where, span), VITAL_NAMES),
            self._store.metric_histograms(where, VITAL_NAMES, span.bucket),
            self._store.metric_summaries(where, ROUTE_METRICS, limit=MAX_ROUTES, by_route=True),
        )
        unknown = [one.metric for one in found if one.metric not in KNOWN][:MAX_UNKNOWN]
        units = await asyncio.gather(*(self._unit(where, name) for name in unknown))
        times = slots(where.start, span.end, span.bucket)
        return overview(found, before, bars, routes, dict(zip(unknown, units, strict=True)), times)

    async def metric(self, actor: Actor, where: EventFilter, name: str, span: Span) -> MetricPage:
        """One metric: over time, by route and page, by what was measured; arguments as `overview` has them."""
        _require(actor, where)
        metric = await self.describe(actor, where, name)
        found, before, bars, by_route, by_url, elements = await asyncio.gather(
            self._store.metric_summaries(where, (name,), limit=1),
            self._store.metric_summaries(_before(where, span), (name,), limit=1),
            self._store.metric_histograms(where, (name,), span.bucket),
            self._store.metric_summaries(where, (name,), limit=MAX_ROWS, by_route=True),
            self._store.metric_summaries(where, (name,), by_url=True, limit=MAX_ROWS),
            self._store.metric_elements(where, name, MAX_ROWS),
        )
        times = slots(where.start, span.end, span.bucket)
        of_late, earlier = (next(iter(some), None) for some in (found, before))
        return metric_page(metric, of_late, earlier, bars[name], by_route, by_url, elements, times)

    async def describe(self, actor: Actor, where: EventFilter, name: str) -> Metric:
        """What a metric is; the unit of one that is not known by name stands in its samples."""
        _require(actor, where)
        return described(name, "" if name in KNOWN else await self._unit(where, name))

    async def samples(
        self, actor: Actor, where: EventFilter, name: str, page: Page, rated: Sequence[str] = ()
    ) -> tuple[list[Measure], str]:
        """Single samples of a metric, newest first, and the next cursor.

        Args:
            actor: who asks.
            where: of one project.
            name: the metric.
            page: how many, from where on.
            rated: good, needs improvement, poor; empty: all.
        """
        _require(actor, where)
        ratings = tuple(word for one in rated for word in RATINGS.get(one, (one,)))
        return await self._store.measurements(structs.replace(where, ratings=ratings), name, page)

    async def values(self, actor: Actor, where: EventFilter, name: str) -> list[TagCount]:
        """The values of a filter menu, most frequent first."""
        _require(actor, where)
        return await self._store.field_values("measurements", where, name, MENU_VALUES)

    async def _unit(self, where: EventFilter, name: str) -> str:
        found, _ = await self._store.measurements(where, name, Page(limit=1))
        return found[0].unit if found else ""


def _before(where: EventFilter, span: Span) -> EventFilter:
    """The same of the period before, as long as this one."""
    start = whole_hours(2 * where.start - span.end, span.bucket)
    return structs.replace(where, start=max(0, start), end=where.start)


def whole_hours(start: int, bucket: int) -> int:
    """Where a period begins, moved to the beginning of its hour when its bars are hours: the store has sums of those.

    Args:
        start: µs.
        bucket: how wide a bar is, µs.
    """
    return start // HOUR * HOUR if bucket % HOUR == 0 else start


def _require(actor: Actor, where: EventFilter) -> None:
    for project_id in where.project_ids:
        actor.require_project(project_id, Permission.ISSUES_READ)
