"""Pages about sessions: the list, and one session with its page views."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from litestar import get
from litestar.response import Template

from appliance.accounts.access import Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.sessions.deps import Acting, AnyRequest, PathText, Sessions, Time
from appliance.sessions.views import ARRIVED_NOT, SETTLED, TONES
from appliance.web.filtering import controls, read_filters
from appliance.web.menus import menu_label, menu_page
from appliance.web.pages import is_htmx, page, project_of

READ: Final = requires(Permission.ISSUES_READ)
MENUS: Final[Mapping[str, str]] = {
    "status": "Status",
    "route": "Route",
    "release": "Release",
    "environment": "Environment",
    "browser": "Browser",
}
LABELS: Final[Mapping[str, str]] = {"os": "OS", "device": "Device", "user": "User"}
FIELDS: Final[Mapping[str, str]] = {
    "status": "statuses", "route": "routes", "release": "releases", "environment": "environments",
    "browser": "browsers", "os": "oses", "device": "devices", "user": "user_ids",
}  # fmt: skip
PAGE_SIZE: Final = 50


@get("/projects/{slug:str}/sessions", opt=READ, include_in_schema=False)
async def session_list(request: AnyRequest, actor: Acting, sessions: Sessions, clock: Time, slug: PathText) -> Template:
    """The sessions of a project; for htmx also only more rows."""
    project = project_of(request, slug)
    base = f"/projects/{project.slug}/sessions"
    filters = read_filters(request.query_params, base, list(FIELDS))
    fields: dict[str, Any] = {field: filters.of(name) for name, field in FIELDS.items()}
    now = clock.now()
    where = EventFilter(project_ids=(project.id,), start=filters.start(now), **fields)
    cursor = request.query_params.get("cursor", "")
    more = is_htmx(request) and request.query_params.get("part") == "rows"
    # Of page views neither the user nor how the session ended is known.
    counted = not (more or filters.of("user") or filters.of("status"))
    (found, following), counts = await asyncio.gather(
        sessions.list(actor, where, Page(limit=PAGE_SIZE, cursor=cursor)),
        sessions.counts(actor, where) if counted else _nothing(),
    )
    rows: dict[str, Any] = {
        "project": project,
        "base": base,
        "sessions": found,
        "tones": TONES,
        "settled_before": now - SETTLED,
        "arrived_not": ARRIVED_NOT,
        "filters": filters,
        "more_href": filters.href(cursor=following) if following else "",
    }
    if more:
        return page(request, "sessions/rows.html", **rows, oob=True)
    return page(
        request,
        "sessions/list.html",
        **rows,
        oob=False,
        controls=controls(filters, MENUS, f"{base}/values", LABELS),
        counts=counts,
    )


@get("/projects/{slug:str}/sessions/{visit_id:str}", opt=READ, include_in_schema=False)
async def session_page(
    request: AnyRequest, actor: Acting, sessions: Sessions, clock: Time, slug: PathText, visit_id: PathText
) -> Template:
    """One session: its page views in order, with what happened in each."""
    project = project_of(request, slug)
    return page(
        request,
        "sessions/session.html",
        project=project,
        base=f"/projects/{project.slug}/sessions",
        shown=await sessions.detail(actor, project.id, visit_id, clock.now()),
        tones=TONES,
    )


@get("/projects/{slug:str}/sessions/values/{name:str}", opt=READ, include_in_schema=False)
async def session_values(
    request: AnyRequest, actor: Acting, sessions: Sessions, clock: Time, slug: PathText, name: PathText
) -> Template:
    """The values of a filter menu."""
    label = menu_label(MENUS, name)
    project = project_of(request, slug)
    filters = read_filters(request.query_params, f"/projects/{project.slug}/sessions", list(FIELDS))
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()))
    found = await sessions.values(actor, where, name)
    values = [(one.value, one.events) for one in found]
    return menu_page(request, project, "sessions", (name, label), filters, values)


async def _nothing() -> None:
    """In the place of figures that are not shown."""


page_routes: Final = [session_list, session_page, session_values]
