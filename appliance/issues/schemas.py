"""Shapes of issues in the JSON API. Times are ISO 8601, UTC."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from appliance.hookspecs import EventSummary
from appliance.issues.grouping import WhyGrouped
from appliance.issues.views import MAX_BULK, EventDetail, IssueDetail, IssueSummary
from appliance.model import Event
from appliance.web.formats import iso

State = Literal["open", "resolved", "ignored"]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{16}$", description="A group hash: 16 hexadecimal digits.")]
IssueNumber = Annotated[int, Meta(ge=1, le=2**63 - 1)]


class GroupingPartBody(Struct, frozen=True, kw_only=True):
    """One thing that went into a group hash: as the event had it, and as it was hashed."""

    name: str
    raw: str
    value: str


class GroupingBody(Struct, frozen=True, kw_only=True):
    """Why events are one issue."""

    method: str
    summary: str
    parts: list[GroupingPartBody]


class IssueBody(Struct, frozen=True, kw_only=True):
    """An issue. `event_count` and `user_count` (approximate) are for life."""

    id: int
    project_id: int
    title: str
    culprit: str
    type: str
    kind: str
    level: str
    state: State
    event_count: int
    user_count: int
    first_seen: str
    last_seen: str
    first_release: str
    last_release: str
    regressed_at: str | None
    resolved_at: str | None
    resolved_in: str
    ignored_until: str | None
    ignored_until_count: int | None
    withheld_payloads: int
    overflow: bool
    grouping: GroupingBody


class IssuePage(Struct, frozen=True, kw_only=True):
    """Issues, and the cursor of the next page."""

    items: list[IssueBody]
    next: str | None
    partial: bool = False
    notes: list[str] = []


class HashBody(Struct, frozen=True, kw_only=True):
    """A group hash that leads to the issue."""

    hash: str
    version: int
    event_count: int
    first_seen: str
    last_seen: str
    merged_from: int | None
    grouping: GroupingBody


class ReleaseBody(Struct, frozen=True, kw_only=True):
    """The issue within one release."""

    release: str
    event_count: int
    first_seen: str
    last_seen: str


class ActivityBody(Struct, frozen=True, kw_only=True):
    """One change of state; an empty `actor` is the appliance itself."""

    at: str
    actor: str
    action: str
    detail: str


class IssueDetailBody(IssueBody, frozen=True, kw_only=True):
    """An issue with its history."""

    hashes: list[HashBody]
    releases: list[ReleaseBody]
    release_count: int
    activity: list[ActivityBody]
    merged_issue_ids: list[int]


class IssuePatch(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change of state. `resolved_in` goes with resolved, the `ignored_…` with ignored; none of them: for ever."""

    state: State
    resolved_in: Annotated[str, Meta(max_length=200, description="A release; empty: now.")] = ""
    ignored_until: Annotated[str, Meta(max_length=40, description="A time, ISO 8601.")] | None = None
    ignored_for_events: Annotated[int, Meta(ge=1, le=1_000_000_000)] | None = None


class MergeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which issues are to be merged into the one that is addressed."""

    issue_ids: Annotated[list[IssueNumber], Meta(min_length=1, max_length=MAX_BULK)]


class MergedBody(Struct, frozen=True, kw_only=True):
    """The issue that is left, and those that now lead to it."""

    issue_id: int
    merged: list[int]


class UnmergeBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which group hashes are to leave the issue that is addressed."""

    hashes: Annotated[list[Hash], Meta(min_length=1, max_length=50)]


class UnmergedBody(Struct, frozen=True, kw_only=True):
    """The issue that was addressed, and those that the hashes now lead to."""

    issue_id: int
    issues: list[int]


