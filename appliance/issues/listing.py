"""The list of issues. From the metadata alone when the filter allows; else the event store says which groups match.

The store is asked when the filter is about single events (environment, browser, tag, a period with an end, …). Its
answer is bounded, so with very many matching groups the rarest are missing; the list then says that it is partial.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.hookspecs import BadCursorError, EventFilter, EventStore, GroupStats
from appliance.issues.models import IssueHashModel, IssueModel, IssueReleaseModel
from appliance.issues.tables import PROJECTS, chunks
from appliance.issues.views import MAX_LIST, IssueList, IssueQuery, IssueSummary, StateCounts

MAX_GROUPS: Final = 1_000  # that the store is asked for, per project
MAX_NARROWED: Final = 1_000  # hashes that a question to the store may name
MAX_PROJECTS: Final = 20  # that one filtered list asks the store about: each is a question

_SORT_COLUMNS: Final = {
    "last_seen": IssueModel.last_seen,
    "first_seen": IssueModel.first_seen,
    "events": IssueModel.event_count,
    "users": IssueModel.user_count,
}
SUMMARY_COLUMNS: Final = (
    IssueModel.id, IssueModel.project_id, PROJECTS.c.slug, PROJECTS.c.name, IssueModel.title, IssueModel.culprit,
    IssueModel.type, IssueModel.kind, IssueModel.level, IssueModel.platform, IssueModel.state, IssueModel.event_count,
    IssueModel.user_count, IssueModel.first_seen, IssueModel.last_seen, IssueModel.first_release,
    IssueModel.last_release, IssueModel.first_event_id, IssueModel.last_event_id, IssueModel.regressed_at,
    IssueModel.resolved_at, IssueModel.resolved_in, IssueModel.ignored_until, IssueModel.ignored_until_count,
    IssueModel.withheld_payloads, IssueModel.overflow,
)  # fmt: skip
_FIELDS: Final = IssueSummary.__struct_fields__[: len(SUMMARY_COLUMNS)]


class Cursor(Struct, frozen=True, array_like=True):
    """Where the last page ended: the sort key and id of its last issue."""

    sort: str
    value: int
    id: int


def summary_of(row: Sequence[Any]) -> IssueSummary:
    """An issue from a row of `SUMMARY_COLUMNS`."""
    return IssueSummary(**dict(zip(_FIELDS, row, strict=True)))


def summaries() -> Select[*tuple[Any, ...]]:
    """Issues that stand for themselves, with their projects."""
    return (
        select(*SUMMARY_COLUMNS)
        .join(PROJECTS, PROJECTS.c.id == IssueModel.project_id)
        .where(IssueModel.merged_into.is_(None))
    )


def asks_store(query: IssueQuery) -> bool:
    """Whether the filter is about single events."""
    return bool(
        query.environments
        or query.browsers
        or query.oses
        or query.devices
        or query.urls
        or query.user_ids
        or query.tags
        or query.end
    )


async def list_from_metadata(session: AsyncSession, query: IssueQuery, project_ids: Sequence[int]) -> IssueList:
    """One page, without the store."""
    limit = max(1, min(query.limit, MAX_LIST))
    column = _SORT_COLUMNS[query.sort]
    statement = summaries().where(*_conditions(query, project_ids))
    cursor = read_cursor(query)
    if cursor is not None:
        after = or_(column < cursor.value, and_(column == cursor.value, IssueModel.id < cursor.id))
        statement = statement.where(after)
    statement = statement.order_by(column.desc(), IssueModel.id.desc()).limit(limit + 1)
    items = [summary_of(row) for row in await session.execute(statement)]
    if len(items) <= limit:
        return IssueList(items=items)
    return IssueList(items=items[:limit], next=_cursor_after(query, items[limit - 1]))


async def list_from_store(
    session: AsyncSession, store: EventStore, query: IssueQuery, project_ids: Sequence[int]
) -> IssueList:
    """One page of the issues whose events match."""
    limit = max(1, min(query.limit, MAX_LIST))
    asked = list(project_ids)[:MAX_PROJECTS]
    notes: list[str] = []
    if len(asked) < len(project_ids):
        notes.append(f"Only {MAX_PROJECTS} projects can be looked through at once: choose one.")
    answers = await asyncio.gather(
        *[_matching(store, query, project_id, await _narrowed(session, query, project_id)) for project_id in asked]
    )
    found: list[IssueSummary] = []
    for project_id, answer in zip(asked, answers, strict=True):
        if len(answer) >= MAX_GROUPS:
            notes.append("Very many groups match: the last in this order are left out. Narrow the filter to see them.")
        found += await _joined(session, query, project_id, answer)
    found.sort(key=lambda issue: (_sort_value(query, issue), issue.id), reverse=True)
    cursor = read_cursor(query)
    if cursor is not None:
        found = [issue for issue in found if (_sort_value(query, issue), issue.id) < (cursor.value, cursor.id)]
    more = len(found) > limit
    return IssueList(
        items=found[:limit],
        next=_cursor_after(query, found[limit - 1]) if more else None,
        partial=bool(notes),
        notes=tuple(dict.fromkeys(notes)),
    )


async def count_states(session: AsyncSession, project_ids: Sequence[int]) -> StateCounts:
    """How many issues stand in each state."""
    statement = (
        select(IssueModel.state, func.count())
        .where(IssueModel.project_id.in_(project_ids), IssueModel.merged_into.is_(None))
        .group_by(IssueModel.state)
    )
    counts = {row[0]: row[1] for row in await session.execute(statement)}
    return StateCounts(open=counts.get("open", 0), resolved=counts.get("resolved", 0), ignored=counts.get("ignored", 0))


def event_filter(query: IssueQuery, project_id: int, hashes: Sequence[int] = ()) -> EventFilter:
    """The events of one project that the query is about."""
    return EventFilter(
        project_ids=(project_id,),
        start=query.start,
        end=query.end,
        group_hashes=tuple(hashes),
        environments=query.environments,
        releases=query.releases,
        browsers=query.browsers,
        oses=query.oses,
        devices=query.devices,
        user_ids=query.user_ids,
        urls=query.urls,
        tags=query.tags,
    )


def _storable(values: Sequence[str]) -> list[str]:
    # NUL stands in no column; Postgres refuses a statement that has one among its values.
    return [value.replace("\0", "") for value in values]


def _conditions(query: IssueQuery, project_ids: Sequence[int]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [IssueModel.project_id.in_(project_ids)]
    if query.state != "all":
        conditions.append(IssueModel.state == query.state)
    if query.levels:
        conditions.append(IssueModel.level.in_(_storable(query.levels)))
    if query.kinds:
        conditions.append(IssueModel.kind.in_(_storable(query.kinds)))
    if query.start:
        conditions.append(IssueModel.last_seen >= query.start)
    if query.opened:
        conditions.append(IssueModel.first_seen >= query.opened)
    if query.releases:
        named = IssueReleaseModel.release.in_(_storable(query.releases))
        in_release = and_(IssueReleaseModel.issue_id == IssueModel.id, named)
        conditions.append(exists().where(in_release))
    for word in _storable(query.text):
        columns = (IssueModel.title, IssueModel.culprit, IssueModel.type)
        conditions.append(or_(*[column.icontains(word, autoescape=True) for column in columns]))
    return conditions


async def _narrowed(session: AsyncSession, query: IssueQuery, project_id: int) -> list[int]:
    """The hashes of the issues that could match by the metadata; empty when there are too many to name."""
    by_issue = [*_conditions(query, [project_id]), IssueModel.merged_into.is_(None)]
    statement = (
        select(IssueHashModel.hash)
        .join(IssueModel, IssueModel.id == IssueHashModel.issue_id)
        .where(*by_issue)
        .limit(MAX_NARROWED + 1)
    )
    hashes = list(await session.scalars(statement))
    if len(hashes) > MAX_NARROWED:
        return []
    return hashes or [0]  # 0 is never a group: nothing can match, and nothing will


async def _matching(store: EventStore, query: IssueQuery, project_id: int, hashes: Sequence[int]) -> list[GroupStats]:
    where = event_filter(query, project_id, hashes)
    return await store.group_stats(where, order=query.sort, limit=MAX_GROUPS)


async def _joined(
    session: AsyncSession, query: IssueQuery, project_id: int, answer: Sequence[GroupStats]
) -> list[IssueSummary]:
    """Groups as issues, those that the metadata's part of the filter lets through."""
    stats = {group.group_hash: group for group in answer}
    issue_of: dict[int, int] = {}
    for some in chunks(stats):
        statement = select(IssueHashModel.hash, IssueHashModel.issue_id).where(
            IssueHashModel.project_id == project_id, IssueHashModel.hash.in_(some)
        )
        issue_of.update((row[0], row[1]) for row in await session.execute(statement))
    groups: dict[int, list[GroupStats]] = {}
    for group_hash, issue_id in issue_of.items():
        groups.setdefault(issue_id, []).append(stats[group_hash])
    items: list[IssueSummary] = []
    for some in chunks(groups):
        statement = summaries().where(IssueModel.id.in_(some), *_conditions(query, [project_id]))
        for row in await session.execute(statement):
            issue = summary_of(row)
            own = groups[issue.id]
            issue = msgspec.structs.replace(
                issue,
                matching_events=sum(group.events for group in own),
                # Of several hashes the same people may be counted twice; of one, which is usual, not.
                matching_users=sum(group.users for group in own),
                last_seen=max(group.last_seen for group in own) if query.end else issue.last_seen,
            )
            items.append(issue)
    return items


def _sort_value(query: IssueQuery, issue: IssueSummary) -> int:
    match query.sort:
        case "last_seen":
            return issue.last_seen
        case "first_seen":
            return issue.first_seen
        case "events":
            return issue.event_count if issue.matching_events is None else issue.matching_events
        case "users":
            return issue.user_count if issue.matching_users is None else issue.matching_users


def _cursor_after(query: IssueQuery, issue: IssueSummary) -> str:
    cursor = Cursor(query.sort, _sort_value(query, issue), issue.id)
    return base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode().rstrip("=")


def read_cursor(query: IssueQuery) -> Cursor | None:
    """Where to go on.

    Raises:
        BadCursorError: it is not one of ours, or of another order.
    """
    if not query.cursor:
        return None
    try:
        padded = query.cursor + "=" * (-len(query.cursor) % 4)
        cursor = msgspec.json.decode(base64.urlsafe_b64decode(padded.encode()), type=Cursor)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise BadCursorError("This list's cursor cannot be read: start again from the first page.") from error
    if cursor.sort != query.sort or not 0 <= cursor.value < 1 << 63 or not 0 <= cursor.id < 1 << 63:
        raise BadCursorError("This list's cursor is of another order: start again from the first page.")
    return cursor
