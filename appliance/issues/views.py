"""What the issues service takes and hands out: queries, issues with their history, events, answers to bulk actions.

Plain structs without behaviour, for pages and API alike. Times are microseconds UTC. The JSON API has its own shapes
in `schemas.py`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from msgspec import Struct, field

from appliance.hookspecs import Bucket, EventSummary, TagCount
from appliance.issues.grouping import GroupingPart, WhyGrouped
from appliance.model import Event

__all__ = [
    "MAX_BULK",
    "MAX_LIST",
    "SORTS",
    "STATES",
    "ActionResult",
    "EventDetail",
    "EventList",
    "GroupingPart",
    "Ignore",
    "IssueAction",
    "IssueActionError",
    "IssueActivity",
    "IssueDetail",
    "IssueHash",
    "IssueList",
    "IssueNotFoundError",
    "IssueOverview",
    "IssueQuery",
    "IssueRelease",
    "IssueSort",
    "IssueState",
    "IssueSummary",
    "MergeResult",
    "ParsedSearch",
    "Reopen",
    "ResolveIn",
    "ResolveNow",
    "StateCounts",
    "StateFilter",
    "UnmergeResult",
    "WhyGrouped",
]  # fmt: skip

IssueState: TypeAlias = Literal["open", "resolved", "ignored"]
StateFilter: TypeAlias = Literal["open", "resolved", "ignored", "all"]
IssueSort: TypeAlias = Literal["last_seen", "first_seen", "events", "users"]

STATES: Final[tuple[StateFilter, ...]] = ("open", "resolved", "ignored", "all")
SORTS: Final[tuple[IssueSort, ...]] = ("last_seen", "first_seen", "events", "users")

MAX_LIST: Final = 100  # issues on one page of the list: each costs a sparkline
MAX_BULK: Final = 500  # issues in one bulk action: one short write transaction


class IssueNotFoundError(Exception):
    """There is no such issue (or event) for this actor: also what is said of one they may not see."""

    status = 404


class IssueActionError(Exception):
    """The action cannot be done; the text says why and what to do instead."""

    status = 422


# ── asking ──


class IssueQuery(Struct, frozen=True, kw_only=True):
    """Which issues. Empty tuples filter nothing; values of one field are alternatives."""

    project_ids: tuple[int, ...] = ()  # empty: all that the actor may see
    state: StateFilter = "open"
    levels: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    browsers: tuple[str, ...] = ()
    oses: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    text: tuple[str, ...] = ()  # words or quoted phrases; all must stand in title, culprit or type
    start: int = 0  # seen at or after; 0: any time
    end: int = 0  # seen before; 0: until now
    opened: int = 0  # first seen at or after; 0: any time
    sort: IssueSort = "last_seen"
    limit: int = 25  # at most MAX_LIST
    cursor: str = ""  # from the last answer
    sparklines: bool = True


class ParsedSearch(Struct, frozen=True, kw_only=True):
    """What a person typed into the search field, understood as far as it could be."""

    query: IssueQuery
    errors: tuple[str, ...] = ()  # sentences for the person; what they are about was left out


# ── issues ──


class IssueSummary(Struct, frozen=True, kw_only=True):
    """One row of the list."""

    id: int
    project_id: int
    project_slug: str
    project_name: str
    title: str
    culprit: str
    type: str
    kind: str
    level: str
    platform: str
    state: IssueState
    event_count: int  # for life
    user_count: int  # approximate, for life
    first_seen: int
    last_seen: int
    first_release: str
    last_release: str
    first_event_id: str
    last_event_id: str
    regressed_at: int | None  # set while it is open again after having been resolved
    resolved_at: int | None
    resolved_in: str  # a release; "" = now
    ignored_until: int | None
    ignored_until_count: int | None  # the event_count at which it opens again
    withheld_payloads: int
    overflow: bool  # the project's overflow issue: what was beyond the bound on new issues
    matching_events: int | None = None  # within the filter, when the event store had to be asked
    matching_users: int | None = None
    sparkline: tuple[int, ...] = ()  # events per bucket, oldest first; empty when not asked for or not available


class IssueList(Struct, frozen=True, kw_only=True):
    """One page of the list."""

    items: list[IssueSummary]
    next: str | None = None  # cursor
    partial: bool = False  # more matched than can be looked through: the rarest are left out
    notes: tuple[str, ...] = ()  # sentences for the person: what is partial or missing, and why
    bucket: int = 0  # of the sparklines, µs
    start: int = 0  # of the sparklines, µs


class StateCounts(Struct, frozen=True, kw_only=True):
    """How many issues stand in each state, for the list's tabs."""

    open: int = 0
    resolved: int = 0
    ignored: int = 0


