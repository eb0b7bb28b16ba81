"""Sessions and page views in the JSON API."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import Clock, EventFilter, Page
from appliance.sessions.schemas import (
    PageViewList,
    SessionBody,
    SessionList,
    page_view_body,
    session_body,
)
from appliance.sessions.service import SessionService
from appliance.web.api_parameters import Cursor, Id, Limit, Moment, Values, moment, since_or_default

VisitId = Annotated[str, PathParameter(max_length=64, description="A session's id.")]
SessionId = Annotated[str, QueryParameter(max_length=64, description="Of this session alone.")]


@get(
    "/api/v1/projects/{project_id:int}/sessions",
    opt=requires(Permission.ISSUES_READ),
    tags=["sessions"],
    summary="List a project's sessions",
)
async def api_sessions(
    actor: NamedDependency[Actor],
    sessions: NamedDependency[SessionService],
    clock: NamedDependency[Clock],
    project_id: Id,
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    user: Values = None,
    route: Values = None,
    status: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> SessionList:
    """Sessions, newest first, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
        user_ids=tuple(user or ()),
        routes=tuple(route or ()),
        statuses=tuple(status or ()),
    )
    found, following = await sessions.list(actor, where, Page(limit=limit, cursor=cursor))
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
    summary="List a project's page views",
)
async def api_page_views(
    actor: NamedDependency[Actor],
    sessions: NamedDependency[SessionService],
    clock: NamedDependency[Clock],
    project_id: Id,
    session: SessionId = "",
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    route: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> PageViewList:
    """Page views with what of them never arrived, newest first, of the last 30 days unless `since` says otherwise."""
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
    found, following = await sessions.page_views(actor, where, Page(limit=limit, cursor=cursor))
    return PageViewList(items=[page_view_body(one) for one in found], next=following or None)


api_routes: Final[list[ControllerRouterHandler]] = [api_sessions, api_session, api_page_views]
