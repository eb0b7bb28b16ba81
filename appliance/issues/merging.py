"""Merging issues and taking hashes out again. Hashes move; events stay where they are, under their hash.

An issue that was merged stays as an alias of the other, without events or hashes, so that its address still leads
somewhere and its hashes can come back to it. What is not kept by hash (releases, first and last event) is asked of the
event store when hashes part, and so reaches back as far as events are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from appliance.accounts.access import Actor
from appliance.hookspecs import EventFilter, EventStore, EventSummary, Page, ReleaseSummary
from appliance.issues import sketch, tables
from appliance.issues.acting import find_all, note_of
from appliance.issues.models import IssueHashModel, IssueModel, IssueReleaseModel
from appliance.issues.recording import MAX_RELEASES
from appliance.issues.views import IssueActionError, MergeResult, UnmergeResult
from appliance.model import MAX_LABEL

MAX_MERGED: Final = 100  # issues at once: their hashes and releases move in one transaction
MAX_SPLIT: Final = 50  # hashes at once: the event store is asked about each target
_HASH_DIGITS: Final = 16


async def merge(
    session: AsyncSession, actor: Actor, target_id: int, source_ids: Sequence[int], now: int
) -> tuple[MergeResult, int]:
    """Move everything of the sources to the target; the result and the project.

    Raises:
        IssueNotFoundError: one of them is not there for this actor.
        IssueActionError: they cannot be merged.
    """
    if len(source_ids) > MAX_MERGED:
        raise IssueActionError(f"At most {MAX_MERGED} issues can be merged at once: select fewer.")
    target, *sources = await find_all(session, actor, [target_id, *source_ids])
    if not sources:
        raise IssueActionError("Choose another issue: this one cannot be merged with itself.")
    if any(issue.project_id != target.project_id for issue in sources):
        raise IssueActionError("Only issues of one project can be merged.")
    if any(issue.overflow for issue in (target, *sources)):
        raise IssueActionError("The overflow issue holds many different problems: it cannot be merged.")
    connection = await session.connection()
    for issue in (target, *sources):
        await _count_by_hash(connection, issue)
    ids = [issue.id for issue in sources]
    await connection.execute(update(tables.HASHES).where(tables.HASHES.c.issue_id.in_(ids)).values(issue_id=target.id))
    await connection.execute(
        update(tables.ISSUES).where(tables.ISSUES.c.merged_into.in_(ids)).values(merged_into=target.id)
    )
    await _move_releases(connection, target.id, ids)
    for issue in sources:
        _absorb(target, issue)
    target.user_count = sketch.count(target.user_sketch)
    notes = [note_of(target.id, actor, now, "merged", ", ".join(f"#{issue_id}" for issue_id in ids))]
    notes += [note_of(issue_id, actor, now, "merged", f"into #{target.id}") for issue_id in ids]
    await tables.run(connection, insert(tables.ACTIVITY), notes)
    await session.flush()
    return MergeResult(issue_id=target.id, merged=tuple(ids)), target.project_id


async def _count_by_hash(connection: AsyncConnection, issue: IssueModel) -> None:
    """From now on the issue's hashes count by themselves; its one hash gets what the issue counted for it."""
    if issue.shared:
        return
    issue.shared = True
    await connection.execute(
        update(tables.HASHES)
        .where(tables.HASHES.c.issue_id == issue.id)
        .values(
            event_count=issue.event_count,
            first_seen=issue.first_seen,
            last_seen=issue.last_seen,
            user_sketch=issue.user_sketch,
        )
    )


def _absorb(target: IssueModel, source: IssueModel) -> None:
    target.event_count += source.event_count
    target.withheld_payloads += source.withheld_payloads
    target.user_sketch = sketch.merge(target.user_sketch, source.user_sketch)
    if (source.last_seen, source.last_event_id) > (target.last_seen, target.last_event_id):
        target.last_seen, target.last_event_id = source.last_seen, source.last_event_id
        target.level, target.last_release = source.level, source.last_release
    if (source.first_seen, source.first_event_id) < (target.first_seen, target.first_event_id):
        target.first_seen, target.first_event_id = source.first_seen, source.first_event_id
        target.first_release = source.first_release
    source.merged_into = target.id
    source.event_count = source.user_count = source.withheld_payloads = 0
    source.user_sketch = b""


