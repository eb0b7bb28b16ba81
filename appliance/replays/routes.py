"""Replays: the pages and the JSON API."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import Clock, EventFilter, Page
from appliance.replays.pages import page_routes
from appliance.replays.schemas import ReplayPage, replay_body
from appliance.replays.service import ReplayService
from appliance.web.api_parameters import Cursor, Id, Limit, Moment, Values, moment, since_or_default


@get(
    "/api/v1/projects/{project_id:int}/replays",
    opt=requires(Permission.ISSUES_READ),
    tags=["replays"],
    summary="List a project's replays",
)
async def api_replays(
    actor: NamedDependency[Actor],
    replays: NamedDependency[ReplayService],
    clock: NamedDependency[Clock],
    project_id: Id,
    environment: Values = None,
    release: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> ReplayPage:
    """Recorded sessions, newest first, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,),
        start=since_or_default(since, clock.now()),
        end=moment("until", until),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
    )
    found, following = await replays.list(actor, where, Page(limit=limit, cursor=cursor))
    return ReplayPage(items=[replay_body(one) for one in found], next=following or None)


routes: Final[list[ControllerRouterHandler]] = [*page_routes, api_replays]
