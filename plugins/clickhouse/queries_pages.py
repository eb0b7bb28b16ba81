"""Visits and the pages shown in them. A page view is all rows of its id: one for each request that told of it.

Each list first chooses its ids, reading little, and puts together only what it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from appliance.hookspecs import EventFilter, Page, PageViewSummary, SessionSummary

from .engine import Reader, Row
from .filters import (
    FAR,
    PAGE_VIEW_FIELDS,
    SESSION_FIELDS,
    Conditions,
    after_cursor,
    encode_cursor,
    select_fields,
    whole_range,
)
from .queries_events import page_limit

# Rows of one page view or visit have one beginning; the correction of a wrong clock moves it by a request's latency.
SLACK: Final = 3_600_000_000  # µs
# Highest first: what was given out is also what the page says it dropped.
_LAST: Final = "greatest(max(last_sequence), max(toUInt64(arrayMax(sequences))))"
_ARRIVED: Final = "groupBitmapArray(sequences)"  # a million numbers take 128 KB, whoever sends them
_VIEW: Final = f"""
    SELECT project_id, page_view_id, toUnixTimestamp64Micro(min(timestamp)) AS begun, argMax((
        session_id, url, route, title, referrer, CAST(release, 'String'), CAST(environment, 'String'),
        CAST(browser, 'String'), CAST(os, 'String'), CAST(device, 'String'), user_hash
    ), (received_at, ordinal)) AS s, {_LAST} AS last, {_ARRIVED} AS arrived, count() AS envelopes
    FROM page_views WHERE {{where}} GROUP BY project_id, page_view_id
"""
_SESSION: Final = """
    SELECT project_id, session_id, toUnixTimestamp64Micro(min(started)) AS begun, argMax((
        toUnixTimestamp64Micro(timestamp), CAST(status, 'String'), errors, duration, user_id, user_hash,
        CAST(release, 'String'), CAST(environment, 'String'), CAST(browser, 'String'), CAST(os, 'String'),
        CAST(device, 'String'), quantity
    ), (timestamp, received_at, ordinal)) AS s
    FROM sessions WHERE {where} GROUP BY project_id, session_id
"""


class _Pages(Struct, frozen=True):
    """What was seen of a visit's page views."""

    count: int
    missing: int
    url: str
    route: str


_NOTHING: Final = _Pages(0, 0, "", "")


async def page_views(reader: Reader, where: EventFilter, page: Page) -> tuple[list[PageViewSummary], str]:
    """Page views that began within the filter's time, newest first."""
    limit = page_limit(page)
    chosen = Conditions()
    _select_views(chosen, where)
    after = chosen.sibling()
    _began(after, where, "min(timestamp)")
    after_cursor(after, page.cursor, "min(timestamp)", "page_view_id")
    ids = f"""
        SELECT project_id, page_view_id FROM page_views WHERE {chosen.sql} GROUP BY project_id, page_view_id
        HAVING {after.sql} ORDER BY min(timestamp) DESC, project_id DESC, page_view_id DESC LIMIT {limit + 1}
    """
    mine = chosen.sibling()
    mine.add(f"(project_id, page_view_id) IN ({ids})")
    mine.received_since(where.start)
    sql = f"{_VIEW.format(where=mine.sql)} ORDER BY begun DESC, project_id DESC, page_view_id DESC"
    found = [_view(row) for row in await reader.query("listing page views", sql, chosen.parameters)]
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], encode_cursor(last.timestamp, last.project_id, last.page_view_id)


async def page_view_count(reader: Reader, where: EventFilter) -> tuple[int, int, int]:
    """(page views, those with gaps, missing in all)."""
    chosen = Conditions()
    _select_views(chosen, where)
    whole = chosen.sibling()
    _began(whole, where, "min(timestamp)")
    sql = f"""
        SELECT count(), countIf(gap > 0), sum(gap) FROM (
            SELECT if({_LAST} > {_ARRIVED}, {_LAST} - {_ARRIVED}, 0) AS gap
            FROM page_views WHERE {chosen.sql} GROUP BY project_id, page_view_id HAVING {whole.sql}
        )
    """
    rows = await reader.query("counting page views", sql, chosen.parameters)
    views, with_gaps, missing = rows[0]
    return int(views), int(with_gaps), int(missing)


def _select_views(into: Conditions, where: EventFilter) -> None:
    """All rows of the page views of which any row passes the filter."""
    _project(into, where)
    into.received_since(where.start)
    _around(into, where, "timestamp")
    fields = into.sibling()
    select_fields(fields, where, PAGE_VIEW_FIELDS)
    if any(getattr(where, field) for field in PAGE_VIEW_FIELDS):
        into.add(f"(project_id, page_view_id) IN (SELECT project_id, page_view_id FROM page_views WHERE {fields.sql})")


def _view(row: Row) -> PageViewSummary:
    project_id, page_view_id, begun, said, last, arrived, envelopes = row
    session_id, url, route, title, referrer, release, environment, browser, os, device, user_hash = said
    return PageViewSummary(
        project_id=project_id, page_view_id=page_view_id, session_id=session_id, timestamp=begun, url=url, route=route,
        title=title, referrer=referrer, release=release, environment=environment, browser=browser, os=os,
        device=device, user_hash=user_hash, last_sequence=last, arrived=arrived, envelopes=envelopes,
    )  # fmt: skip


