"""How the reference store selects, groups and pages rows: plain functions over lists."""

from __future__ import annotations

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import msgspec

from appliance.hookspecs import (
    BadCursorError,
    Bucket,
    EventFilter,
    EventSummary,
    Page,
    ReplaySummary,
)
from appliance.model import (
    EventRow,
    MeasurementRow,
    OutcomeRow,
    PageViewRow,
    ReplaySegmentRow,
    SessionRow,
    SpanRow,
)

Row = EventRow | MeasurementRow | PageViewRow | SessionRow | SpanRow | ReplaySegmentRow | OutcomeRow
R = TypeVar("R", EventRow, MeasurementRow, PageViewRow, SessionRow, SpanRow, ReplaySegmentRow, OutcomeRow, Row)
T = TypeVar("T")


# Filter field → row field. A field that a row does not have filters nothing.
FIELDS: Final = {
    "group_hashes": "group_hash", "kinds": "kind", "levels": "level", "environments": "environment",
    "releases": "release", "browsers": "browser", "oses": "os", "devices": "device", "user_ids": "user_id",
    "urls": "url", "routes": "route", "ratings": "rating", "trace_id": "trace_id", "replay_id": "replay_id",
    "session_id": "session_id", "page_view_id": "page_view_id",
}  # fmt: skip
FOREVER: Final = 1 << 62
# What `field_values` knows, in the tables that have it.
FIELD_NAMES: Final = frozenset({"release", "environment", "browser", "os", "device", "route", "status", "op"})


def fits(row: Row, where: EventFilter) -> bool:
    """Whether a row passes a filter, but for its project and time."""
    for field, column in FIELDS.items():
        wanted = getattr(where, field)
        if wanted and hasattr(row, column):
            value = getattr(row, column)
            if value not in wanted if isinstance(wanted, tuple) else value != wanted:
                return False
    if not isinstance(row, EventRow):
        return True
    if any(row.tags.get(key) != value for key, value in where.tags):
        return False
    text = [part.lower() for part in (row.title, row.message, row.culprit, row.url)]
    return all(any(word in part for part in text) for word in where.text.lower().split())


def grouped(rows: Iterable[R], key: Callable[[R], T]) -> dict[T, list[R]]:
    """Rows by key."""
    groups: defaultdict[T, list[R]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return dict(groups)


def users_of(rows: Sequence[EventRow]) -> int:
    """How many users the events name."""
    return len({row.user_hash for row in rows} - {0})


def buckets_of(rows: Sequence[EventRow], bucket: int) -> list[Bucket]:
    """A histogram."""
    if bucket <= 0:
        raise ValueError(f"a bucket of {bucket} µs: it must be positive")
    groups = grouped(rows, lambda row: row.timestamp // bucket * bucket)
    return [Bucket(start=at, events=len(groups[at]), users=users_of(groups[at])) for at in sorted(groups)]


def time_of(row: Row) -> int:
    """When it happened; of a span, when it began."""
    return row.start if isinstance(row, SpanRow) else row.timestamp


def summary_of(row: EventRow) -> EventSummary:
    """An event without its payload."""
    return EventSummary(**{name: getattr(row, name) for name in EventSummary.__struct_fields__})


def replay_of(rows: Sequence[ReplaySegmentRow]) -> ReplaySummary:
    """A recorded session from its segments."""
    newest: dict[int, ReplaySegmentRow] = {}
    for row in sorted(rows, key=lambda row: (row.timestamp, row.received_at, row.ordinal)):
        newest[row.segment] = row
    parts = [newest[number] for number in sorted(newest)]
    return ReplaySummary(
        project_id=parts[0].project_id, replay_id=parts[0].replay_id, started=min(row.started for row in parts),
        ended=max(row.timestamp for row in parts), segments=len(parts), blob_bytes=sum(row.blob_bytes for row in parts),
        urls=tuple(dict.fromkeys(url for row in parts for url in row.urls)),
        error_ids=tuple(dict.fromkeys(error for row in parts for error in row.error_ids)),
        release=parts[-1].release, environment=parts[-1].environment, browser=parts[-1].browser,
        blob_keys=tuple(row.blob_key for row in parts),
        session_ids=tuple(dict.fromkeys(row.session_id for row in parts if row.session_id)),
    )  # fmt: skip


def paged(rows: Iterable[T], page: Page, key: Callable[[T], tuple[int, int, str]]) -> tuple[list[T], str]:
    """Newest first, after the cursor; the cursor of the next page."""
    limit = max(1, min(page.limit, 200))
    ordered = sorted(rows, key=key, reverse=True)
    if page.cursor:
        try:
            raw = base64.urlsafe_b64decode(page.cursor)
            after = msgspec.json.decode(raw, type=tuple[int, int, str])
        except (ValueError, binascii.Error, msgspec.DecodeError) as error:
            raise BadCursorError("This page's cursor is not one of ours: start again from the first page.") from error
        ordered = [row for row in ordered if key(row) < after]
    found = ordered[:limit]
    if len(ordered) <= limit:
        return found, ""
    return found, base64.urlsafe_b64encode(msgspec.json.encode(key(found[-1]))).decode()
