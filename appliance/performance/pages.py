"""Pages about performance: all metrics of a project, and one metric with its samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from litestar import get
from litestar.response import Template

from appliance.accounts.access import Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.performance.deps import Acting, AnyRequest, PathText, Performance, Time
from appliance.performance.metrics import TONES, VITAL_NAMES
from appliance.performance.service import Span, whole_hours
from appliance.performance.views import sample_row
from appliance.web.filtering import PERIODS, Filters, controls, read_filters
from appliance.web.menus import menu_label, menu_page
from appliance.web.pages import ShellProject, is_htmx, page, project_of

READ: Final = requires(Permission.ISSUES_READ)
MENUS: Final[Mapping[str, str]] = {
    "route": "Route",
    "release": "Release",
    "environment": "Environment",
    "browser": "Browser",
}
LABELS: Final[Mapping[str, str]] = {"os": "OS", "device": "Device", "url": "Page", "rating": "Rating"}
FIELDS: Final[Mapping[str, str]] = {
    "route": "routes", "release": "releases", "environment": "environments", "browser": "browsers", "os": "oses",
    "device": "devices", "url": "urls",
}  # fmt: skip
SAMPLES: Final = 25
MAX_METRIC: Final = 200  # characters of a name


@get("/projects/{slug:str}/performance", opt=READ, include_in_schema=False)
async def performance_page(
    request: AnyRequest, actor: Acting, performance: Performance, clock: Time, slug: PathText
) -> Template:
    """All metrics of a project."""
    project, base = _place(request, slug)
    filters = read_filters(request.query_params, base, list(FIELDS), usual="7d")
    where, span = _scope(project, filters, clock.now())
    return page(
        request,
        "performance/overview.html",
        **_around(project, base, filters),
        shown=await performance.overview(actor, where, span),
    )


@get("/projects/{slug:str}/performance/metric", opt=READ, include_in_schema=False)
async def metric_page(
    request: AnyRequest, actor: Acting, performance: Performance, clock: Time, slug: PathText
) -> Template:
    """One metric, by its name in the query: names may hold anything. For htmx also only more of its samples."""
    project, base = _place(request, slug)
    metric = _metric(request) or VITAL_NAMES[0]
    filters = _metric_filters(request, base, metric)
    where, span = _scope(project, filters, clock.now())
    cursor = request.query_params.get("cursor", "")
    rated = tuple(word for word in filters.of("rating") if word in TONES)
    samples, following = await performance.samples(actor, where, metric, Page(limit=SAMPLES, cursor=cursor), rated)
    described = await performance.describe(actor, where, metric)
    rows: dict[str, Any] = {
        "samples": [sample_row(one, described) for one in samples],
        "more_href": filters.href(cursor=following) if following else "",
    }
    if is_htmx(request) and request.query_params.get("part") == "rows":
        return page(request, "performance/sample_rows.html", project=project, **rows, oob=True)
    return page(
        request,
        "performance/metric.html",
        **_around(project, base, filters),
        **rows,
        oob=False,
        metric=described,
        shown=await performance.metric(actor, where, metric, span),
        by_url=request.query_params.get("by") == "page",
    )


@get("/projects/{slug:str}/performance/values/{name:str}", opt=READ, include_in_schema=False)
async def performance_values(
    request: AnyRequest, actor: Acting, performance: Performance, clock: Time, slug: PathText, name: PathText
) -> Template:
    """The values of a filter menu."""
    label = menu_label(MENUS, name)
    project, base = _place(request, slug)
    metric = _metric(request)
    filters = (
        _metric_filters(request, base, metric)
        if metric
        else read_filters(request.query_params, base, list(FIELDS), usual="7d")
    )
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()))
    found = await performance.values(actor, where, name)
    values = [(one.value, one.events) for one in found]
    return menu_page(request, project, "performance", (name, label), filters, values)


def _place(request: AnyRequest, slug: str) -> tuple[ShellProject, str]:
    project = project_of(request, slug)
    return project, f"/projects/{project.slug}/performance"


def _metric(request: AnyRequest) -> str:
    return request.query_params.get("metric", "").strip()[:MAX_METRIC]


def _metric_filters(request: AnyRequest, base: str, metric: str) -> Filters:
    fixed = {"metric": metric, "by": "page" if request.query_params.get("by") == "page" else ""}
    return read_filters(request.query_params, f"{base}/metric", [*FIELDS, "rating"], usual="7d", fixed=fixed)


def _scope(project: ShellProject, filters: Filters, now: int) -> tuple[EventFilter, Span]:
    fields: dict[str, Any] = {field: filters.of(name) for name, field in FIELDS.items()}
    bucket = PERIODS[filters.period].bucket
    start = whole_hours(filters.start(now), bucket)
    return EventFilter(project_ids=(project.id,), start=start, **fields), Span(end=now, bucket=bucket)


def _around(project: ShellProject, base: str, filters: Filters) -> dict[str, Any]:
    around = controls(filters, MENUS, f"{base}/values", LABELS)
    return {"project": project, "base": base, "filters": filters, "controls": around}


page_routes: Final = [performance_page, metric_page, performance_values]
