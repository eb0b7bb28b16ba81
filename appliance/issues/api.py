"""Issues in the JSON API: list, get, change, merge; their events. What a token may not see is not found."""

from __future__ import annotations

from typing import Annotated, Final

from litestar import get, patch, post
from litestar.params import JSONBody, PathParameter, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import structs

from appliance.accounts.access import InvalidInputError, Permission, requires
from appliance.hookspecs import EventFilter, Page
from appliance.issues.deps import Acting, Issues
from appliance.issues.schemas import (
    EventDetailBody,
    EventPage,
    IssueDetailBody,
    IssuePage,
    IssuePatch,
    MergeBody,
    MergedBody,
    UnmergeBody,
    UnmergedBody,
    detail_body,
    event_body,
    event_detail_body,
    issue_body,
)
from appliance.issues.search import MAX_SEARCH, parse_search
from appliance.issues.views import (
    MAX_LIST,
    Ignore,
    IssueAction,
    IssueQuery,
    IssueSort,
    Reopen,
    ResolveIn,
    ResolveNow,
    StateFilter,
)
from appliance.web.api_parameters import Cursor, Id, Moment, Values, moment

TAGS: Final = ["issues"]
READ: Final = requires(Permission.ISSUES_READ)
WRITE: Final = requires(Permission.ISSUES_WRITE)
MAX_EVENTS: Final = 200

EventId = Annotated[str, PathParameter(max_length=36, description="32 hexadecimal digits.")]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LIST, description="How many at most.")]
EventLimit = Annotated[int, QueryParameter(ge=1, le=MAX_EVENTS, description="How many at most.")]
Search = Annotated[
    str,
    QueryParameter(
        name="query", max_length=MAX_SEARCH, description="As in the dashboard: `level:error browser:Firefox cart`."
    ),
]
State = Annotated[StateFilter, QueryParameter(name="state")]
Sort = Annotated[IssueSort, QueryParameter(description="The highest or newest first.")]


@get("/api/v1/projects/{project_id:int}/issues", opt=READ, tags=TAGS, summary="List a project's issues")
async def api_issues(
    actor: Acting,
    issues: Issues,
    project_id: Id,
    in_state: State = "open",
    search: Search = "",
    level: Values = None,
    kind: Values = None,
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    since: Moment = "",
    until: Moment = "",
    sort: Sort = "last_seen",
    limit: Limit = 50,
    cursor: Cursor = "",
) -> IssuePage:
    """Issues by the order asked for, the highest first. `query` may say all of it in words; a parameter adds to it."""
    base = IssueQuery(
        project_ids=(project_id,),
        state=in_state,
        levels=tuple(level or ()),
        kinds=tuple(kind or ()),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
        start=moment("since", since),
        end=moment("until", until),
        sort=sort,
        limit=limit,
        cursor=cursor,
        sparklines=False,
    )
    parsed = parse_search(search, base)
    if parsed.errors:
        raise InvalidInputError({"query": " ".join(parsed.errors)})
    await issues.require_project(actor, project_id)
    found = await issues.list(actor, parsed.query)
    why = await issues.explanations(actor, [issue.id for issue in found.items])
    return IssuePage(
        items=[issue_body(issue, why[issue.id]) for issue in found.items],
        next=found.next,
        partial=found.partial,
        notes=list(found.notes),
    )


@get("/api/v1/issues/{issue_id:int}", opt=READ, tags=TAGS, summary="Get an issue")
async def api_issue(actor: Acting, issues: Issues, issue_id: Id) -> IssueDetailBody:
    """An issue with its hashes, releases and history. The id of a merged issue gives the one it was merged into."""
    return detail_body(await issues.issue(actor, issue_id))


@patch("/api/v1/issues/{issue_id:int}", opt=WRITE, tags=TAGS, summary="Change an issue's state")
async def api_change_issue(actor: Acting, issues: Issues, issue_id: Id, data: JSONBody[IssuePatch]) -> IssueDetailBody:
    """Resolve, ignore or reopen an issue."""
    await issues.act(actor, [issue_id], _action(data))
    return detail_body(await issues.issue(actor, issue_id))


@get("/api/v1/issues/{issue_id:int}/events", opt=READ, tags=TAGS, summary="List an issue's events")
async def api_issue_events(
    actor: Acting,
    issues: Issues,
    issue_id: Id,
    environment: Values = None,
    release: Values = None,
    browser: Values = None,
    since: Moment = "",
    until: Moment = "",
    limit: EventLimit = 50,
    cursor: Cursor = "",
) -> EventPage:
    """Events that are still kept, newest first."""
    where = EventFilter(
        project_ids=(),
        start=moment("since", since),
        end=moment("until", until),
        environments=tuple(environment or ()),
        releases=tuple(release or ()),
        browsers=tuple(browser or ()),
    )
    found = await issues.events(actor, issue_id, Page(limit=limit, cursor=cursor), where)
    return EventPage(items=[event_body(one) for one in found.items], next=found.next)


@post(
    "/api/v1/issues/{issue_id:int}/merge", opt=WRITE, tags=TAGS, summary="Merge issues into this one", status_code=200
)
async def api_merge(actor: Acting, issues: Issues, issue_id: Id, data: JSONBody[MergeBody]) -> MergedBody:
    """Move what leads to the other issues to this one; theirs are aliases of it from then on."""
    done = await issues.merge(actor, issue_id, data.issue_ids)
    return MergedBody(issue_id=done.issue_id, merged=list(done.merged))


@post("/api/v1/issues/{issue_id:int}/unmerge", opt=WRITE, tags=TAGS, summary="Take groups out", status_code=200)
async def api_unmerge(actor: Acting, issues: Issues, issue_id: Id, data: JSONBody[UnmergeBody]) -> UnmergedBody:
    """Give group hashes back to the issues they came from, or each to a new one."""
    done = await issues.unmerge(actor, issue_id, data.hashes)
    return UnmergedBody(issue_id=done.issue_id, issues=list(done.issues))


@get("/api/v1/events/{event_id:str}", opt=READ, tags=TAGS, summary="Get an event")
async def api_event(actor: Acting, issues: Issues, event_id: EventId) -> EventDetailBody:
    """One event with what the SDK sent."""
    return event_detail_body(await issues.event(actor, event_id))


api_routes: list[ControllerRouterHandler] = [
    api_issues,
    api_issue,
    api_change_issue,
    api_issue_events,
    api_merge,
    api_unmerge,
    api_event,
]


def _action(data: JSONBody[IssuePatch]) -> IssueAction:
    """What the body asks for."""
    given = structs.asdict(data)
    allowed = {"open": (), "resolved": ("resolved_in",), "ignored": ("ignored_until", "ignored_for_events")}
    for name in ("resolved_in", "ignored_until", "ignored_for_events"):
        if given[name] not in ("", None) and name not in allowed[data.state]:
            raise InvalidInputError({name: f"{name} does not go with the state {data.state}: leave it out."})
    if data.state == "open":
        return Reopen()
    if data.state == "resolved":
        return ResolveIn(data.resolved_in) if data.resolved_in else ResolveNow()
    until = moment("ignored_until", data.ignored_until) if data.ignored_until else None
    return Ignore(more_events=data.ignored_for_events, until=until)
