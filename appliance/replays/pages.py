"""Pages of replays: a project's list, one replay with its player, its segments, and the frame that plays them.

A recording is what a stranger's page was made of: hostile. It is shown in a document of its own (`replay_frame`) that
may load nothing and in which only our player runs; see docs/replays.md.
"""

from __future__ import annotations

import secrets
from typing import Any, Final, cast

from litestar import get
from litestar.enums import MediaType
from litestar.response import Response, Template

from appliance.accounts.access import Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.replays.deps import Acting, AnyRequest, Issues, PathInt, PathText, Replays, Time
from appliance.replays.views import row_of, view_of
from appliance.web.filtering import Filters, controls, read_filters
from appliance.web.headers import CSP
from appliance.web.menus import menu_label, menu_page
from appliance.web.pages import Shell, is_htmx, page, project_of, redirect

READ: Final = requires(Permission.ISSUES_READ)
MENUS: Final = {"release": "Release", "environment": "Environment", "browser": "Browser"}
LABELS: Final = {"os": "OS", "device": "Device", "url": "Page"}
FIELDS: Final = {
    "release": "releases", "environment": "environments", "browser": "browsers", "os": "oses", "device": "devices",
    "url": "urls",
}  # fmt: skip
PAGE_SIZE: Final = 25
LEAD: Final = 5_000  # ms; a replay that is opened from an event begins so long before it
# The page with the player may frame one document of ours.
PAGE_CSP: Final = f"{CSP}; frame-src 'self'"


@get("/projects/{slug:str}/replays", opt=READ, include_in_schema=False)
async def replay_list(request: AnyRequest, actor: Acting, replays: Replays, clock: Time, slug: PathText) -> Template:
    """A project's replays; for htmx also only more rows."""
    project = project_of(request, slug)
    base = f"/projects/{project.slug}/replays"
    filters = _filters(request, base)
    where = _where(project.id, filters, clock.now())
    cursor = request.query_params.get("cursor", "")
    found, following = await replays.list(actor, where, Page(limit=PAGE_SIZE, cursor=cursor))
    rows: dict[str, Any] = {
        "project": project,
        "base": base,
        "rows": [row_of(one) for one in found],
        "more_href": filters.href(cursor=following) if following else "",
    }
    if is_htmx(request) and request.query_params.get("part") == "rows":
        return page(request, "replays/rows.html", **rows, oob=True)
    around = controls(filters, MENUS, f"{base}/values", LABELS)
    return page(request, "replays/list.html", **rows, oob=False, filters=filters, controls=around)


@get("/projects/{slug:str}/replays/values/{name:str}", opt=READ, include_in_schema=False)
async def replay_values(
    request: AnyRequest, actor: Acting, replays: Replays, clock: Time, slug: PathText, name: PathText
) -> Template:
    """The values of a filter menu."""
    label = menu_label(MENUS, name)
    project = project_of(request, slug)
    filters = _filters(request, f"/projects/{project.slug}/replays")
    where = EventFilter(project_ids=(project.id,), start=filters.start(clock.now()))
    found = await replays.values(actor, where, name)
    return menu_page(request, project, "replays", (name, label), filters, found)


@get("/replays/{replay_id:str}", opt=READ, include_in_schema=False)
async def find_replay(request: AnyRequest, actor: Acting, replays: Replays, replay_id: PathText) -> Response[Any]:
    """A replay by its id alone, as events know it: on to its page."""
    projects = cast("Shell", request.state.shell).projects
    found = await replays.project_of(actor, [project.id for project in projects], replay_id)
    slug = next(project.slug for project in projects if project.id == found)
    event = request.query_params.get("event", "")
    return redirect(request, f"/projects/{slug}/replays/{replay_id}{f'?event={event}' if event.isalnum() else ''}")


@get("/projects/{slug:str}/replays/{replay_id:str}", opt=READ, include_in_schema=False)
async def replay_page(
    request: AnyRequest, actor: Acting, replays: Replays, issues: Issues, slug: PathText, replay_id: PathText
) -> Template:
    """One replay: the player, and beside it what happened in it."""
    project = project_of(request, slug)
    found = await replays.replay(actor, project.id, replay_id)
    hashes = {event.group_hash for event in found.events if event.group_hash}
    mentioned = await issues.mentions(actor, project.id, hashes)
    base = f"/projects/{project.slug}/replays"
    return page(
        request,
        "replays/replay.html",
        headers={"Content-Security-Policy": PAGE_CSP},
        project=project,
        base=base,
        view=view_of(found, mentioned, request.query_params.get("event", ""), LEAD),
    )


@get("/projects/{slug:str}/replays/{replay_id:str}/segments/{number:int}", opt=READ, include_in_schema=False)
async def replay_segment(
    request: AnyRequest, actor: Acting, replays: Replays, slug: PathText, replay_id: PathText, number: PathInt
) -> Response[bytes]:
    """One segment as JSON; compressed as it is stored, which every browser reads."""
    body = await replays.segment(actor, project_of(request, slug).id, replay_id, number)
    headers = {"Content-Encoding": "gzip", "Cache-Control": "private, max-age=600"}
    return Response(body, media_type="application/json", headers=headers)


@get("/replay-frame", opt=READ, include_in_schema=False)
async def replay_frame(request: AnyRequest) -> Template:
    """The document in which a recording is played.

    It gets the events from the page around it by message, since it may fetch nothing itself. Its policy holds in the
    player's inner frame too, which has no scripts at all: of a recording only styles and embedded images have effect.
    """
    nonce = secrets.token_urlsafe(16)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}'",
            "style-src 'self' 'unsafe-inline'",  # a recorded page brings its styles with it; they reach nothing
            "img-src data:",
            "font-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'self'",
            "sandbox allow-scripts allow-same-origin",  # of two documents of ours; what is recorded gets neither
        )
    )
    headers = {
        "Content-Security-Policy": policy,
        "X-Frame-Options": "SAMEORIGIN",
        "X-DNS-Prefetch-Control": "off",
        "Cache-Control": "no-store",
    }
    return Template("replays/frame.html", context={"nonce": nonce}, headers=headers, media_type=MediaType.HTML)


def _filters(request: AnyRequest, base: str) -> Filters:
    return read_filters(request.query_params, base, list(FIELDS), usual="7d")


def _where(project_id: int, filters: Filters, now: int) -> EventFilter:
    fields: dict[str, Any] = {field: filters.of(name) for name, field in FIELDS.items()}
    return EventFilter(project_ids=(project_id,), start=filters.start(now), **fields)


page_routes: Final = [replay_list, replay_values, find_replay, replay_page, replay_segment, replay_frame]
