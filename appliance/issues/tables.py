"""Statements over the tables of issues that recording and merging share: each for many rows, on SQLite and Postgres.

No decisions here; the words for what is read (`Known`) and the rows that statements take.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any, Final, TypeAlias, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    Integer,
    LargeBinary,
    Select,
    String,
    Table,
    UpdateBase,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    text,
    tuple_,
    type_coerce,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
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
KEYS_AT_ONCE: Final = 5_000  # hashes looked up at once, as one parameter
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
    shared: bool  # its hashes count by themselves: see `IssueModel.shared`
    first_seen: int
    last_seen: int
    sketch: bytes  # of the issue's users
    hash_count: int = 0  # these of the hash: only kept while the issue is shared
    hash_first_seen: int = 0
    hash_sketch: bytes = b""


def utc(moment: int) -> str:
    """A time in words, for the history of an issue."""
    return datetime.fromtimestamp(moment / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


async def run(connection: AsyncConnection, statement: Executable, rows: Sequence[Row]) -> None:
    """One statement for all rows; nothing for none."""
    if rows:
        await connection.execute(statement, rows)


async def run_often(connection: AsyncConnection, statement: UpdateBase, rows: Sequence[Row]) -> None:
    """As `run`, for the updates of every batch: compiled once, and no work of SQLAlchemy for each row.

    Only for statements whose parameters are given as the driver takes them: integers, texts and bytes.
    """
    if not rows:
        return
    key = (statement, connection.dialect.name)
    prepared = _prepared.get(key)
    if prepared is None:
        compiled = statement.compile(dialect=connection.dialect)
        prepared = _prepared[key] = (compiled.string, itemgetter(*(compiled.positiontup or ())))
    text_, values = prepared
    await connection.exec_driver_sql(text_, [values(row) for row in rows])


_prepared: Final[dict[tuple[UpdateBase, str], tuple[str, itemgetter[Any]]]] = {}


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
    by_space: dict[tuple[int, int], list[int]] = {}
    for key in keys:
        by_space.setdefault((key.project_id, key.version), []).append(key.hash)
    sqlite_ = connection.dialect.name == "sqlite"
    known: dict[Key, Known] = {}
    for (project_id, version), hashes in by_space.items():
        for some in chunks(hashes, KEYS_AT_ONCE):
            signed = [hash_ - (1 << 64) if hash_ >= 1 << 63 else hash_ for hash_ in some]
            values = {
                "b_project": project_id,
                "b_version": version,
                "b_hashes": msgspec.json.encode(signed).decode() if sqlite_ else signed,
            }
            statement = _SELECT_KNOWN_SQLITE if sqlite_ else _SELECT_KNOWN_POSTGRES
            for found in (await connection.execute(statement, values)).all():
                hash_ = found[0] + (1 << 64) if found[0] < 0 else found[0]
                known[Key(project_id, version, hash_)] = Known(*found[1:])
    return known


def _select_known(among: ColumnElement[bool]) -> Select[*tuple[Any, ...]]:
    """One list of hashes as one parameter: a statement with 500 of them is written anew by SQLAlchemy each time."""
    columns = (
        type_coerce(HASHES.c.hash, BigInteger), ISSUES.c.id, ISSUES.c.state, ISSUES.c.event_count, ISSUES.c.overflow,
        ISSUES.c.shared, ISSUES.c.first_seen, ISSUES.c.last_seen, ISSUES.c.user_sketch, HASHES.c.event_count,
        HASHES.c.first_seen, HASHES.c.user_sketch,
    )  # fmt: skip
    return (
        select(*columns)
        .join(ISSUES, ISSUES.c.id == HASHES.c.issue_id)
        .where(
            HASHES.c.project_id == bindparam("b_project", type_=BigInteger),
            HASHES.c.version == bindparam("b_version", type_=Integer),
            among,
        )
    )


_hash: Final = type_coerce(HASHES.c.hash, BigInteger)
_json_values: Final = func.json_each(bindparam("b_hashes", type_=String)).table_valued("value")
_SELECT_KNOWN_SQLITE: Final = _select_known(_hash.in_(select(_json_values.c.value)))
_SELECT_KNOWN_POSTGRES: Final = _select_known(
    _hash == func.any(bindparam("b_hashes", type_=postgresql.ARRAY(BigInteger)))
)


async def load_releases(connection: AsyncConnection, pairs: Sequence[tuple[int, str]]) -> set[tuple[int, str]]:
    """Which of these (issue, release) have a row."""
    found: set[tuple[int, str]] = set()
    pair = tuple_(RELEASES.c.issue_id, RELEASES.c.release)
    for some in chunks(pairs):
        statement = select(RELEASES.c.issue_id, RELEASES.c.release).where(pair.in_(some))
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
_this_issue: Final = ISSUES.c.id == bindparam("b_id")
_sums: Final = {
    "event_count": ISSUES.c.event_count + _N,
    "withheld_payloads": ISSUES.c.withheld_payloads + bindparam("withheld", type_=BigInteger),
}
_newest: Final = {
    "last_seen": _LAST,
    "level": bindparam("last_level", type_=String),
    "last_release": bindparam("b_last_release", type_=String),
    "last_event_id": _last_id,
}
_oldest: Final = {
    "first_seen": _FIRST,
    "first_release": bindparam("b_first_release", type_=String),
    "first_event_id": _first_id,
}
_users: Final = {"user_sketch": _SKETCH, "user_count": bindparam("users", type_=BigInteger)}
_newer: Final = or_(ISSUES.c.last_seen < _LAST, and_(ISSUES.c.last_seen == _LAST, _last_id > ISSUES.c.last_event_id))
_older: Final = or_(
    ISSUES.c.first_seen > _FIRST, and_(ISSUES.c.first_seen == _FIRST, _first_id < ISSUES.c.first_event_id)
)
_compared: Final = {
    **{name: case((_newer, value), else_=ISSUES.c[name]) for name, value in _newest.items()},
    **{name: case((_older, value), else_=ISSUES.c[name]) for name, value in _oldest.items()},
}
_update_issue: Final = update(ISSUES).where(_this_issue)
# The four forms of one update. "Forward": every event is newer than all known ones, which is nearly always so and
# half the work; the other form compares. Both leave the same behind, whatever the order of batches.
FORWARD: Final = _update_issue.values({**_sums, **_newest})
FORWARD_AND_USERS: Final = _update_issue.values({**_sums, **_newest, **_users})
ANY_ORDER: Final = _update_issue.values({**_sums, **_compared})
ANY_ORDER_AND_USERS: Final = _update_issue.values({**_sums, **_compared, **_users})


def upsert_release(dialect: str) -> UpdateBase:
    """Add to a release's row of an issue, or make it."""
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement = make(RELEASES).values(
        issue_id=bindparam("b_issue"),
        release=bindparam("b_release"),
        event_count=_N,
        first_seen=_FIRST,
        last_seen=_LAST,
    )
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["issue_id", "release"],
        set_={
            "event_count": RELEASES.c.event_count + new.event_count,
            "first_seen": _least(RELEASES.c.first_seen, new.first_seen),
            "last_seen": _greatest(RELEASES.c.last_seen, new.last_seen),
        },
    )


UPSERT_RELEASE: Final = {"sqlite": upsert_release("sqlite"), "postgresql": upsert_release("postgresql")}


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


def issue_update(issue: Known, seen: Seen) -> tuple[UpdateBase, UpdateBase, Row]:
    """The statements without and with users, and their row."""
    newest, oldest = seen.newest, seen.oldest
    row: Row = {
        "b_id": issue.issue_id,
        "n": seen.count,
        "withheld": seen.withheld,
        "last": newest.timestamp,
        "last_level": newest.level,
        "b_last_release": newest.release,
        "last_id": newest.event_id,
    }
    if oldest.timestamp > issue.first_seen and newest.timestamp > issue.last_seen:
        return FORWARD, FORWARD_AND_USERS, row
    row["first"] = oldest.timestamp
    row["b_first_release"] = oldest.release
    row["first_id"] = oldest.event_id
    return ANY_ORDER, ANY_ORDER_AND_USERS, row
