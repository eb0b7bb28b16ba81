"""The page and the JSON API about what was not kept."""

from __future__ import annotations

from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Template
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from appliance.accounts.access import Actor, Permission, requires
from appliance.hookspecs import Clock, EventFilter
from appliance.outcomes.deps import Acting, AnyRequest, Outcomes, PathText, Time
from appliance.outcomes.service import OutcomeService
from appliance.web.api_parameters import Id, Moment, moment, since_or_default
from appliance.web.filtering import controls, read_filters
from appliance.web.pages import page, project_of

READ: Final = requires(Permission.ISSUES_READ)


class OutcomeBody(Struct, frozen=True, kw_only=True):
    """How many of a category were dropped for a reason; `source` is client (the SDK) or server."""

    source: str
    reason: str
    category: str
    quantity: int


class OutcomeList(Struct, frozen=True, kw_only=True):
    """Sums, the largest of each source first; it is one page, `next` is always null."""

    items: list[OutcomeBody]
    next: str | None = None


@get("/projects/{slug:str}/outcomes", opt=READ, include_in_schema=False)
async def outcomes_page(
    request: AnyRequest, actor: Acting, outcomes: Outcomes, clock: Time, slug: PathText
) -> Template:
    """What SDKs and the appliance dropped, and why."""
    project = project_of(request, slug)
    filters = read_filters(request.query_params, f"/projects/{project.slug}/outcomes", (), usual="7d")
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()))
    return page(
        request,
        "outcomes/page.html",
        project=project,
        controls=controls(filters, {}, "", {}),
        shown=await outcomes.totals(actor, where),
    )


@get(
    "/api/v1/projects/{project_id:int}/outcomes",
    opt=READ,
    tags=["outcomes"],
    summary="Sum up what of a project was not kept",
)
async def api_outcomes(
    actor: NamedDependency[Actor],
    outcomes: NamedDependency[OutcomeService],
    clock: NamedDependency[Clock],
    project_id: Id,
    since: Moment = "",
    until: Moment = "",
) -> OutcomeList:
    """What SDKs and the appliance dropped and why, of the last 30 days unless `since` says otherwise."""
    where = EventFilter(
        project_ids=(project_id,), start=since_or_default(since, clock.now()), end=moment("until", until)
    )
    found = await outcomes.totals(actor, where)
    return OutcomeList(
        items=[
            OutcomeBody(source=one.source, reason=one.reason, category=one.category, quantity=one.quantity)
            for one in (*found.client, *found.server)
        ]
    )


routes: Final[list[ControllerRouterHandler]] = [outcomes_page, api_outcomes]
