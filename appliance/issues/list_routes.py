"""The list of issues: the page, its parts for htmx, filter menus, bulk actions, the live stream."""

from __future__ import annotations

import math
from typing import Any, Final, cast
from urllib.parse import parse_qsl, urlsplit

from litestar import get, post
from litestar.datastructures import FormMultiDict
from litestar.exceptions import NotFoundException
from litestar.response import Redirect, Response, Stream, Template
from msgspec import Struct, structs

from appliance.accounts.access import Actor, Permission, requires
from appliance.accounts.guards import access_of
from appliance.hookspecs import Clock
from appliance.issues.deps import Acting, AnyRequest, Feed, Issues, PathText, Time
from appliance.issues.list_figures import tiles
from appliance.issues.list_page import (
    HOUR,
    MENUS,
    PERIODS,
    SORT_NAMES,
    ListAddress,
    controls,
    value_choices,
)
from appliance.issues.live import news
from appliance.issues.search import MAX_SEARCH, parse_search
from appliance.issues.service import IssueService
from appliance.issues.views import (
    MAX_BULK,
    Ignore,
    IssueActionError,
    IssueList,
    IssueNotFoundError,
    IssueSort,
    ParsedSearch,
    Reopen,
    ResolveNow,
)
from appliance.web.live import LiveStreams
from appliance.web.pages import Shell, ShellProject, is_htmx, page, redirect, toast

DAY: Final = 24 * HOUR
PAGE_SIZE: Final = 25  # fills a screen; each row costs a sparkline
FIGURES_SECONDS: Final = 0.015  # the list waits so long for the figures above it; then they follow by themselves

# The action that brings a state back.
TAKES_BACK: Final = {"open": "reopen", "resolved": "resolve", "ignored": "ignore"}


class Listing(Struct, frozen=True, kw_only=True):
    """What one request for the list is about."""

    address: ListAddress
    project: ShellProject | None
    parsed: ParsedSearch
    found: IssueList
    now: int