async def _move_releases(connection: AsyncConnection, target_id: int, source_ids: Sequence[int]) -> None:
    table = tables.RELEASES
    columns = (table.c.release, table.c.event_count, table.c.first_seen, table.c.last_seen)
    there = set(await connection.scalars(select(table.c.release).where(table.c.issue_id == target_id)))
    rows: list[tables.Row] = []
    found = await connection.execute(select(*columns).where(table.c.issue_id.in_(source_ids)))
    for release, n, first, last in found.all():
        if release in there or len(there) < MAX_RELEASES:
            there.add(release)
            rows.append({"b_issue": target_id, "b_release": release, "n": n, "first": first, "last": last})
    await connection.execute(delete(table).where(table.c.issue_id.in_(source_ids)))
    await tables.run(connection, tables.UPSERT_RELEASE[connection.dialect.name], rows)


# ── taking hashes out ──


class Part(Struct, frozen=True):
    """What the event store knows of some hashes."""

    hashes: tuple[int, ...]
    newest: EventSummary | None = None  # None: no event of them is kept any more
    oldest_id: str = ""
    releases: tuple[ReleaseSummary, ...] = ()  # newest first


class Split(Struct, frozen=True):
    """How an issue's hashes part: what stays, and what goes to which home."""

    issue_id: int
    project_id: int
    stays: Part
    goes: tuple[tuple[int, Part], ...]  # the home issue; the issue itself where a new one has to be made


def read_hashes(texts: Sequence[str]) -> list[int]:
    """Group hashes as people and the API write them: 16 hex digits.

    Raises:
        IssueActionError: one is not.
    """
    if not texts:
        raise IssueActionError("Select the groups that are to leave this issue.")
    if len(texts) > MAX_SPLIT:
        raise IssueActionError(f"At most {MAX_SPLIT} groups can leave at once: select fewer.")
    try:
        if any(len(text) != _HASH_DIGITS for text in texts):
            raise ValueError
        return list(dict.fromkeys(int(text, 16) for text in texts))
    except ValueError as error:
        raise IssueActionError("A group is named by 16 hexadecimal digits.") from error


async def plan_split(session: AsyncSession, store: EventStore, issue: IssueModel, hashes: Sequence[int]) -> Split:
    """Find out how the hashes part, before the transaction that does it: the event store is asked here.

    Raises:
        IssueActionError: these hashes cannot leave.
        StoreUnavailableError: try again.
    """
    statement = select(IssueHashModel.hash, IssueHashModel.home_issue_id).where(IssueHashModel.issue_id == issue.id)
    homes = {row[0]: row[1] for row in await session.execute(statement)}
    if not set(hashes) <= set(homes):
        raise IssueActionError("One of these groups is not in this issue any more: load the page again.")
    if len(homes) == len(hashes) and not issue.overflow:
        raise IssueActionError("One group has to stay: select fewer.")
    aliases = set(await session.scalars(select(IssueModel.id).where(IssueModel.merged_into == issue.id)))
    by_home: dict[int, list[int]] = {}
    goes: list[tuple[int, list[int]]] = []
    for hash_ in hashes:
        if homes[hash_] in aliases:
            by_home.setdefault(homes[hash_], []).append(hash_)
        else:  # it was this issue's own, or its home is gone: each gets an issue of its own
            goes.append((issue.id, [hash_]))
    goes += by_home.items()
    stays = [hash_ for hash_ in homes if hash_ not in set(hashes)]
    return Split(
        issue.id,
        issue.project_id,
        await _ask(store, issue.project_id, stays),
        tuple([(home, await _ask(store, issue.project_id, own)) for home, own in goes]),
    )


async def _ask(store: EventStore, project_id: int, hashes: Sequence[int]) -> Part:
    if not hashes:
        return Part(())
    where = EventFilter(project_ids=(project_id,), group_hashes=tuple(hashes))
    newest, _ = await store.events(where, Page(limit=1))
    if not newest:
        return Part(tuple(hashes))
    oldest = (await store.neighbours(where, newest[0])).oldest
    releases = await store.releases(where, MAX_RELEASES)
    return Part(tuple(hashes), newest[0], oldest, tuple(one for one in releases if one.events))


