"""Resolved and ignored issues that a batch opens again. The rules are in `states.py`; this asks and writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import String, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.hookspecs import IssueChange
from appliance.issues.collecting import Key, Seen
from appliance.issues.opening import change_of
from appliance.issues.states import Closed, Return, ends_ignoring, regresses
from appliance.issues.tables import ACTIVITY, ISSUES, RELEASES, Known, Row, chunks, run
from appliance.model import EventRow

REOPEN: Final = (
    update(ISSUES)
    # Whoever was first to change the state stays right: a person and a batch may meet.
    .where(ISSUES.c.id == bindparam("b_id"), ISSUES.c.state == bindparam("b_state", type_=String))
    .values(
        state="open",
        regressed_at=bindparam("b_regressed_at"),
        resolved_at=None,
        resolved_in="",
        ignored_until=None,
        ignored_until_count=None,
    )
)


class _Comeback(Struct, frozen=True):
    """An issue that opens again, why, and the event that did it."""

    issue_id: int
    closed: Closed
    how: Return
    row: EventRow


async def find_returns(
    connection: AsyncConnection,
    rows: Sequence[EventRow],
    issues: Mapping[int, tuple[Known, Seen]],
    known: Mapping[Key, Known],
    now: int,
) -> list[IssueChange]:
    """Open what these events open again, and say so.

    Args:
        connection: in a write transaction.
        rows: the batch.
        issues: what the batch holds of each issue.
        known: the issues of hashes.
        now: µs.

    Returns:
        A "regressed" for each issue that came back by itself: resolved ones, and ignored ones whose count is reached.
    """
    closed = await _load_closed(connection, [id_ for id_, (issue, _) in issues.items() if issue.state != "open"])
    if not closed:
        return []
    resolved = {issue_id for issue_id, state in closed.items() if state.state == "resolved"}
    own_rows = _rows_of(rows, known, resolved)
    first_seen = await _release_times(connection, closed, own_rows)
    comebacks: list[_Comeback] = []
    for issue_id, state in closed.items():
        issue, seen = issues[issue_id]
        if state.state == "ignored":
            how = ends_ignoring(state, seen.newest.timestamp, issue.event_count + seen.count)
            if how is not None:
                comebacks.append(_Comeback(issue_id, state, how, seen.newest))
            continue
        for row in own_rows.get(issue_id, [seen.newest]):
            if regresses(state, row.timestamp, row.release, first_seen.get(row.project_id, {})):
                comebacks.append(_Comeback(issue_id, state, "regressed", row))
                break
    await _reopen(connection, comebacks, now)
    comebacks.sort(key=lambda comeback: comeback.row.ordinal)
    return [
        change_of(
            "regressed",
            comeback.issue_id,
            comeback.row,
            issues[comeback.issue_id][0].event_count + issues[comeback.issue_id][1].count,
            now,
        )
        for comeback in comebacks
        if comeback.how != "time_passed"
    ]


async def _load_closed(connection: AsyncConnection, issue_ids: Sequence[int]) -> dict[int, Closed]:
    closed: dict[int, Closed] = {}
    columns = (
        ISSUES.c.id, ISSUES.c.state, ISSUES.c.resolved_at, ISSUES.c.resolved_in, ISSUES.c.ignored_until,
        ISSUES.c.ignored_until_count,
    )  # fmt: skip
    for some in chunks(issue_ids):
        for row in await connection.execute(select(*columns).where(ISSUES.c.id.in_(some))):
            closed[row[0]] = Closed(
                state=row[1],
                resolved_at=row[2],
                resolved_in=row[3],
                ignored_until=row[4],
                ignored_until_count=row[5],
            )
    return closed


def _rows_of(rows: Sequence[EventRow], known: Mapping[Key, Known], issue_ids: set[int]) -> dict[int, list[EventRow]]:
    if not issue_ids:
        return {}
    found: dict[int, list[EventRow]] = {}
    for row in rows:
        issue = known.get(Key(row.project_id, row.grouping_version, row.group_hash))
        if issue is not None and issue.issue_id in issue_ids:
            found.setdefault(issue.issue_id, []).append(row)
    return found


async def _release_times(
    connection: AsyncConnection, closed: Mapping[int, Closed], rows: Mapping[int, Sequence[EventRow]]
) -> dict[int, dict[str, int]]:
    """When the releases that matter were first seen in their project: only for issues resolved in a release."""
    wanted: dict[int, set[str]] = {}
    for issue_id, state in closed.items():
        if state.resolved_in:
            for row in rows.get(issue_id, ()):
                wanted.setdefault(row.project_id, {state.resolved_in}).update({state.resolved_in, row.release})
    times: dict[int, dict[str, int]] = {}
    for project_id, names in wanted.items():
        for some in chunks(names):
            statement = (
                select(RELEASES.c.release, func.min(RELEASES.c.first_seen))
                .join(ISSUES, ISSUES.c.id == RELEASES.c.issue_id)
                .where(ISSUES.c.project_id == project_id, RELEASES.c.release.in_(some))
                .group_by(RELEASES.c.release)
            )
            found = {row[0]: row[1] for row in await connection.execute(statement)}
            times.setdefault(project_id, {}).update(found)
    return times


async def _reopen(connection: AsyncConnection, comebacks: Sequence[_Comeback], now: int) -> None:
    updates: list[Row] = [
        {
            "b_id": comeback.issue_id,
            "b_state": comeback.closed.state,
            "b_regressed_at": None if comeback.how == "time_passed" else now,
        }
        for comeback in comebacks
    ]
    await run(connection, REOPEN, updates)
    await run(connection, insert(ACTIVITY), list(_activity(comebacks, now)))


def _activity(comebacks: Sequence[_Comeback], now: int) -> Iterator[Row]:
    for comeback in comebacks:
        closed, row = comeback.closed, comeback.row
        if comeback.how == "regressed":
            detail = f"resolved in {closed.resolved_in}, " if closed.resolved_in else ""
            detail += f"seen in {row.release}" if row.release else "seen again"
        elif comeback.how == "count_reached":
            detail = f"was ignored until {closed.ignored_until_count} events"
        else:
            detail = "was ignored until now"
        action = "reopened" if comeback.how == "time_passed" else "regressed"
        yield {"issue_id": comeback.issue_id, "at": now, "action": action, "detail": detail}
