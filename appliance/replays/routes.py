"""Replays: the pages and the JSON API."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.replays.pages import page_routes
from appliance.replays.schemas import ReplayPage, replay_body
from appliance.replays.service import ReplayService
from appliance.web.api_parameters import FILTERED_OF_SESSION, PAGED


@get(
    "/api/v1/projects/{project_id:int}/replays",
    opt=requires(Permission.ISSUES_READ),
    tags=["replays"],
    dependencies={**FILTERED_OF_SESSION, **PAGED},
    summary="List a project's replays",
)
async def api_replays(
    actor: NamedDependency[Actor],
    replays: NamedDependency[ReplayService],
    where: NamedDependency[EventFilter],
    page: NamedDependency[Page],
) -> ReplayPage:
    """Recorded sessions, newest first, of the last 30 days unless `since` says otherwise."""
    found, following = await replays.list(actor, where, page)
    return ReplayPage(items=[replay_body(one) for one in found], next=following or None)


routes: Final[list[ControllerRouterHandler]] = [*page_routes, api_replays]
