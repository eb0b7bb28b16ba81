"""Measurements in the JSON API, and all routes of performance."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.performance.pages import page_routes
from appliance.performance.schemas import MetricPage, SamplePage, metric_body, sample_body
from appliance.performance.service import PerformanceService
from appliance.web.api_parameters import PAGED, ROUTED, ROUTED_OF_SESSION, Limit, Values

ByUrl = Annotated[bool, QueryParameter(description="One row for each page instead of one for all.")]
OneMetric = Annotated[str, QueryParameter(max_length=200, description="Of this metric alone: LCP, long_task, …")]
ByRoute = Annotated[bool, QueryParameter(description="One row for each route instead of one for all.")]


@get(
    "/api/v1/projects/{project_id:int}/performance",
    opt=requires(Permission.ISSUES_READ),
    tags=["performance"],
    dependencies=ROUTED,
    summary="List a project's metrics",
)
async def api_performance(
    actor: NamedDependency[Actor],
    performance: NamedDependency[PerformanceService],
    where: NamedDependency[EventFilter],
    metric: Values = None,
    by_url: ByUrl = False,
    by_route: ByRoute = False,
    limit: Limit = 100,
) -> MetricPage:
    """Percentiles of web vitals and other measurements, of the last 30 days unless `since` says otherwise."""
    found = await performance.summaries(actor, where, metric or (), by_url=by_url, by_route=by_route, limit=limit)
    return MetricPage(items=[metric_body(one) for one in found])


@get(
    "/api/v1/projects/{project_id:int}/measurements",
    opt=requires(Permission.ISSUES_READ),
    tags=["performance"],
    dependencies={**ROUTED_OF_SESSION, **PAGED},
    summary="List a project's single measurements",
)
async def api_measurements(
    actor: NamedDependency[Actor],
    performance: NamedDependency[PerformanceService],
    where: NamedDependency[EventFilter],
    page: NamedDependency[Page],
    metric: OneMetric = "",
) -> SamplePage:
    """Samples of a metric or of all, newest first, of the last 30 days unless `since` says otherwise."""
    found, following = await performance.samples(actor, where, metric, page)
    return SamplePage(items=[sample_body(one) for one in found], next=following or None)


routes: Final[list[ControllerRouterHandler]] = [*page_routes, api_performance, api_measurements]