class EventBody(Struct, frozen=True, kw_only=True):
    """An event without its payload."""

    id: str
    project_id: int
    kind: str
    level: str
    title: str
    culprit: str
    timestamp: str
    received_at: str
    release: str
    environment: str
    url: str
    user_id: str
    browser: str
    browser_version: str
    os: str
    os_version: str
    device: str
    trace_id: str
    session_id: str
    page_view_id: str
    replay_id: str
    handled: bool
    tags: dict[str, str]
    payload_withheld: bool


class EventPage(Struct, frozen=True, kw_only=True):
    """Events, newest first, and the cursor of the next page."""

    items: list[EventBody]
    next: str | None


class EventDetailBody(EventBody, frozen=True, kw_only=True):
    """An event with what the SDK sent, decoded and scrubbed. `event` is null when a bound held its payload back."""

    issue_id: int | None
    previous: str | None
    next: str | None
    event: Event | None


def grouping_body(why: WhyGrouped) -> GroupingBody:
    """Why grouped, as the API says it."""
    return GroupingBody(
        method=why.method,
        summary=why.summary,
        parts=[GroupingPartBody(name=part.name, raw=part.raw, value=part.value) for part in why.parts],
    )


def issue_body(issue: IssueSummary, why: WhyGrouped) -> IssueBody:
    """An issue in a list."""
    return IssueBody(
        id=issue.id,
        project_id=issue.project_id,
        title=issue.title,
        culprit=issue.culprit,
        type=issue.type,
        kind=issue.kind,
        level=issue.level,
        state=issue.state,
        event_count=issue.event_count,
        user_count=issue.user_count,
        first_seen=iso(issue.first_seen),
        last_seen=iso(issue.last_seen),
        first_release=issue.first_release,
        last_release=issue.last_release,
        regressed_at=_time(issue.regressed_at),
        resolved_at=_time(issue.resolved_at),
        resolved_in=issue.resolved_in,
        ignored_until=_time(issue.ignored_until),
        ignored_until_count=issue.ignored_until_count,
        withheld_payloads=issue.withheld_payloads,
        overflow=issue.overflow,
        grouping=grouping_body(why),
    )


def detail_body(detail: IssueDetail) -> IssueDetailBody:
    """An issue by itself."""
    listed = issue_body(detail.issue, detail.why)
    return IssueDetailBody(
        **{name: getattr(listed, name) for name in IssueBody.__struct_fields__},
        hashes=[
            HashBody(
                hash=one.hash,
                version=one.version,
                event_count=one.event_count,
                first_seen=iso(one.first_seen),
                last_seen=iso(one.last_seen),
                merged_from=one.merged_from,
                grouping=grouping_body(one.why),
            )
            for one in detail.hashes
        ],
        releases=[
            ReleaseBody(
                release=one.release,
                event_count=one.event_count,
                first_seen=iso(one.first_seen),
                last_seen=iso(one.last_seen),
            )
            for one in detail.releases
        ],
        release_count=detail.release_count,
        activity=[
            ActivityBody(at=iso(one.at), actor=one.actor, action=one.action, detail=one.detail)
            for one in detail.activity
        ],
        merged_issue_ids=list(detail.merged_issue_ids),
    )


_SAME: tuple[str, ...] = tuple(
    name for name in EventBody.__struct_fields__ if name not in {"id", "timestamp", "received_at"}
)


def event_body(summary: EventSummary) -> EventBody:
    """An event in a list."""
    return EventBody(
        id=summary.event_id,
        timestamp=iso(summary.timestamp),
        received_at=iso(summary.received_at),
        **{name: getattr(summary, name) for name in _SAME},
    )


def event_detail_body(detail: EventDetail) -> EventDetailBody:
    """An event by itself."""
    listed = event_body(detail.summary)
    around = detail.around
    return EventDetailBody(
        **{name: getattr(listed, name) for name in EventBody.__struct_fields__},
        issue_id=detail.issue_id,
        previous=(around.previous or None) if around else None,
        next=(around.next or None) if around else None,
        event=detail.event,
    )


def _time(moment: int | None) -> str | None:
    return iso(moment) if moment is not None else None
