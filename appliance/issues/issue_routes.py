"""The pages of one issue: an event, its raw JSON, the occurrences, history and grouping; and changing its state."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import get, post
from litestar.datastructures import FormMultiDict
from litestar.response import Response, Template
from msgspec import structs

from appliance.accounts.access import Actor, Permission, requires
from appliance.alerts.service import AlertService
from appliance.hookspecs import EventFilter, Page
from appliance.issues.deps import Acting, Alerts, AnyRequest, Issues, PathInt, PathText, Time
from appliance.issues.event_view import event_view
from appliance.issues.list_page import Choice
from appliance.issues.service import IssueService
from appliance.issues.views import (
    Ignore,
    IssueAction,
    IssueActionError,
    IssueDetail,
    IssueNotFoundError,
    IssueOverview,
    Reopen,
    ResolveIn,
    ResolveNow,
)
from appliance.web.errors import error_response
from appliance.web.formats import number
from appliance.web.pages import is_htmx, page, redirect

HOUR: Final = 3_600_000_000  # µs
MAX_HOURS: Final = 24 * 365  # beyond a year "for ever" is meant
MAX_MORE_EVENTS: Final = 1_000_000_000
EVENTS_PAGE: Final = 50
ALERTS_SHOWN: Final = 3  # the rest stands under Alerts
# Query names of the occurrences page → fields of the filter.
FIELDS: Final = {
    "environment": "environments",
    "release": "releases",
    "browser": "browsers",
    "os": "oses",
    "device": "devices",
    "url": "urls",
    "user": "user_ids",
    "level": "levels",
}


@get("/issues/{issue_id:int}", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_page(request: AnyRequest, actor: Acting, issues: Issues, alerts: Alerts, issue_id: PathInt) -> Template:
    """An issue with its newest event."""
    return await _event_page(request, actor, issues, alerts, issue_id, "latest")


@get("/issues/{issue_id:int}/events/{event_id:str}", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_event_page(
    request: AnyRequest, actor: Acting, issues: Issues, alerts: Alerts, issue_id: PathInt, event_id: PathText
) -> Template:
    """An issue with one event: an id, "latest" or "oldest"."""
    return await _event_page(request, actor, issues, alerts, issue_id, event_id)


@get("/issues/{issue_id:int}/events/{event_id:str}/json", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_event_json(
    request: AnyRequest,
    actor: Acting,
    issues: Issues,
    issue_id: PathInt,
    event_id: PathText,
) -> Response[Any] | Template:
    """An event as stored, on a page or as a file."""
    detail = await issues.issue(actor, issue_id)
    found = await issues.event(actor, event_id, issue_id=detail.issue.id)
    if found.event is None:
        return error_response(request, 404, "The payload of this event was not kept, or is no longer.")
    raw = msgspec.json.format(msgspec.json.encode(found.event), indent=2)
    if request.query_params.get("download"):
        headers = {
            "Content-Disposition": f'attachment; filename="event-{found.summary.event_id}.json"',
            "Cache-Control": "no-store",
        }
        return Response(raw, media_type="application/json", headers=headers)
    frame = _frame(actor, detail, issue_id, "")
    return page(request, "issues/json.html", **frame, raw=raw.decode(), event_id=found.summary.event_id)


@get("/events/{event_id:str}", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def event_page(request: AnyRequest, actor: Acting, issues: Issues, event_id: PathText) -> Response[Any]:
    """Where an event is shown, for links that know no issue."""
    found = await issues.event(actor, event_id)
    if found.issue_id is None:
        raise IssueNotFoundError("This event belongs to no issue: it is not of a kind that is grouped.")
    return redirect(request, f"/issues/{found.issue_id}/events/{found.summary.event_id}")


@get("/issues/{issue_id:int}/events", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_events_page(request: AnyRequest, actor: Acting, issues: Issues, issue_id: PathInt) -> Template:
    """The occurrences of an issue, filtered by the query."""
    detail = await issues.issue(actor, issue_id)
    params = {name: request.query_params.get(name, "").strip()[:200] for name in (*FIELDS, "text")}
    tags = [text[:300] for text in request.query_params.getall("tag", []) if ":" in text][:10]
    pairs = [(name, value) for name, value in params.items() if value] + [("tag", tag) for tag in tags]
    # The service puts the issue's own project and hashes in.
    where = EventFilter(project_ids=(), tags=tuple(_tag(text) for text in tags), text=params["text"])
    fields: dict[str, Any] = {FIELDS[name]: (value,) for name, value in params.items() if value and name in FIELDS}
    where = structs.replace(where, **fields)
    cursor = request.query_params.get("cursor", "")
    found = await issues.events(actor, detail.issue.id, Page(limit=EVENTS_PAGE, cursor=cursor), where)
    base = f"/issues/{detail.issue.id}/events"
    shown: dict[str, Any] = {
        "events": found.items,
        "it_id": detail.issue.id,
        "more_href": f"{base}?{urlencode([*pairs, ('cursor', found.next)])}" if found.next else "",
    }
    if is_htmx(request) and request.query_params.get("part") == "rows":
        return page(request, "issues/event_rows.html", **shown, oob=True)
    filters = [
        Choice(text=f"{name}: {value}", href=_href(base, [pair for pair in pairs if pair != (name, value)]), on=True)
        for name, value in pairs
    ]
    frame = _frame(actor, detail, issue_id, "/events")
    return page(request, "issues/events.html", **frame, **shown, oob=False, filters=filters, wanted=params)


@get("/issues/{issue_id:int}/grouping", opt=requires(Permission.ISSUES_READ), include_in_schema=False)
async def issue_grouping_page(request: AnyRequest, actor: Acting, issues: Issues, issue_id: PathInt) -> Template:
    """Why its events are one issue, what was merged, who changed what."""
    return await _grouping(request, actor, issues, issue_id)


@post("/issues/{issue_id:int}/state", opt=requires(Permission.ISSUES_WRITE), include_in_schema=False)
async def issue_state(
    request: AnyRequest, actor: Acting, issues: Issues, alerts: Alerts, clock: Time, issue_id: PathInt
) -> Response[Any] | Template:
    """Resolve, ignore or reopen one issue; what was wrong with the form stands on the issue's page."""
    form = await request.form()
    try:
        await issues.act(actor, [issue_id], _action(form, clock.now()))
    except IssueActionError as error:
        return await _event_page(request, actor, issues, alerts, issue_id, "latest", errors=(str(error),), status=422)
    back = str(form.get("back", ""))
    return redirect(request, back if back.startswith(f"/issues/{issue_id}") else f"/issues/{issue_id}")


