"""One issue and its events, as pages show them: history from the metadata, events from the store."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Final

from msgspec import structs
from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.hookspecs import EventFilter, EventNotFoundError, EventStore, EventSummary, Neighbours, Page
from appliance.issues.grouping import read_explanation
from appliance.issues.listing import summaries, summary_of
from appliance.issues.models import IssueActivityModel, IssueHashModel, IssueModel, IssueReleaseModel
from appliance.issues.tables import chunks
from appliance.issues.views import (
    Around,
    EventDetail,
    EventList,
    IssueActivity,
    IssueDetail,
    IssueHash,
    IssueMention,
    IssueNotFoundError,
    IssueRelease,
)
from appliance.model import Event

SHOWN_HASHES: Final = 200  # on the grouping page
SHOWN_RELEASES: Final = 20
SHOWN_ACTIVITY: Final = 100
SHOWN_MERGED: Final = 100
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}")
NO_EVENT: Final = "There is no such event, or it is no longer kept."
NONE_KEPT: Final = "The events of this issue are no longer kept; its counters are."


# What each issue's page asks, made once: to put a statement together takes as long as to run it.
_SUMMARY: Final = summaries().where(IssueModel.id == bindparam("issue_id"))
_HASHES: Final = (
    select(IssueHashModel)
    .where(IssueHashModel.issue_id == bindparam("issue_id"))
    .order_by(IssueHashModel.event_count.desc(), IssueHashModel.first_seen)
    .limit(SHOWN_HASHES)
)
_RELEASES: Final = (
    select(IssueReleaseModel)
    .where(IssueReleaseModel.issue_id == bindparam("issue_id"))
    .order_by(IssueReleaseModel.first_seen.desc(), IssueReleaseModel.release)
    .limit(SHOWN_RELEASES)
)
_RELEASE_COUNT: Final = (
    select(func.count()).select_from(IssueReleaseModel).where(IssueReleaseModel.issue_id == bindparam("issue_id"))
)
_ACTIVITY: Final = (
    select(IssueActivityModel)
    .where(IssueActivityModel.issue_id == bindparam("issue_id"))
    .order_by(IssueActivityModel.id.desc())
    .limit(SHOWN_ACTIVITY)
)
_MERGED: Final = (
    select(IssueModel.id)
    .where(IssueModel.merged_into == bindparam("issue_id"))
    .order_by(IssueModel.id)
    .limit(SHOWN_MERGED)
)


async def detail_of(session: AsyncSession, issue: IssueModel) -> IssueDetail:
    """An issue with its history."""
    this = {"issue_id": issue.id}
    row = (await session.execute(_SUMMARY, this)).one()
    hashes = await session.scalars(_HASHES, this)
    releases = (await session.scalars(_RELEASES, this)).all()
    more = len(releases) == SHOWN_RELEASES
    release_count = await session.scalar(_RELEASE_COUNT, this) if more else len(releases)
    activity = await session.scalars(_ACTIVITY, this)
    merged = await session.scalars(_MERGED, this)
    return IssueDetail(
        issue=summary_of(row),
        why=read_explanation(issue.grouping),
        hashes=[_hash(found, issue) for found in hashes],
        releases=[
            IssueRelease(
                release=one.release,
                event_count=one.event_count,
                first_seen=one.first_seen,
                last_seen=one.last_seen,
            )
            for one in releases
        ],
        release_count=release_count or 0,
        activity=[IssueActivity(at=one.at, actor=one.actor, action=one.action, detail=one.detail) for one in activity],
        merged_issue_ids=tuple(merged),
    )


def _hash(found: IssueHashModel, issue: IssueModel) -> IssueHash:
    counts = found if issue.shared else issue  # an issue with one hash counts for it
    return IssueHash(
        hash=f"{found.hash:016x}",
        version=found.version,
        event_count=counts.event_count,
        first_seen=counts.first_seen,
        last_seen=counts.last_seen,
        merged_from=found.home_issue_id if found.home_issue_id != issue.id else None,
        why=read_explanation(found.explanation),
    )


def events_of(issue: IssueModel, hashes: Sequence[int], where: EventFilter | None = None) -> EventFilter:
    """A filter that selects this issue's events alone, whatever projects and hashes it came with."""
    asked = where or EventFilter(project_ids=())
    # 0 is never a group hash: an issue whose hashes all moved away has no events, not everybody's.
    return structs.replace(asked, project_ids=(issue.project_id,), group_hashes=tuple(hashes) or (0,))