async def unmerge(session: AsyncSession, actor: Actor, split: Split, now: int) -> UnmergeResult:
    """Part the hashes as planned.

    Raises:
        IssueActionError: the issue changed since it was planned.
    """
    issue = (await find_all(session, actor, [split.issue_id]))[0]
    connection = await session.connection()
    made: list[int] = []
    for home, part in split.goes:
        rows = list(
            await session.scalars(
                select(IssueHashModel).where(
                    IssueHashModel.project_id == issue.project_id,
                    IssueHashModel.issue_id == issue.id,
                    IssueHashModel.hash.in_(part.hashes),
                )
            )
        )
        if issue.id != split.issue_id or len(rows) < len(part.hashes):
            raise IssueActionError("Somebody changed this issue meanwhile: load the page again.")
        leaves = await _home(session, issue, home, part, rows)
        _fill(leaves, rows, part)
        for row in rows:
            row.issue_id = row.home_issue_id = leaves.id
        issue.event_count -= leaves.event_count
        await _set_releases(connection, leaves.id, part)
        made.append(leaves.id)
    await session.flush()
    await _recount(session, issue, split.stays)
    notes = [note_of(issue.id, actor, now, "unmerged", ", ".join(f"#{issue_id}" for issue_id in made))]
    notes += [note_of(issue_id, actor, now, "unmerged", f"from #{issue.id}") for issue_id in made]
    await tables.run(connection, insert(tables.ACTIVITY), notes)
    await session.flush()
    return UnmergeResult(issue_id=issue.id, issues=tuple(made))


async def _home(
    session: AsyncSession, issue: IssueModel, home: int, part: Part, rows: Sequence[IssueHashModel]
) -> IssueModel:
    """The issue that hashes go to: the one they came from, else a new one with the words of their newest event."""
    back = await session.get(IssueModel, home) if home != issue.id else None
    if back is not None and back.merged_into == issue.id:
        back.merged_into = None
        return back
    newest = part.newest
    words: Any = newest or issue
    new = IssueModel(
        project_id=issue.project_id,
        title=words.title,
        culprit=words.culprit,
        # A summary has no type; a title of an error begins with it.
        type=issue.type if newest is None else newest.title.partition(":")[0][:MAX_LABEL],
        kind=words.kind,
        level=words.level,
        platform=issue.platform,
        grouping=rows[0].explanation,
        first_seen=rows[0].first_seen,
        last_seen=rows[0].last_seen,
    )
    session.add(new)
    await session.flush()
    return new


def _fill(leaves: IssueModel, rows: Sequence[IssueHashModel], part: Part) -> None:
    """An issue's counters from its hashes alone."""
    leaves.shared = len(rows) > 1
    leaves.event_count = sum(row.event_count for row in rows)
    leaves.user_sketch = sketch.merge(b"", *[row.user_sketch for row in rows])
    leaves.user_count = sketch.count(leaves.user_sketch)
    _set_ends(leaves, rows, part)


def _set_ends(issue: IssueModel, rows: Sequence[IssueHashModel], part: Part) -> None:
    issue.first_seen = min(row.first_seen for row in rows)
    issue.last_seen = max(row.last_seen for row in rows)
    if part.newest is not None:
        issue.last_event_id, issue.level = part.newest.event_id, part.newest.level
        issue.last_release = part.newest.release
        issue.first_event_id = part.oldest_id or part.newest.event_id
        issue.first_release = part.releases[-1].release if part.releases else ""


async def _recount(session: AsyncSession, issue: IssueModel, stays: Part) -> None:
    """What is left of the issue. An overflow issue also counts events without a hash: it keeps its sketch and times."""
    if issue.overflow:
        return
    rows = list(await session.scalars(select(IssueHashModel).where(IssueHashModel.issue_id == issue.id)))
    issue.user_sketch = sketch.merge(b"", *[row.user_sketch for row in rows])
    issue.user_count = sketch.count(issue.user_sketch)
    _set_ends(issue, rows, stays)
    await _set_releases(await session.connection(), issue.id, stays)


async def _set_releases(connection: AsyncConnection, issue_id: int, part: Part) -> None:
    table = tables.table_of(IssueReleaseModel)
    await connection.execute(delete(table).where(table.c.issue_id == issue_id))
    rows = [
        {
            "issue_id": issue_id,
            "release": one.release,
            "event_count": one.events,
            "first_seen": one.first_seen,
            "last_seen": one.last_seen,
        }
        for one in part.releases[:MAX_RELEASES]
    ]
    await tables.run(connection, insert(table), rows)
