"""Pages about traces: the newest ones, and one as a waterfall."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import get
from litestar.response import Template

from appliance.accounts.access import Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.traces.deps import Acting, AnyRequest, PathText, Time, Traces
from appliance.traces.views import FINE
from appliance.web.filtering import controls, read_filters
from appliance.web.menus import menu_label, menu_page
from appliance.web.pages import is_htmx, page, project_of

READ: Final = requires(Permission.ISSUES_READ)
MENUS: Final[Mapping[str, str]] = {"release": "Release", "environment": "Environment", "browser": "Browser"}
LABELS: Final[Mapping[str, str]] = {"os": "OS", "device": "Device", "url": "Page"}
FIELDS: Final[Mapping[str, str]] = {
    "release": "releases", "environment": "environments", "browser": "browsers", "os": "oses", "device": "devices",
    "url": "urls",
}  # fmt: skip
PAGE_SIZE: Final = 50


@get("/projects/{slug:str}/traces", opt=READ, include_in_schema=False)
async def trace_list(request: AnyRequest, actor: Acting, traces: Traces, clock: Time, slug: PathText) -> Template:
    """The newest root spans of a project; for htmx also only more rows."""
    project = project_of(request, slug)
    base = f"/projects/{project.slug}/traces"
    filters = read_filters(request.query_params, base, list(FIELDS))
    fields: dict[str, Any] = {field: filters.of(name) for name, field in FIELDS.items()}
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()), **fields)
    cursor = request.query_params.get("cursor", "")
    found, following = await traces.list(actor, where, Page(limit=PAGE_SIZE, cursor=cursor))
    rows: dict[str, Any] = {
        "project": project,
        "base": base,
        "spans": found,
        "fine": FINE,
        "more_href": filters.href(cursor=following) if following else "",
    }
    if is_htmx(request) and request.query_params.get("part") == "rows":
        return page(request, "traces/rows.html", **rows, oob=True)
    around = controls(filters, MENUS, f"{base}/values", LABELS)
    return page(request, "traces/list.html", **rows, oob=False, controls=around)


@get("/projects/{slug:str}/traces/{trace_id:str}", opt=READ, include_in_schema=False)
async def trace_page(
    request: AnyRequest, actor: Acting, traces: Traces, slug: PathText, trace_id: PathText
) -> Template:
    """One trace as a waterfall."""
    project = project_of(request, slug)
    shown = await traces.trace(actor, project.id, trace_id[:64])
    return page(request, "traces/trace.html", project=project, base=f"/projects/{project.slug}/traces", shown=shown)


@get("/projects/{slug:str}/traces/values/{name:str}", opt=READ, include_in_schema=False)
async def trace_values(
    request: AnyRequest, actor: Acting, traces: Traces, clock: Time, slug: PathText, name: PathText
) -> Template:
    """The values of a filter menu."""
    label = menu_label(MENUS, name)
    project = project_of(request, slug)
    filters = read_filters(request.query_params, f"/projects/{project.slug}/traces", list(FIELDS))
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()))
    found = await traces.values(actor, where, name)
    values = [(one.value, one.events) for one in found]
    return menu_page(request, project, "traces", (name, label), filters, values)


page_routes: Final = [trace_list, trace_page, trace_values]
