"""Opening issues for hashes that lead nowhere yet, within the bound on new issues per project and hour.

Beyond it a hash leads to the project's one overflow issue, where its events can still be seen; when it occurs in a
later hour with room it gets an issue of its own and takes its events along. Beyond `MAX_OVERFLOW_HASHES` events are
counted there, and no hash is kept: a storm of random hashes must not fill the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct, field
from sqlalchemy import BigInteger, bindparam, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.hookspecs import IssueChange
from appliance.issues import sketch
from appliance.issues.collecting import Key, Seen
from appliance.issues.grouping import Grouping
from appliance.issues.grouping.result import write_explanation
from appliance.issues.tables import ACTIVITY, HASHES, ISSUES, WINDOWS, Known, Row, run
from appliance.model import EventRow

MAX_OVERFLOW_HASHES: Final = 5_000  # of one project: some 2 MB; a project with more has one problem, not many
HOUR: Final = 3_600_000_000  # µs


class Opened(Struct):
    """What became of the hashes."""

    known: dict[Key, Known] = field(default_factory=dict)  # those that lead to an issue now
    overflowed: dict[Key, Known] = field(default_factory=dict)  # those that are only counted, on this issue
    changes: list[IssueChange] = field(default_factory=list)


class _Window(Struct):
    """A project's hour."""

    room: int
    there: bool  # it has its row
    opened: int = 0
    overflowed: int = 0  # events


async def open_issues(
    connection: AsyncConnection,
    seen: Mapping[Key, Seen],
    known: Mapping[Key, Known],
    groupings: Mapping[int, Grouping],
    *,
    limit: int,
    now: int,
) -> Opened:
    """Open issues, or note the overflow. Counters stay as they are: the caller adds this batch to them.

    Args:
        connection: in a write transaction that holds the projects' locks.
        seen: hashes without an issue, and hashes that lead to an overflow issue; in the order of their events.
        known: the latter's issues.
        groupings: by group hash.
        limit: new issues per project and hour; 0 = no bound.
        now: µs.
    """
    if not seen:
        return Opened()
    windows = await _load_windows(connection, seen, limit)
    fresh: dict[Key, Seen] = {}
    over: dict[Key, Seen] = {}
    for key, value in seen.items():
        window = windows[_hour(key, value)]
        if window.room > 0:
            window.room -= 1
            window.opened += 1
            fresh[key] = value
        else:
            window.overflowed += value.count
            over[key] = value
    opened = Opened()
    await _open(connection, fresh, known, groupings, opened, now)
    await _overflow(connection, {key: over[key] for key in over if key not in known}, groupings, opened, limit, now)
    await _save_windows(connection, windows)
    return opened


# ── issues of their own ──

_MOVE_HASH: Final = (
    update(HASHES)
    .where(
        HASHES.c.project_id == bindparam("b_project"),
        HASHES.c.version == bindparam("b_version"),
        HASHES.c.hash == bindparam("b_hash"),
    )
    .values(issue_id=bindparam("b_issue"), home_issue_id=bindparam("b_issue"))
)
_TAKE_FROM_OVERFLOW: Final = (
    update(ISSUES)
    .where(ISSUES.c.id == bindparam("b_id"))
    .values(event_count=ISSUES.c.event_count - bindparam("n", type_=BigInteger))
)


async def _open(
    connection: AsyncConnection,
    fresh: Mapping[Key, Seen],
    known: Mapping[Key, Known],
    groupings: Mapping[int, Grouping],
    opened: Opened,
    now: int,
) -> None:
    if not fresh:
        return
    rows = [_issue_row(key, value, known.get(key), groupings) for key, value in fresh.items()]
    ids = await _insert_issues(connection, rows)
    hashes: list[Row] = []
    moved: list[Row] = []
    taken: list[Row] = []
    for (key, value), row, issue_id in zip(fresh.items(), rows, ids, strict=True):
        before = known.get(key)
        if before is None:
            hashes.append(_hash_row(key, value, issue_id, groupings))
            opened.known[key] = _new(issue_id, row["first_seen"], row["last_seen"])
        else:
            moved.append(
                {"b_project": key.project_id, "b_version": key.version, "b_hash": key.hash, "b_issue": issue_id}
            )
            taken.append({"b_id": before.issue_id, "n": before.hash_count})
            opened.known[key] = _promoted(before, issue_id, row["first_seen"], row["last_seen"])
        count = value.count + (before.hash_count if before else 0)
        opened.changes.append(change_of("opened", issue_id, value.opening, count, now))
    await run(connection, insert(HASHES), hashes)
    await run(connection, _MOVE_HASH, moved)
    await run(connection, _TAKE_FROM_OVERFLOW, taken)
    await _note_opened(connection, opened.changes)


