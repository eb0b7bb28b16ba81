"""Spans in the JSON API."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import Clock, EventFilter, Page
from appliance.traces.schemas import SpanList, span_body
from appliance.traces.service import TraceService
from appliance.web.api_parameters import Cursor, Id, Limit, Moment, Values, moment, since_or_default

TraceId = Annotated[str, QueryParameter(max_length=64, description="All spans of this trace, not root spans alone.")]


@get(
    "/api/v1/projects/{project_id:int}/spans",
    opt=requires(Permission.ISSUES_READ),
    tags=["traces"],
    summary="List a project's spans",
)
async def api_spans(
    actor: NamedDependency[Actor],
    traces: NamedDependency[TraceService],
    clock: NamedDependency[Clock],
    project_id: Id,
    trace: TraceId = "",
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> SpanList:
    """Root spans, newest first, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        trace_id=trace,
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
    )
    found, following = await traces.list(actor, where, Page(limit=limit, cursor=cursor))
    return SpanList(items=[span_body(one) for one in found], next=following or None)


api_routes: Final[list[ControllerRouterHandler]] = [api_spans]
