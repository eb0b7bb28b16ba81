"""Sessions and page views in the JSON API."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter
from litestar.types import ControllerRouterHandler
from msgspec import structs

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.sessions.schemas import (
    PageViewList,
    SessionBody,
    SessionList,
    page_view_body,
    session_body,
)
from appliance.sessions.service import SessionService
from appliance.web.api_parameters import PAGED, ROUTED, ROUTED_OF_SESSION, Id, Values

VisitId = Annotated[str, PathParameter(max_length=64, description="A session's id.")]


@get(
    "/api/v1/projects/{project_id:int}/sessions",
    opt=requires(Permission.ISSUES_READ),
    tags=["sessions"],
    dependencies={**ROUTED, **PAGED},
    summary="List a project's sessions",
)
async def api_sessions(
    actor: NamedDependency[Actor],
    sessions: NamedDependency[SessionService],
    where: NamedDependency[EventFilter],
    page: NamedDependency[Page],
    user: Values = None,
    status: Values = None,
) -> SessionList:
    """Sessions, newest first, of the last 30 days unless `since` says otherwise."""
    where = structs.replace(where, user_ids=tuple(user or ()), statuses=tuple(status or ()))
    found, following = await sessions.list(actor, where, page)
    return SessionList(items=[session_body(one) for one in found], next=following or None)


@get(
    "/api/v1/projects/{project_id:int}/sessions/{visit_id:str}",
    opt=requires(Permission.ISSUES_READ),
    tags=["sessions"],
    summary="Read a session",
)
async def api_session(
    actor: NamedDependency[Actor], sessions: NamedDependency[SessionService], project_id: Id, visit_id: VisitId
) -> SessionBody:
    """One session; its page views are listed under `page-views?session=…`."""
    return session_body(await sessions.get(actor, project_id, visit_id))


@get(
    "/api/v1/projects/{project_id:int}/page-views",
    opt=requires(Permission.ISSUES_READ),
    tags=["sessions"],
    dependencies={**ROUTED_OF_SESSION, **PAGED},
    summary="List a project's page views",
)
async def api_page_views(
    actor: NamedDependency[Actor],
    sessions: NamedDependency[SessionService],
    where: NamedDependency[EventFilter],
    page: NamedDependency[Page],
) -> PageViewList:
    """Page views with what of them never arrived, newest first, of the last 30 days unless `since` says otherwise."""
    found, following = await sessions.page_views(actor, where, page)
    return PageViewList(items=[page_view_body(one) for one in found], next=following or None)


api_routes: Final[list[ControllerRouterHandler]] = [api_sessions, api_session, api_page_views]
