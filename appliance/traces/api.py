"""Spans in the JSON API."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import structs

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.traces.schemas import SpanList, span_body
from appliance.traces.service import TraceService
from appliance.web.api_parameters import FILTERED, PAGED

TraceId = Annotated[str, QueryParameter(max_length=64, description="All spans of this trace, not root spans alone.")]


@get(
    "/api/v1/projects/{project_id:int}/spans",
    opt=requires(Permission.ISSUES_READ),
    tags=["traces"],
    dependencies={**FILTERED, **PAGED},
    summary="List a project's spans",
)
async def api_spans(
    actor: NamedDependency[Actor],
    traces: NamedDependency[TraceService],
    where: NamedDependency[EventFilter],
    page: NamedDependency[Page],
    trace: TraceId = "",
) -> SpanList:
    """Root spans, newest first, of the last 30 days unless `since` says otherwise."""
    found, following = await traces.list(actor, structs.replace(where, trace_id=trace), page)
    return SpanList(items=[span_body(one) for one in found], next=following or None)


api_routes: Final[list[ControllerRouterHandler]] = [api_spans]
