"""Single events: lists, one event by its id, its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.hookspecs import (
    EventFilter,
    EventNotFoundError,
    EventStoreError,
    EventSummary,
    LatestEvent,
    Neighbours,
    Page,
)
from appliance.model import Event

from .engine import Reader, Row
from .filters import EVENT_FIELDS, Conditions, after_cursor, encode_cursor, select_rows
from .rows import id_hash

MAX_PAGE: Final = 200
MAX_TIES: Final = 10_000  # events of one microsecond that are put in order by id
_TIMES: Final = frozenset({"timestamp", "received_at"})
_COLUMNS: Final = ", ".join(
    f"toUnixTimestamp64Micro({name})" if name in _TIMES else name for name in EventSummary.__struct_fields__
)
_decoder = msgspec.json.Decoder(Event)


def page_limit(page: Page) -> int:
    """How many items a page has: what was asked for, within 1 and 200."""
    return max(1, min(page.limit, MAX_PAGE))


def _summary(row: Row) -> EventSummary:
    fields = dict(zip(EventSummary.__struct_fields__, row, strict=True))
    return EventSummary(**fields)


async def events(reader: Reader, where: EventFilter, page: Page) -> tuple[list[EventSummary], str]:
    """Events, newest first."""
    limit = page_limit(page)
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    after_cursor(conditions, page.cursor, "timestamp", "event_id")
    sql = f"""
        SELECT {_COLUMNS} FROM events WHERE {conditions.sql}
        ORDER BY timestamp DESC, project_id DESC, event_id DESC LIMIT {limit + 1}
    """
    found = [_summary(row) for row in await reader.query("listing events", sql, conditions.parameters)]
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], encode_cursor(last.timestamp, last.project_id, last.event_id)


async def event(reader: Reader, project_ids: Sequence[int], event_id: str) -> tuple[EventSummary, Event | None]:
    """One event with its payload."""
    key = await _key_of(reader, project_ids, event_id)
    project_id, group_hash, timestamp, received_at = key
    conditions = Conditions()
    conditions.add(f"project_id = {conditions.bind(project_id, 'UInt64')}")
    conditions.add(f"group_hash = {conditions.bind(group_hash, 'UInt64')}")
    conditions.add(f"timestamp = {conditions.time(timestamp)}")
    conditions.add(f"received_at = {conditions.time(received_at)}")
    conditions.add(f"event_id = {conditions.bind(event_id, 'String')}")
    sql = f"SELECT {_COLUMNS}, payload FROM events WHERE {conditions.sql} LIMIT 1"
    rows = await reader.query("reading an event", sql, conditions.parameters)
    if not rows:
        raise EventNotFoundError(f"There is no event {event_id} here, or retention has dropped it.")
    *fields, payload = rows[0]
    return _summary(tuple(fields)), _decode(event_id, payload)


async def latest(reader: Reader, where: EventFilter) -> LatestEvent | None:
    """The newest event and the id of the one before it. The engine reads the wide columns of these two rows alone."""
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    sql = f"""
        SELECT {_COLUMNS}, payload FROM events WHERE {conditions.sql}
        ORDER BY timestamp DESC, project_id DESC, event_id DESC LIMIT 2
    """
    rows = await reader.query("reading the newest event", sql, conditions.parameters)
    if not rows:
        return None
    *fields, payload = rows[0]
    summary = _summary(tuple(fields))
    previous = _summary(rows[1][:-1]).event_id if len(rows) > 1 else ""
    return LatestEvent(summary=summary, event=_decode(summary.event_id, payload), previous=previous)


async def _key_of(reader: Reader, project_ids: Sequence[int], event_id: str) -> tuple[int, int, int, int]:
    """Where an event lies in its table, from the hash-sorted ids."""
    conditions = Conditions()
    conditions.among("id_hash", [id_hash(project, "event", event_id) for project in project_ids] or [0], "UInt64")
    conditions.among("project_id", list(project_ids) or [0], "UInt64")
    conditions.add(f"kind = 'event' AND id = {conditions.bind(event_id, 'String')}")
    sql = f"""
        SELECT project_id, group_hash, toUnixTimestamp64Micro(timestamp), toUnixTimestamp64Micro(received_at)
        FROM event_ids WHERE {conditions.sql} ORDER BY received_at LIMIT 1
    """
    rows = await reader.query("finding an event", sql, conditions.parameters) if project_ids else []
    if not rows:
        raise EventNotFoundError(f"There is no event {event_id} here, or retention has dropped it.")
    project_id, group_hash, timestamp, received_at = rows[0]
    return project_id, group_hash, timestamp, received_at


def _decode(event_id: str, payload: str | bytes) -> Event | None:
    if not payload:
        return None
    try:
        return _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise EventStoreError(
            f"The stored payload of event {event_id} cannot be read ({error}): it was written by another version. "
            "Its row is intact; lists still show it."
        ) from error


async def neighbours(reader: Reader, where: EventFilter, here: EventSummary) -> Neighbours:
    """The events before and after one: first the times, which are cheap to read, then the ids at those times."""
    conditions = Conditions()
    select_rows(conditions, where, EVENT_FIELDS)
    at = conditions.bind(here.timestamp, "Int64")
    sql = f"""
        WITH toUnixTimestamp64Micro(timestamp) AS t
        SELECT maxIf(t, t < {at}), minIf(t, t > {at}), min(t), max(t), count() FROM events WHERE {conditions.sql}
    """
    doing = "looking for the events around one"
    rows = await reader.query(doing, sql, conditions.parameters)
    before, after, first, last, count = rows[0]
    if not count:
        return Neighbours(previous="", next="", oldest="", newest="")
    times = sorted({before or here.timestamp, after or here.timestamp, here.timestamp, first, last})
    ids = Conditions()
    select_rows(ids, where, EVENT_FIELDS)
    ids.add(f"timestamp IN (SELECT fromUnixTimestamp64Micro(arrayJoin({ids.bind(times, 'Array(Int64)')}), 'UTC'))")
    sql = f"""
        SELECT toUnixTimestamp64Micro(timestamp) AS t, project_id, event_id FROM events WHERE {ids.sql}
        ORDER BY t, project_id, event_id LIMIT {MAX_TIES}
    """
    keys = [(int(t), int(project), str(name)) for t, project, name in await reader.query(doing, sql, ids.parameters)]
    place = (here.timestamp, here.project_id, here.event_id)
    older = [name for *_, name in (key for key in keys if key < place)]
    newer = [name for *_, name in (key for key in keys if key > place)]
    return Neighbours(
        previous=older[-1] if older else "",
        next=newer[0] if newer else "",
        oldest=keys[0][2] if keys else "",
        newest=keys[-1][2] if keys else "",
    )