def _new(issue_id: int, first_seen: int, last_seen: int) -> Known:
    return Known(issue_id, "open", 0, False, False, first_seen, last_seen, b"")


def _promoted(before: Known, issue_id: int, first_seen: int, last_seen: int) -> Known:
    return Known(issue_id, "open", before.hash_count, False, False, first_seen, last_seen, before.hash_sketch)


async def _insert_issues(connection: AsyncConnection, rows: list[Row]) -> list[int]:
    statement = insert(ISSUES).returning(ISSUES.c.id, sort_by_parameter_order=True)
    return list((await connection.execute(statement, rows)).scalars())


def _issue_row(key: Key, seen: Seen, before: Known | None, groupings: Mapping[int, Grouping]) -> Row:
    row, oldest, newest = seen.opening, seen.oldest, seen.newest
    return {
        "project_id": key.project_id,
        "title": row.title,
        "culprit": row.culprit,
        "type": row.type,
        "kind": row.kind,
        "level": newest.level,
        "platform": row.platform[:32],
        "grouping": _explanation(key, groupings),
        "event_count": before.hash_count if before else 0,
        "user_sketch": before.hash_sketch if before else b"",
        "user_count": sketch.count(before.hash_sketch) if before else 0,
        "first_seen": min(oldest.timestamp, before.hash_first_seen) if before else oldest.timestamp,
        "last_seen": newest.timestamp,
        "first_release": oldest.release,
        "last_release": newest.release,
        "first_event_id": oldest.event_id,
        "last_event_id": newest.event_id,
    }


def _hash_row(key: Key, seen: Seen, issue_id: int, groupings: Mapping[int, Grouping]) -> Row:
    return {
        "project_id": key.project_id,
        "version": key.version,
        "hash": key.hash,
        "issue_id": issue_id,
        "home_issue_id": issue_id,
        "explanation": _explanation(key, groupings),
        "first_seen": seen.oldest.timestamp,
        "last_seen": seen.newest.timestamp,
    }


def _explanation(key: Key, groupings: Mapping[int, Grouping]) -> str:
    grouping = groupings.get(key.hash)
    return grouping.explanation.decode() if grouping is not None else "{}"


def change_of(change: str, issue_id: int, row: EventRow, event_count: int, now: int) -> IssueChange:
    """What rules and hooks are told, with the event that brought it about.

    Args:
        change: "opened" or "regressed".
        issue_id: the issue.
        row: the event.
        event_count: of the issue for life, this batch included.
        now: µs.
    """
    return IssueChange(
        change="opened" if change == "opened" else "regressed",
        project_id=row.project_id,
        issue_id=issue_id,
        title=row.title,
        culprit=row.culprit,
        level=row.level,
        kind=row.kind,
        event_id=row.event_id,
        release=row.release,
        environment=row.environment,
        event_count=event_count,
        at=now,
        unhandled=not row.handled,
    )


async def _note_opened(connection: AsyncConnection, changes: Iterable[IssueChange]) -> None:
    rows = [{"issue_id": change.issue_id, "at": change.at, "action": "opened"} for change in changes]
    await run(connection, insert(ACTIVITY), rows)


# ── the overflow issue ──