async def sessions(reader: Reader, where: EventFilter, page: Page) -> tuple[list[SessionSummary], str]:
    """Visits that began within the filter's time, newest first."""
    limit = page_limit(page)
    chosen = Conditions()
    _select_sessions(chosen, where)
    after = chosen.sibling()
    _began(after, where, "min(started)")
    after.among("argMax(CAST(status, 'String'), (timestamp, received_at, ordinal))", where.statuses, "String")
    after_cursor(after, page.cursor, "min(started)", "session_id")
    ids = f"""
        SELECT project_id, session_id FROM sessions WHERE {chosen.sql} GROUP BY project_id, session_id
        HAVING {after.sql} ORDER BY min(started) DESC, project_id DESC, session_id DESC LIMIT {limit + 1}
    """
    mine = chosen.sibling()
    mine.add(f"(project_id, session_id) IN ({ids})")
    mine.received_since(where.start)
    sql = f"{_SESSION.format(where=mine.sql)} ORDER BY begun DESC, project_id DESC, session_id DESC"
    rows = await reader.query("listing sessions", sql, chosen.parameters)
    found = await _with_pages(reader, [_session(row) for row in rows[:limit]])
    if len(rows) <= limit:
        return found, ""
    last = found[-1]
    return found, encode_cursor(last.started, last.project_id, last.session_id)


async def session(reader: Reader, project_ids: Sequence[int], session_id: str) -> SessionSummary | None:
    """One visit."""
    if not session_id:
        return None
    mine = Conditions()
    select_fields(mine, EventFilter(project_ids=tuple(project_ids), session_id=session_id), SESSION_FIELDS)
    sql = f"{_SESSION.format(where=mine.sql)} ORDER BY begun, project_id LIMIT 1"
    rows = await reader.query("reading a session", sql, mine.parameters)
    return (await _with_pages(reader, [_session(row) for row in rows]))[0] if rows else None


def _select_sessions(into: Conditions, where: EventFilter) -> None:
    """All rows of the visits of which any row, or any page view, passes the filter."""
    _project(into, where)
    into.received_since(where.start)
    _around(into, where, "started")
    fields = into.sibling()
    select_fields(fields, where, SESSION_FIELDS)
    if any(getattr(where, field) for field in SESSION_FIELDS):
        into.add(f"(project_id, session_id) IN (SELECT project_id, session_id FROM sessions WHERE {fields.sql})")
    if where.urls or where.routes or where.page_view_id:
        pages = into.sibling()
        of_pages = replace(where, environments=(), releases=(), browsers=(), oses=(), devices=(), session_id="")
        select_fields(pages, of_pages, PAGE_VIEW_FIELDS)
        into.add(f"(project_id, session_id) IN (SELECT project_id, session_id FROM page_views WHERE {pages.sql})")


def _session(row: Row) -> SessionSummary:
    project_id, session_id, begun, said = row
    timestamp, status, errors, duration, user_id, user_hash, release, environment, browser, os, device, quantity = said
    return SessionSummary(
        project_id=project_id, session_id=session_id, started=begun, timestamp=timestamp, status=status, errors=errors,
        duration=duration, user_id=user_id, user_hash=user_hash, release=release, environment=environment,
        browser=browser, os=os, device=device, quantity=quantity,
    )  # fmt: skip


async def _with_pages(reader: Reader, found: list[SessionSummary]) -> list[SessionSummary]:
    """The same visits, each with what was seen of its page views."""
    if not found:
        return found
    mine = Conditions()
    mine.among("project_id", sorted({one.project_id for one in found}), "UInt64")
    mine.among("session_id", sorted({one.session_id for one in found}), "String")
    mine.received_since(min(one.started for one in found))
    sql = f"""
        SELECT project_id, said.1 AS visit, count(), sum(if(last > arrived, last - arrived, 0)),
            argMin((said.2, said.3), (begun, page_view_id))
        FROM (
            SELECT project_id, page_view_id, argMax((session_id, url, route), (received_at, ordinal)) AS said,
                min(timestamp) AS begun, {_LAST} AS last, {_ARRIVED} AS arrived
            FROM page_views WHERE {mine.sql} GROUP BY project_id, page_view_id
        ) GROUP BY project_id, visit
    """
    rows = await reader.query("counting page views of sessions", sql, mine.parameters)
    pages = {
        (int(project), str(name)): _Pages(int(count), int(missing), str(first[0]), str(first[1]))
        for project, name, count, missing, first in rows
    }
    filled: list[SessionSummary] = []
    for one in found:
        seen = pages.get((one.project_id, one.session_id), _NOTHING)
        filled.append(replace(one, page_views=seen.count, missing=seen.missing, url=seen.url, route=seen.route))
    return filled


def _project(into: Conditions, where: EventFilter) -> None:
    if where.project_ids:
        into.among("project_id", where.project_ids, "UInt64")
    else:
        into.add("0")  # no project: nothing, never everything


def _around(into: Conditions, where: EventFilter, column: str) -> None:
    """Spare rows that cannot belong; `_began` decides."""
    start, end = whole_range(where)
    if (start, end) != (0, FAR):
        into.within(column, [(max(0, start - SLACK), min(FAR, end + SLACK))])


def _began(into: Conditions, where: EventFilter, column: str) -> None:
    if whole_range(where) != (0, FAR):
        into.within(column, [whole_range(where)])