@post("/issues/{issue_id:int}/merge", opt=requires(Permission.ISSUES_WRITE), include_in_schema=False)
async def issue_merge(
    request: AnyRequest, actor: Acting, issues: Issues, issue_id: PathInt
) -> Response[Any] | Template:
    """Merge another issue into this one."""
    text = str((await request.form()).get("source", "")).strip()[:20]
    digits = text.removeprefix("#")
    try:
        if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
            raise IssueActionError("Give the number of an issue, as in #123.")
        await issues.merge(actor, issue_id, [int(digits)])
    except (IssueActionError, IssueNotFoundError) as error:
        return await _grouping(request, actor, issues, issue_id, status=422, merge_error=str(error), merge_value=text)
    return redirect(request, f"/issues/{issue_id}/grouping")


@post("/issues/{issue_id:int}/unmerge", opt=requires(Permission.ISSUES_WRITE), include_in_schema=False)
async def issue_unmerge(
    request: AnyRequest, actor: Acting, issues: Issues, issue_id: PathInt
) -> Response[Any] | Template:
    """Give groups back to the issues they came from."""
    hashes = [str(value)[:16] for value in (await request.form()).getall("hash", [])]
    try:
        if not hashes:
            raise IssueActionError("Select the groups that are to leave this issue.")
        await issues.unmerge(actor, issue_id, hashes)
    except IssueActionError as error:
        return await _grouping(request, actor, issues, issue_id, status=422, errors=(str(error),))
    return redirect(request, f"/issues/{issue_id}/grouping")