async def _overflow(
    connection: AsyncConnection,
    over: Mapping[Key, Seen],
    groupings: Mapping[int, Grouping],
    opened: Opened,
    limit: int,
    now: int,
) -> None:
    by_project: dict[int, list[Key]] = {}
    for key in over:
        by_project.setdefault(key.project_id, []).append(key)
    for keys in by_project.values():
        issue = await _overflow_issue(connection, over[keys[0]], opened, limit, now)
        count = select(func.count()).select_from(HASHES).where(HASHES.c.issue_id == issue.issue_id)
        room = MAX_OVERFLOW_HASHES - ((await connection.scalar(count)) or 0)
        kept = keys[: max(room, 0)]
        await run(connection, insert(HASHES), [_hash_row(key, over[key], issue.issue_id, groupings) for key in kept])
        for key in kept:
            opened.known[key] = issue
        for key in keys[len(kept) :]:
            opened.overflowed[key] = issue


async def _overflow_issue(connection: AsyncConnection, seen: Seen, opened: Opened, limit: int, now: int) -> Known:
    """The project's overflow issue, opened if this is the first overflow."""
    row = seen.opening
    columns = (
        ISSUES.c.id, ISSUES.c.state, ISSUES.c.event_count, ISSUES.c.overflow, ISSUES.c.shared, ISSUES.c.first_seen,
        ISSUES.c.last_seen, ISSUES.c.user_sketch,
    )  # fmt: skip
    statement = select(*columns).where(ISSUES.c.project_id == row.project_id, ISSUES.c.overflow)
    found = (await connection.execute(statement)).first()
    if found is not None:
        return Known(*found)
    title = f"More new issues than the limit of {limit} an hour"
    why = write_explanation("overflow", f"{title}: further ones are counted here.", [])
    values: Row = {
        "project_id": row.project_id, "title": title, "culprit": "", "type": "Overflow", "kind": row.kind,
        "level": "warning", "platform": "", "grouping": why.decode(), "overflow": True, "shared": True,
        "first_seen": seen.oldest.timestamp, "last_seen": seen.newest.timestamp,
        "first_event_id": seen.oldest.event_id, "last_event_id": seen.newest.event_id,
    }  # fmt: skip
    issue_id = (await _insert_issues(connection, [values]))[0]
    change = IssueChange(
        change="opened", project_id=row.project_id, issue_id=issue_id, title=title, culprit="", level="warning",
        kind=row.kind, event_id=row.event_id, release="", environment="", event_count=seen.count, at=now, overflow=True,
    )  # fmt: skip
    opened.changes.append(change)
    await _note_opened(connection, [change])
    return Known(issue_id, "open", 0, True, True, seen.oldest.timestamp, seen.newest.timestamp, b"")


# ── how many a project opened in an hour ──


def _hour(key: Key, seen: Seen) -> tuple[int, int]:
    # By the receive time: a backlog that is worked off late has the hours in which it came.
    return key.project_id, seen.opening.received_at // HOUR


async def _load_windows(
    connection: AsyncConnection, seen: Mapping[Key, Seen], limit: int
) -> dict[tuple[int, int], _Window]:
    wanted = {_hour(key, value) for key, value in seen.items()}
    statement = select(WINDOWS.c.project_id, WINDOWS.c.hour, WINDOWS.c.opened).where(
        WINDOWS.c.project_id.in_({project_id for project_id, _ in wanted}),
        WINDOWS.c.hour.in_({hour for _, hour in wanted}),
    )
    there = {(row[0], row[1]): row[2] for row in await connection.execute(statement)}
    bound = limit or len(seen)
    return {
        window: _Window(room=bound - (there.get(window, 0) if limit else 0), there=window in there) for window in wanted
    }


_COUNT_WINDOW: Final = (
    update(WINDOWS)
    .where(WINDOWS.c.project_id == bindparam("b_project"), WINDOWS.c.hour == bindparam("b_hour"))
    .values(
        opened=WINDOWS.c.opened + bindparam("b_opened", type_=BigInteger),
        overflowed=WINDOWS.c.overflowed + bindparam("b_overflowed", type_=BigInteger),
    )
)


async def _save_windows(connection: AsyncConnection, windows: Mapping[tuple[int, int], _Window]) -> None:
    new = [{"project_id": project_id, "hour": hour} for (project_id, hour), w in windows.items() if not w.there]
    await run(connection, insert(WINDOWS), new)
    counted = [
        {"b_project": project_id, "b_hour": hour, "b_opened": w.opened, "b_overflowed": w.overflowed}
        for (project_id, hour), w in windows.items()
    ]
    await run(connection, _COUNT_WINDOW, counted)
