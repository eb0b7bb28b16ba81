"""An `EventFilter` as SQL conditions. Whatever comes from outside travels as a typed parameter, never as SQL text."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

import msgspec

from appliance.hookspecs import BadCursorError, EventFilter

from .engine import Parameters
from .rows import DAY

Range: TypeAlias = tuple[int, int]  # µs, [start, end)

FAR: Final = 10_000_000_000_000_000  # µs: the year 2286; "no end"
MAX_VALUES: Final = 5_000  # of one field: as digits they still fit in a form field of 128 KB
MAX_VALUES_BYTES: Final = 100_000
MAX_WORDS: Final = 8  # of a text search; each is a scan of four columns
MAX_WORD: Final = 200
MAX_CURSOR: Final = 1_000
# Timestamps are clamped to the receive time, so rows from a time on were received from that time on. A day's slack
# costs one more partition and forgives a protocol that clamps loosely.
RECEIVED_SLACK: Final = DAY
# The rows of one measurement bear one time, up to what the correction of the client's clock differs by.
REPLACED_SLACK: Final = 3_600_000_000  # µs

# Filter field → column, for each table that has it. A field that a table lacks filters nothing there.
_CLIENT_FIELDS: Final = {
    "environments": "environment",
    "releases": "release",
    "browsers": "browser",
    "oses": "os",
    "devices": "device",
}
EVENT_FIELDS: Final = _CLIENT_FIELDS | {
    "kinds": "kind", "levels": "level", "user_ids": "user_id", "urls": "url",
    "trace_id": "trace_id", "replay_id": "replay_id", "session_id": "session_id", "page_view_id": "page_view_id",
}  # fmt: skip
MEASUREMENT_FIELDS: Final = _CLIENT_FIELDS | {
    "urls": "url", "routes": "route", "ratings": "rating",
    "trace_id": "trace_id", "session_id": "session_id", "page_view_id": "page_view_id",
}  # fmt: skip
SESSION_FIELDS: Final = _CLIENT_FIELDS | {"session_id": "session_id", "user_ids": "user_id"}
PAGE_VIEW_FIELDS: Final = _CLIENT_FIELDS | {
    "urls": "url", "routes": "route", "session_id": "session_id", "page_view_id": "page_view_id",
}  # fmt: skip
SPAN_FIELDS: Final = _CLIENT_FIELDS | {"urls": "url", "trace_id": "trace_id"}
REPLAY_FIELDS: Final = _CLIENT_FIELDS | {"replay_id": "replay_id"}
TEXT_COLUMNS: Final = ("title", "message", "culprit", "url")


class Conditions:
    """A WHERE clause under construction, and its parameters."""

    def __init__(self, parameters: dict[str, object] | None = None) -> None:
        self._clauses: list[str] = []
        self._parameters: dict[str, object] = {} if parameters is None else parameters

    def sibling(self) -> Conditions:
        """An empty clause that numbers its parameters on from these: for another part of one query."""
        return Conditions(self._parameters)

    def bind(self, value: object, kind: str) -> str:
        """Make a value a parameter of ClickHouse type `kind`; returns what stands for it in the SQL."""
        name = f"p{len(self._parameters)}"
        self._parameters[name] = value
        return f"{{{name}:{kind}}}"

    def time(self, at: int) -> str:
        """A time (µs) as a parameter."""
        return f"fromUnixTimestamp64Micro({self.bind(at, 'Int64')}, 'UTC')"

    def add(self, clause: str) -> None:
        """Add a condition; all must hold."""
        self._clauses.append(clause)

    def among(self, column: str, values: Sequence[object], kind: str) -> None:
        """The column has one of the values; no values filter nothing."""
        if not values:
            return
        size = sum(len(value) for value in values if isinstance(value, str))
        if len(values) > MAX_VALUES or size > MAX_VALUES_BYTES:
            raise ValueError(
                f"a filter on {column} with {len(values)} values: at most {MAX_VALUES} may be asked for at once"
            )
        if len(values) == 1:  # an equality lets the engine read along the sorting key
            self.add(f"{column} = {self.bind(values[0], kind)}")
        else:
            self.add(f"{column} IN {self.bind(list(values), f'Array({kind})')}")

    def within(self, column: str, ranges: Iterable[Range]) -> None:
        """The time column lies in one of the ranges (µs); no ranges select nothing."""
        parts: list[str] = []
        for start, end in ranges:
            upper = f" AND {column} < {self.time(end)}" if end < FAR else ""
            parts.append(f"({column} >= {self.time(start)}{upper})")
        self.add(f"({' OR '.join(parts)})" if parts else "0")

    def received_since(self, start: int) -> None:
        """Skip the partitions of days before rows with timestamps from `start` on can have been received."""
        if start > RECEIVED_SLACK:
            self.add(f"received_at >= {self.time(start - RECEIVED_SLACK)}")

    @property
    def sql(self) -> str:
        """The clause."""
        return " AND ".join(self._clauses) or "1"

    @property
    def parameters(self) -> Parameters:
        """What the clause and everything else bound needs."""
        return self._parameters


def whole_range(where: EventFilter) -> Range:
    """The filter's time range with its end made explicit."""
    return (where.start, where.end or FAR)