@get("/", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def overview() -> Redirect:
    """The first page. The list of issues answers the morning's question until there is more to say."""
    return Redirect("/issues", status_code=302)


@get("/issues", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_list(
    request: AnyRequest,
    actor: Acting,
    issues: Issues,
    clock: Time,
) -> Template:
    """The list, or for htmx the part that filters change, or only more rows."""
    cursor = request.query_params.get("cursor", "")
    listing = await _listing(actor, issues, clock, *_address(request), cursor)
    if is_htmx(request) and request.query_params.get("part") == "rows":
        return page(request, "issues/rows.html", **_rows_context(actor, listing), oob=True)
    shown = await _list_context(request, actor, issues, listing)
    if is_htmx(request):
        return page(request, "issues/results.html", **shown)
    figures = await issues.figures(actor, listing.parsed.query.project_ids, wait=FIGURES_SECONDS)
    may_look = actor.may(Permission.SYSTEM_READ)
    return page(request, "issues/list.html", **shown, tiles=tiles(listing.address, figures, system=may_look))


@get("/issues/figures", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_figures(request: AnyRequest, actor: Acting, issues: Issues) -> Template:
    """The figures above the list, for a list that did not wait for them; without a script a page of its own."""
    address, project = _address(request)
    figures = await issues.figures(actor, (project.id,) if project else ())
    return page(
        request,
        "issues/figures.html",
        fragment="figures",
        heading=f"Issues of {project.name}" if project else "Issues",
        address=address,
        tiles=tiles(address, figures, system=actor.may(Permission.SYSTEM_READ)),
    )


@get("/issues/values/{name:str}", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_values(request: AnyRequest, actor: Acting, issues: Issues, name: PathText) -> Template:
    """The values of a filter menu; fetched when the menu is opened."""
    if name not in MENUS:
        raise NotFoundException
    address, project = _address(request)
    values = await issues.filter_values(actor, name, project_ids=(project.id,) if project else ())
    return page(
        request,
        "issues/values.html",
        fragment="sheet",
        key=name,
        label=MENUS[name],
        address=address,
        fragment_only=is_htmx(request),
        choices=value_choices(address, name, values),
    )


@post("/issues/actions", opt=requires(Permission.ISSUES_WRITE), include_in_schema=False, status_code=200)
async def issue_actions(
    request: AnyRequest,
    actor: Acting,
    issues: Issues,
    clock: Time,
) -> Response[Any]:
    """Resolve, ignore, reopen or merge the selected issues; answers with the list as it then is."""
    form = await request.form()
    ids = picked_ids(form)
    action = str(form.get("action", ""))
    back = str(form.get("back", "/issues"))
    tone, undo = "good", None
    try:
        said, undo = await _act(actor, issues, ids, action)
    except (IssueActionError, IssueNotFoundError) as error:
        said, tone = str(error), "bad"
    if not is_htmx(request):
        return redirect(request, back if back.startswith("/issues?") else "/issues")
    listing = await _listing(actor, issues, clock, *_address(request, back))
    shown = await _list_context(request, actor, issues, listing)
    return page(request, "issues/results.html", headers=toast(said, tone, undo), **shown)


@get("/issues/live", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_live(request: AnyRequest, actor: Acting, issues: Issues, feed: Feed, clock: Time) -> Stream:
    """New and returned issues as they come, by server-sent events."""
    _, project = _address(request)
    live = cast("LiveStreams", request.app.state["live"])
    wanted = (project.id,) if project else ()
    access = access_of(request)
    return live.stream(actor.user_id, news(actor, issues, feed, clock, wanted), lambda: access.still(request, actor))


async def _act(
    actor: Actor, issues: IssueService, ids: tuple[int, ...], action: str
) -> tuple[str, dict[str, Any] | None]:
    """Do it; what to say, and the form that takes it back when that is possible."""
    if not ids:
        raise IssueActionError("Select an issue first.")
    if action == "merge":
        if len(ids) < 2:
            raise IssueActionError("Select at least two issues to merge.")
        # The one with the most events keeps its number: it is the one that people have seen and linked to.
        found = [(await issues.issue(actor, issue_id)).issue for issue_id in ids]
        target = max(found, key=lambda issue: (issue.event_count, -issue.id))
        merged = await issues.merge(actor, target.id, [issue.id for issue in found if issue.id != target.id])
        return f"Merged {len(merged.merged)} into #{merged.issue_id}.", None
    actions = {"resolve": ResolveNow(), "ignore": Ignore(), "reopen": Reopen()}
    if action not in actions:
        raise IssueActionError("Choose what to do with the selected issues.")
    done = await issues.act(actor, ids, actions[action])
    words = {"resolve": "Resolved", "ignore": "Ignored", "reopen": "Reopened"}[action]
    count = len(done.changed)
    if not count:
        return "They already were so.", None
    undo = {"action": TAKES_BACK[done.before], "id": list(done.changed)} if done.before else None
    return f"{words} {count} issue{'' if count == 1 else 's'}.", undo


def picked_ids(form: FormMultiDict) -> tuple[int, ...]:
    """The issue numbers in a form, each once, at most `MAX_BULK`."""
    texts = [str(value).removeprefix("#") for value in form.getall("id", [])]
    numbers = dict.fromkeys(int(text) for text in texts if text.isascii() and text.isdigit() and len(text) < 19)
    return tuple(numbers)[:MAX_BULK]


def _address(request: AnyRequest, back: str = "") -> tuple[ListAddress, ShellProject | None]:
    """Where the list stands, by the query (or the address that a form came from); nonsense becomes the default."""
    params = _query_of(back) if back else request.query_params
    sort, period, slug = params.get("sort", ""), params.get("period", ""), params.get("project", "")
    address = ListAddress(
        q=params.get("q", "").strip()[:MAX_SEARCH],
        project=slug,
        sort=sort if sort in SORT_NAMES else "last_seen",
        period=period if period in PERIODS else "",
    )
    shell = cast("Shell", request.state.shell)
    project = next((project for project in shell.projects if project.slug == slug), None)
    if slug and project is None:
        raise NotFoundException(f"There is no project {slug}, or you are not a member of it.")
    return address, project


def _query_of(address: str) -> dict[str, str]:
    """The query of an address that a form brought; of one that cannot be read, none."""
    try:
        return dict(parse_qsl(urlsplit(address).query, max_num_fields=20))
    except ValueError:
        return {}


async def _listing(
    actor: Actor,
    issues: IssueService,
    clock: Clock,
    address: ListAddress,
    project: ShellProject | None,
    cursor: str = "",
) -> Listing:
    parsed = parse_search(address.q)
    now, length = clock.now(), PERIODS[address.period][1]
    query = structs.replace(
        parsed.query,
        project_ids=(project.id,) if project else (),
        sort=cast("IssueSort", address.sort),
        start=max(parsed.query.start, now - length) if length else parsed.query.start,
        limit=PAGE_SIZE,
        cursor=cursor,
    )
    found = await issues.list(actor, query)
    parsed = structs.replace(parsed, query=query)
    return Listing(address=address, project=project, parsed=parsed, found=found, now=now)


def _rows_context(actor: Actor, listing: Listing) -> dict[str, Any]:
    found = listing.found
    return {
        "issues": found.items,
        "may_write": actor.may(Permission.ISSUES_WRITE),
        "project": listing.project,
        "query": listing.parsed.query,
        "new_since": listing.now - DAY,
        "more_href": listing.address.href(cursor=found.next) if found.next else "",
        "spark_title": _spark_title(listing),
    }


async def _list_context(request: AnyRequest, actor: Actor, issues: IssueService, listing: Listing) -> dict[str, Any]:
    shell = cast("Shell", request.state.shell)
    address, found, project = listing.address, listing.found, listing.project
    counts = await issues.state_counts(actor, listing.parsed.query.project_ids)
    around = controls(address, listing.parsed.query, counts)
    filtered = bool(address.period or listing.parsed.query.text or around.chips)
    count = len(found.items)
    return {
        **_rows_context(actor, listing),
        "oob": False,
        "heading": f"Issues of {project.name}" if project else "Issues",
        "address": address,
        "controls": around,
        "menus": [(key, label) for key, label in MENUS.items() if key != "level"],
        "errors": listing.parsed.errors,
        "notes": found.notes,
        "shown": bool(shell.projects),
        "waiting": not filtered and counts.open + counts.resolved + counts.ignored == 0,
        "filtered": filtered,
        "shown_words": f"{count} shown" if found.next else f"{count} issue{'' if count == 1 else 's'}",
        "all_states_href": around.states[-1].href,
        "live_href": address.href("/issues/live") if shell.projects else "",
    }


def _spark_title(listing: Listing) -> str:
    if not listing.found.start:
        return "Trend"
    if listing.address.period:
        name = PERIODS[listing.address.period][0].lower()
        return name.removeprefix("last ").replace(" hours", "\u202fh").replace("hour", "1\u202fh")
    hours = math.ceil((listing.now - listing.found.start) / HOUR)
    return f"{hours}\u202fh" if hours <= 48 else f"{round(hours / 24)} days"