def _action(form: FormMultiDict, now: int) -> IssueAction:
    """What the form asks for; raises `IssueActionError` in words."""
    action = str(form.get("action", ""))
    plain: dict[str, IssueAction] = {"resolve": ResolveNow(), "ignore": Ignore(), "reopen": Reopen()}
    match action:
        case "resolve_in":
            release = str(form.get("release", "")).strip()[:200]
            if not release:
                raise IssueActionError("Name the release that has the mend.")
            return ResolveIn(release)
        case "ignore_events":
            return Ignore(more_events=_whole(form, "more_events", MAX_MORE_EVENTS))
        case "ignore_for":
            return Ignore(until=now + _whole(form, "hours", MAX_HOURS) * HOUR)
        case "ignore_until":
            return Ignore(until=_start_of_day(str(form.get("date", "")), now))
        case _ if action in plain:
            return plain[action]
        case _:
            raise IssueActionError("Choose whether to resolve, ignore or reopen it.")


def _whole(form: FormMultiDict, name: str, most: int) -> int:
    text = str(form.get(name, ""))
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise IssueActionError(f"Give a whole number from 1 to {number(most)}.")
    return int(text)


def _start_of_day(text: str, now: int) -> int:
    try:
        day = date.fromisoformat(text)
        at = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError as error:
        raise IssueActionError("Give a date as year-month-day, such as 2027-01-31.") from error
    if not now < at <= now + MAX_HOURS * HOUR:
        raise IssueActionError("Give a day that is still to come, within a year.")
    return at


async def _event_page(
    request: AnyRequest,
    actor: Actor,
    issues: IssueService,
    alerts: AlertService,
    issue_id: int,
    event_id: str,
    errors: tuple[str, ...] = (),
    status: int = 200,
) -> Template:
    look, fired = await asyncio.gather(
        issues.look(actor, issue_id, event_id), alerts.log.alerts(actor, issue_id=issue_id, limit=ALERTS_SHOWN)
    )
    detail, event, overview = look.detail, look.event, look.overview
    if detail.issue.id != issue_id:  # it was merged into another
        fired = await alerts.log.alerts(actor, issue_id=detail.issue.id, limit=ALERTS_SHOWN)
    view = event_view(event.event) if event is not None and event.event is not None else None
    return page(
        request,
        "issues/event.html",
        status=status,
        **_frame(actor, detail, issue_id, "", errors),
        event=event,
        view=view,
        overview=overview,
        recent_note=_trend(overview),
        fired=fired.items,
    )


def _trend(overview: IssueOverview | None) -> str:
    """The later half of the period, a week, against the earlier, in words."""
    if overview is None or len(overview.histogram) < 2:
        return ""
    middle = len(overview.histogram) // 2
    before = sum(bar.events for bar in overview.histogram[:middle])
    after = sum(bar.events for bar in overview.histogram[middle:])
    if before == after:
        return "as many in each week"
    if not before:
        return "all in the last 7 days"
    change = round(abs(after - before) / before * 100)
    return f"{'▲' if after > before else '▼'} {change}\u202f% on the week before"


async def _grouping(
    request: AnyRequest,
    actor: Actor,
    issues: IssueService,
    issue_id: int,
    *,
    status: int = 200,
    errors: tuple[str, ...] = (),
    merge_error: str = "",
    merge_value: str = "",
) -> Template:
    detail = await issues.issue(actor, issue_id)
    frame = _frame(actor, detail, issue_id, "/grouping", errors)
    return page(
        request, "issues/grouping.html", status=status, **frame, merge_error=merge_error, merge_value=merge_value
    )


def _frame(actor: Actor, detail: IssueDetail, asked_id: int, tab: str, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "detail": detail,
        "tab": tab,
        "may_write": actor.may(Permission.ISSUES_WRITE),
        "project_slug": detail.issue.project_slug,  # the navigation shows the project's sections
        "moved_from": asked_id if asked_id != detail.issue.id else None,
        "action_errors": errors,
    }


def _tag(text: str) -> tuple[str, str]:
    key, _, value = text.partition(":")
    return key, value


def _href(base: str, pairs: list[tuple[str, str]]) -> str:
    return f"{base}?{urlencode(pairs)}" if pairs else base