class IssueHash(Struct, frozen=True, kw_only=True):
    """A group hash that leads to the issue."""

    hash: str  # 16 hex digits
    version: int
    event_count: int
    first_seen: int
    last_seen: int
    merged_from: int | None  # the issue it came from, when it was merged in
    why: WhyGrouped


class IssueRelease(Struct, frozen=True, kw_only=True):
    """The issue within one release."""

    release: str
    event_count: int
    first_seen: int
    last_seen: int


class IssueActivity(Struct, frozen=True, kw_only=True):
    """One change of state: who, when."""

    at: int
    actor: str  # an e-mail address; "" = the appliance itself
    action: str  # opened, resolved, regressed, ignored, reopened, merged, unmerged
    detail: str


class IssueDetail(Struct, frozen=True, kw_only=True):
    """An issue with its history: all from the metadata, quick."""

    issue: IssueSummary
    why: WhyGrouped  # of the first hash
    hashes: list[IssueHash]
    releases: list[IssueRelease]  # newest first, at most 20
    release_count: int
    activity: list[IssueActivity]  # newest first, at most 100
    merged_issue_ids: tuple[int, ...]  # issues that were merged into this one


class IssueOverview(Struct, frozen=True, kw_only=True):
    """What the event store knows of an issue in a period: for the page's side panels."""

    histogram: list[Bucket]  # with the empty buckets filled in
    bucket: int
    start: int
    end: int
    events: int
    tags: dict[str, list[TagCount]]  # key → most frequent first; value "" = events without it
    notes: tuple[str, ...] = ()


# ── events ──


class EventList(Struct, frozen=True, kw_only=True):
    """Events of an issue, newest first."""

    items: list[EventSummary]
    next: str | None = None


class Around(Struct, frozen=True, kw_only=True):
    """Ids of an issue's events beside one; "" at the ends."""

    previous: str
    next: str


class EventDetail(Struct, frozen=True, kw_only=True):
    """One event with what surrounds it."""

    summary: EventSummary
    event: Event | None  # None: its payload was held back by a bound (or has been dropped)
    issue_id: int | None  # None: not grouped
    around: Around | None  # None: no issue has it


class IssueLook(Struct, frozen=True, kw_only=True):
    """What the page of an issue shows."""

    detail: IssueDetail
    event: EventDetail | None  # None: "latest" was asked for, and retention took them all
    overview: IssueOverview | None  # None: the store is busy, and the rest of the page does not wait for it


class IssueMention(Struct, frozen=True, kw_only=True):
    """An issue where something else is the matter: enough for a link."""

    id: int
    title: str
    state: str


# ── acting ──


class ResolveNow(Struct, frozen=True, tag="resolve"):
    """Resolved: an event that happens after this moment regresses it."""


class ResolveIn(Struct, frozen=True, tag="resolve_in"):
    """Resolved in a release: an event in it, or in one that was first seen later, regresses it."""

    release: str


class Ignore(Struct, frozen=True, tag="ignore"):
    """Ignored for ever, until so many more events, or until a time; whichever comes first."""

    more_events: int | None = None
    until: int | None = None  # µs


class Reopen(Struct, frozen=True, tag="reopen"):
    """Open again."""


IssueAction: TypeAlias = ResolveNow | ResolveIn | Ignore | Reopen


class ActionResult(Struct, frozen=True, kw_only=True):
    """What a bulk action changed. Issues that already were so are left alone."""

    changed: tuple[int, ...]
    unchanged: tuple[int, ...] = ()
    # The one state that all of the changed were in, when setting it again brings back what there was; else "".
    before: IssueState | Literal[""] = ""


class MergeResult(Struct, frozen=True, kw_only=True):
    """Where the merged issues went."""

    issue_id: int
    merged: tuple[int, ...]


class UnmergeResult(Struct, frozen=True, kw_only=True):
    """The issues that the chosen hashes now lead to."""

    issue_id: int
    issues: tuple[int, ...] = field(default_factory=tuple)
