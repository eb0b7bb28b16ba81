"""Statements over the tables of issues that recording and merging share: each for many rows, on SQLite and Postgres.

No decisions here; the words for what is read (`Known`) and the rows that statements take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    LargeBinary,
    String,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from appliance.issues.collecting import Key, Seen
from appliance.issues.models import (
    IssueActivityModel,
    IssueHashModel,
    IssueModel,
    IssueReleaseModel,
    NewIssueWindowModel,
)
from appliance.metadata.database import Base
from appliance.projects.models import ProjectModel

Row: TypeAlias = dict[str, Any]
Item = TypeVar("Item")

CHUNK: Final = 500  # values of one IN list: few round trips, and far below the bounds of both databases
LOCK_SPACE: Final = 0x15508  # our own space of Postgres' advisory locks


def table_of(model: type[Base]) -> Table:
    """The Core table of a model: statements for many rows do without the ORM's per-row work."""
    return Base.metadata.tables[model.__tablename__]


ISSUES: Final = table_of(IssueModel)
HASHES: Final = table_of(IssueHashModel)
RELEASES: Final = table_of(IssueReleaseModel)
ACTIVITY: Final = table_of(IssueActivityModel)
WINDOWS: Final = table_of(NewIssueWindowModel)
PROJECTS: Final = table_of(ProjectModel)


class Known(Struct, gc=False):
    """A hash that leads to an issue, with what recording needs of both."""

    issue_id: int
    state: str
    event_count: int  # of the issue, before this batch
    overflow: bool
    hash_sketch: bytes
    hash_count: int
    hash_first_seen: int
    issue_sketch: bytes  # b"" while the issue has one hash, whose sketch then counts for both


async def run(connection: AsyncConnection, statement: Executable, rows: Sequence[Row]) -> None:
    """One statement for all rows; nothing for none."""
    if rows:
        await connection.execute(statement, rows)


def chunks(items: Iterable[Item], size: int = CHUNK) -> Iterator[list[Item]]:
    """Lists of at most `size`."""
    known = list(items)
    for start in range(0, len(known), size):
        yield known[start : start + size]


async def lock_projects(connection: AsyncConnection, project_ids: Iterable[int]) -> None:
    """One at a time per project: sketches are read, changed and written back.

    On SQLite a write transaction is alone anyway. On Postgres, where several nodes may record and people merge, this
    waits for the others; always in the same order, so that nobody waits in a circle.
    """
    if connection.dialect.name == "sqlite":
        return
    statement = text("SELECT pg_advisory_xact_lock(:space, :project)")
    for project_id in sorted(set(project_ids)):
        await connection.execute(statement, {"space": LOCK_SPACE, "project": project_id & 0x7FFFFFFF})


async def existing_projects(connection: AsyncConnection, project_ids: Collection[int]) -> set[int]:
    """Those that are there: events of a project that was deleted meanwhile have nowhere to go."""
    found: set[int] = set()
    for some in chunks(project_ids):
        found.update(await connection.scalars(select(PROJECTS.c.id).where(PROJECTS.c.id.in_(some))))
    return found


async def load_known(connection: AsyncConnection, keys: Collection[Key]) -> dict[Key, Known]:
    """The issues that hashes lead to."""
    columns = (
        HASHES.c.hash, ISSUES.c.id, ISSUES.c.state, ISSUES.c.event_count, ISSUES.c.overflow, HASHES.c.user_sketch,
        HASHES.c.event_count, HASHES.c.first_seen, ISSUES.c.user_sketch,
    )  # fmt: skip
    by_space: dict[tuple[int, int], list[int]] = {}
    for key in keys:
        by_space.setdefault((key.project_id, key.version), []).append(key.hash)
    known: dict[Key, Known] = {}
    for (project_id, version), hashes in by_space.items():
        for some in chunks(hashes):
            statement = (
                select(*columns)
                .join(ISSUES, ISSUES.c.id == HASHES.c.issue_id)
                .where(HASHES.c.project_id == project_id, HASHES.c.version == version, HASHES.c.hash.in_(some))
            )
            for found in await connection.execute(statement):
                known[Key(project_id, version, found[0])] = Known(*found[1:])
    return known


async def load_releases(
    connection: AsyncConnection, issue_ids: Iterable[int], releases: Iterable[str]
) -> set[tuple[int, str]]:
    """Which (issue, release) have a row."""
    found: set[tuple[int, str]] = set()
    for names in chunks(releases):
        for some in chunks(issue_ids):
            statement = select(RELEASES.c.issue_id, RELEASES.c.release).where(
                RELEASES.c.issue_id.in_(some), RELEASES.c.release.in_(names)
            )
            found.update((row[0], row[1]) for row in await connection.execute(statement))
    return found