def select_rows(
    into: Conditions, where: EventFilter, fields: dict[str, str], ranges: Sequence[Range] | None = None
) -> None:
    """Add a filter's conditions for one table.

    Args:
        into: the clause to add to.
        where: the filter.
        fields: which of its fields the table has, under which column.
        ranges: times to select instead of the filter's own.
    """
    select_fields(into, where, fields)
    chosen = [whole_range(where)] if ranges is None else list(ranges)
    if chosen != [(0, FAR)]:
        into.within("timestamp", chosen)
        into.received_since(min((start for start, _ in chosen), default=0))
    if "levels" in fields and "user_ids" in fields:  # the events table
        _select_event_content(into, where)


def select_fields(into: Conditions, where: EventFilter, fields: dict[str, str]) -> None:
    """Add the projects and the plain fields of a filter, without its times."""
    if where.project_ids:
        into.among("project_id", where.project_ids, "UInt64")
    else:
        into.add("0")  # no project: nothing, never everything
    if "group_hashes" in fields or "kinds" in fields:
        into.among("group_hash", where.group_hashes, "UInt64")
    for field, column in fields.items():
        value: str | tuple[str, ...] = getattr(where, field)
        if isinstance(value, tuple):
            into.among(column, value, "String")
        elif value:
            into.add(f"{column} = {into.bind(value, 'String')}")


def _select_event_content(into: Conditions, where: EventFilter) -> None:
    for key, value in where.tags:
        into.add(f"tags[{into.bind(key, 'String')}] = {into.bind(value, 'String')}")
        if not value:
            into.add(f"mapContains(tags, {into.bind(key, 'String')})")
    for word in where.text.split()[:MAX_WORDS]:
        # The UTF-8 variant folds case in every script and costs three times as much.
        find = "positionCaseInsensitive" if word.isascii() else "positionCaseInsensitiveUTF8"
        needle = into.bind(word[:MAX_WORD], "String")
        into.add(f"({' OR '.join(f'{find}({column}, {needle}) > 0' for column in TEXT_COLUMNS)})")


def newest_values(
    into: Conditions, project_ids: Sequence[int], ranges: Sequence[Range], metrics: Sequence[str] = ()
) -> None:
    """Of the measurements that took each other's place, only the last: for a clause on `measurements`.

    Few rows have a revision, so the set is small.

    Args:
        into: the clause to add to.
        project_ids: those that the clause selects; empty: all.
        ranges: the times that it selects, in their order.
        metrics: those that it selects; empty: all. A value and what replaces it are of one metric.
    """
    some = into.sibling()
    some.add("revision > 0")
    some.among("project_id", project_ids, "UInt64")
    some.among("metric", metrics, "String")
    if list(ranges) not in ([], [(0, FAR)]):
        some.within(
            "timestamp", [(max(0, start - REPLACED_SLACK), min(FAR, end + REPLACED_SLACK)) for start, end in ranges]
        )
        some.received_since(ranges[0][0])
    # All revisions of each, the first (0) too, but the last.
    earlier = "arrayPopBack(arraySort(arrayDistinct(arrayPushBack(groupArray(revision), toUInt64(0)))))"
    into.add(f"""(value_hash, revision) NOT IN (
        SELECT value_hash, arrayJoin({earlier}) FROM measurements WHERE {some.sql} GROUP BY value_hash
    )""")


def needs_base_rows(where: EventFilter, fields: Sequence[str]) -> bool:
    """True when a filter uses anything but `fields`, group hashes, projects and times."""
    plain = {"project_ids", "start", "end", "group_hashes", *fields}
    return any(getattr(where, name) for name in where.__struct_fields__ if name not in plain)


def along_key(where: EventFilter) -> str:
    """SETTINGS of a query over `events` that reads no payloads.

    Where the sorting key alone selects the rows (one group and a time), hardly any are read in vain, and planning how
    to read the condition's columns before the others takes up to a quarter of the query's time. The rows of many
    groups lie among others.
    """
    only_key = len(where.group_hashes) == 1 and not needs_base_rows(where, ())
    return "SETTINGS optimize_move_to_prewhere = 0" if only_key else ""


def encode_cursor(timestamp: int, project_id: int, identity: str) -> str:
    """The place after which the next page starts, opaque to the reader."""
    return base64.urlsafe_b64encode(msgspec.json.encode((timestamp, project_id, identity))).decode().rstrip("=")


def decode_cursor(cursor: str) -> tuple[int, int, str]:
    """What `encode_cursor` made. Raises `BadCursorError` for anything else."""
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError("too long")
        raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        timestamp, project_id, identity = msgspec.json.decode(raw, type=tuple[int, int, str])
        if not (-FAR <= timestamp <= FAR and 0 <= project_id < 1 << 63):
            raise ValueError("out of range")
    except (ValueError, binascii.Error, msgspec.DecodeError) as error:
        raise BadCursorError("This page's cursor is not one of ours: start again from the first page.") from error
    return timestamp, project_id, identity


def after_cursor(into: Conditions, cursor: str, time_column: str, id_column: str) -> None:
    """Only rows older than the cursor's; nothing without one."""
    if not cursor:
        return
    timestamp, project_id, identity = decode_cursor(cursor)
    at = into.time(timestamp)
    into.add(f"{time_column} <= {at}")
    place = f"({at}, {into.bind(project_id, 'UInt64')}, {into.bind(identity, 'String')})"
    into.add(f"({time_column}, project_id, {id_column}) < {place}")
