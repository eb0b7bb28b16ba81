"""Releases in the JSON API."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import EventFilter
from appliance.releases.schemas import ReleasePage, release_body
from appliance.releases.service import ReleaseService
from appliance.web.api_parameters import FILTERED, Limit


@get(
    "/api/v1/projects/{project_id:int}/releases",
    opt=requires(Permission.ISSUES_READ),
    tags=["releases"],
    dependencies=FILTERED,
    summary="List a project's releases",
)
async def api_releases(
    actor: NamedDependency[Actor],
    releases: NamedDependency[ReleaseService],
    where: NamedDependency[EventFilter],
    limit: Limit = 50,
) -> ReleasePage:
    """Releases with their events and sessions, of the last 30 days unless `since` says otherwise."""
    return ReleasePage(items=[release_body(one) for one in await releases.list(actor, where, limit)])


routes: Final[list[ControllerRouterHandler]] = [api_releases]
