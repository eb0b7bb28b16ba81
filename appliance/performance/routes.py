"""Measurements in the JSON API, and all routes of performance."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import Clock, EventFilter, Page
from appliance.performance.pages import page_routes
from appliance.performance.schemas import MetricPage, SamplePage, metric_body, sample_body
from appliance.performance.service import PerformanceService
from appliance.web.api_parameters import Cursor, Id, Limit, Moment, Values, moment, since_or_default

ByUrl = Annotated[bool, QueryParameter(description="One row for each page instead of one for all.")]
OneMetric = Annotated[str, QueryParameter(max_length=200, description="Of this metric alone: LCP, long_task, …")]
SessionId = Annotated[str, QueryParameter(max_length=64, description="Of this session alone.")]
ByRoute = Annotated[bool, QueryParameter(description="One row for each route instead of one for all.")]


@get(
    "/api/v1/projects/{project_id:int}/performance",
    opt=requires(Permission.ISSUES_READ),
    tags=["performance"],
    summary="List a project's metrics",
)
async def api_performance(
    actor: NamedDependency[Actor],
    performance: NamedDependency[PerformanceService],
    clock: NamedDependency[Clock],
    project_id: Id,
    metric: Values = None,
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    route: Values = None,
    by_url: ByUrl = False,
    by_route: ByRoute = False,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 100,
) -> MetricPage:
    """Percentiles of web vitals and other measurements, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
        routes=tuple(route or ()),
    )
    found = await performance.summaries(actor, where, metric or (), by_url=by_url, by_route=by_route, limit=limit)
    return MetricPage(items=[metric_body(one) for one in found])


@get(
    "/api/v1/projects/{project_id:int}/measurements",
    opt=requires(Permission.ISSUES_READ),
    tags=["performance"],
    summary="List a project's single measurements",
)
async def api_measurements(
    actor: NamedDependency[Actor],
    performance: NamedDependency[PerformanceService],
    clock: NamedDependency[Clock],
    project_id: Id,
    metric: OneMetric = "",
    session: SessionId = "",
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    route: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> SamplePage:
    """Samples of a metric or of all, newest first, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        session_id=session,
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
        routes=tuple(route or ()),
    )
    found, following = await performance.samples(actor, where, metric, Page(limit=limit, cursor=cursor))
    return SamplePage(items=[sample_body(one) for one in found], next=following or None)


routes: Final[list[ControllerRouterHandler]] = [*page_routes, api_performance, api_measurements]