async def list_events(store: EventStore, where: EventFilter, page: Page) -> EventList:
    """Events, newest first."""
    items, cursor = await store.events(where, page)
    return EventList(items=items, next=cursor or None)


async def issue_event(store: EventStore, issue: IssueModel, hashes: Sequence[int], event_id: str) -> EventDetail:
    """An event of an issue: an id, "latest" or "oldest".

    Raises:
        IssueNotFoundError: the issue has no such event, or none at all any more.
    """
    where = events_of(issue, hashes)
    if event_id == "latest":
        return await _latest(store, issue, where)
    wanted = await _oldest(store, where) if event_id == "oldest" else event_id
    summary, event = await find_event(store, [issue.project_id], wanted)
    if summary.group_hash not in where.group_hashes:
        raise IssueNotFoundError(NO_EVENT)
    around = around_of(await store.neighbours(where, summary))
    return EventDetail(summary=summary, event=event, issue_id=issue.id, around=around)


def around_of(found: Neighbours) -> Around:
    """The steps to the events before and after."""
    return Around(previous=found.previous, next=found.next)


async def _latest(store: EventStore, issue: IssueModel, where: EventFilter) -> EventDetail:
    """The newest event: what an issue's page shows first, so in as few questions as can be."""
    try:
        found = await store.latest(where)
    except EventNotFoundError as error:  # retention was faster
        raise IssueNotFoundError(NO_EVENT) from error
    if found is None:
        raise IssueNotFoundError(NONE_KEPT)
    around = Around(previous=found.previous, next="")
    return EventDetail(summary=found.summary, event=found.event, issue_id=issue.id, around=around)


async def _oldest(store: EventStore, where: EventFilter) -> str:
    newest, _ = await store.events(where, Page(limit=1))
    if not newest:
        raise IssueNotFoundError(NONE_KEPT)
    return (await store.neighbours(where, newest[0])).oldest or newest[0].event_id


async def find_event(store: EventStore, project_ids: Sequence[int], event_id: str) -> tuple[EventSummary, Event | None]:
    """An event of these projects with its payload.

    Raises:
        IssueNotFoundError: there is none of this id.
    """
    event_id = event_id.lower().replace("-", "")
    if not project_ids or not _EVENT_ID.fullmatch(event_id):
        raise IssueNotFoundError(NO_EVENT)
    try:
        return await store.event(project_ids, event_id)
    except EventNotFoundError as error:
        raise IssueNotFoundError(NO_EVENT) from error


async def issue_of_event(session: AsyncSession, summary: EventSummary) -> IssueModel | None:
    """The issue that an event's hash leads to; None when it is not grouped, or beyond the bound on hashes."""
    statement = (
        select(IssueModel)
        .join(IssueHashModel, IssueHashModel.issue_id == IssueModel.id)
        .where(IssueHashModel.project_id == summary.project_id, IssueHashModel.hash == summary.group_hash)
        .limit(1)
    )
    return (await session.scalars(statement)).first()


async def mentions(session: AsyncSession, project_id: int, hashes: Collection[int]) -> dict[int, IssueMention]:
    """The issues that group hashes of a project lead to, by hash."""
    found: dict[int, IssueMention] = {}
    for some in chunks(sorted(hashes)):
        statement = (
            select(IssueHashModel.hash, IssueModel.id, IssueModel.title, IssueModel.state)
            .join(IssueModel, IssueHashModel.issue_id == IssueModel.id)
            .where(IssueHashModel.project_id == project_id, IssueHashModel.hash.in_(some))
        )
        for hash_, issue_id, title, state in await session.execute(statement):
            found[hash_] = IssueMention(id=issue_id, title=title, state=state)
    return found