async def count_releases(connection: AsyncConnection, issue_ids: Iterable[int]) -> dict[int, int]:
    """How many releases are listed of each issue."""
    counts: dict[int, int] = {}
    for some in chunks(issue_ids):
        statement = (
            select(RELEASES.c.issue_id, func.count()).where(RELEASES.c.issue_id.in_(some)).group_by(RELEASES.c.issue_id)
        )
        counts.update((row[0], row[1]) for row in await connection.execute(statement))
    return counts


# ── statements; their parameters are named apart from columns, as SQLAlchemy asks for in an UPDATE ──

_N: Final = bindparam("n", type_=BigInteger)
_FIRST: Final = bindparam("first", type_=BigInteger)
_LAST: Final = bindparam("last", type_=BigInteger)
_USERS: Final = bindparam("users", type_=BigInteger)
_SKETCH: Final = bindparam("sketch", type_=LargeBinary)


def _least(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((value < column, value), else_=column)


def _greatest(column: ColumnElement[Any], value: ColumnElement[Any]) -> ColumnElement[Any]:
    return case((value > column, value), else_=column)


_hash_values: Final = {
    "event_count": HASHES.c.event_count + _N,
    "first_seen": _least(HASHES.c.first_seen, _FIRST),
    "last_seen": _greatest(HASHES.c.last_seen, _LAST),
}
_that_hash: Final = and_(
    HASHES.c.project_id == bindparam("b_project"),
    HASHES.c.version == bindparam("b_version"),
    HASHES.c.hash == bindparam("b_hash"),
)
UPDATE_HASH: Final = update(HASHES).where(_that_hash).values(_hash_values)
UPDATE_HASH_AND_SKETCH: Final = update(HASHES).where(_that_hash).values({**_hash_values, "user_sketch": _SKETCH})

_last_id: Final = bindparam("last_id", type_=String)
_first_id: Final = bindparam("first_id", type_=String)
_newer: Final = or_(ISSUES.c.last_seen < _LAST, and_(ISSUES.c.last_seen == _LAST, _last_id > ISSUES.c.last_event_id))
_older: Final = or_(
    ISSUES.c.first_seen > _FIRST, and_(ISSUES.c.first_seen == _FIRST, _first_id < ISSUES.c.first_event_id)
)
_this_issue: Final = ISSUES.c.id == bindparam("b_id")
UPDATE_ISSUE: Final = (
    update(ISSUES)
    .where(_this_issue)
    .values(
        event_count=ISSUES.c.event_count + _N,
        withheld_payloads=ISSUES.c.withheld_payloads + bindparam("withheld", type_=BigInteger),
        first_seen=_least(ISSUES.c.first_seen, _FIRST),
        last_seen=_greatest(ISSUES.c.last_seen, _LAST),
        level=case((_newer, bindparam("last_level", type_=String)), else_=ISSUES.c.level),
        last_release=case((_newer, bindparam("b_last_release", type_=String)), else_=ISSUES.c.last_release),
        last_event_id=case((_newer, _last_id), else_=ISSUES.c.last_event_id),
        first_release=case((_older, bindparam("b_first_release", type_=String)), else_=ISSUES.c.first_release),
        first_event_id=case((_older, _first_id), else_=ISSUES.c.first_event_id),
        user_count=_greatest(ISSUES.c.user_count, _USERS),
    )
)
UPDATE_ISSUE_SKETCH: Final = update(ISSUES).where(_this_issue).values(user_sketch=_SKETCH)
UPDATE_RELEASE: Final = (
    update(RELEASES)
    .where(RELEASES.c.issue_id == bindparam("b_issue"), RELEASES.c.release == bindparam("b_release"))
    .values(
        event_count=RELEASES.c.event_count + _N,
        first_seen=_least(RELEASES.c.first_seen, _FIRST),
        last_seen=_greatest(RELEASES.c.last_seen, _LAST),
    )
)
INSERT_RELEASE: Final = insert(RELEASES).values(
    issue_id=bindparam("b_issue"), release=bindparam("b_release"), event_count=_N, first_seen=_FIRST, last_seen=_LAST
)


def hash_update(key: Key, seen: Seen) -> Row:
    """A row for `UPDATE_HASH`."""
    return {
        "b_project": key.project_id,
        "b_version": key.version,
        "b_hash": key.hash,
        "n": seen.count,
        "first": seen.oldest.timestamp,
        "last": seen.newest.timestamp,
    }


def issue_update(issue_id: int, seen: Seen, users: int) -> Row:
    """A row for `UPDATE_ISSUE`; `users` is an estimate, 0 where it did not change."""
    newest, oldest = seen.newest, seen.oldest
    return {
        "b_id": issue_id,
        "n": seen.count,
        "withheld": seen.withheld,
        "first": oldest.timestamp,
        "last": newest.timestamp,
        "last_level": newest.level,
        "b_last_release": newest.release,
        "last_id": newest.event_id,
        "b_first_release": oldest.release,
        "first_id": oldest.event_id,
        "users": users,
    }
