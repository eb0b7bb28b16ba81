"""What visits left behind: replays, releases seen, and what was not kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from appliance.hookspecs import EventFilter, Page, ReleaseSummary, ReplaySummary

from .engine import Reader, Row
from .filters import (
    EVENT_FIELDS,
    REPLAY_FIELDS,
    SESSION_FIELDS,
    Conditions,
    after_cursor,
    encode_cursor,
    select_fields,
    select_rows,
)
from .queries_events import page_limit

MAX_SEGMENTS: Final = 5_000  # of one replay: at one in five seconds seven hours
MAX_RELEASES: Final = 1_000
MAX_LISTED: Final = 100  # addresses and error ids of one replay
MAX_OUTCOMES: Final = 1_000

# A segment that was sent twice counts once, as it came last.
_SEGMENTS: Final = """
    SELECT project_id, replay_id, segment, argMax((
        toUnixTimestamp64Micro(started), toUnixTimestamp64Micro(timestamp), blob_bytes, urls, error_ids,
        CAST(release, 'String'), CAST(environment, 'String'), CAST(browser, 'String'), blob_key, trace_ids, session_id
    ), (timestamp, received_at, ordinal)) AS s
    FROM replay_segments WHERE {where} GROUP BY project_id, replay_id, segment
"""
_REPLAYS: Final = f"""
    SELECT project_id, replay_id, min(s.1) AS begun, max(s.2) AS ended, count() AS segments, sum(s.3) AS bytes,
        arraySlice(arraySort(groupArray((segment, s.9, s.4, s.5, s.11, s.6, s.7, s.8))), 1, {MAX_SEGMENTS}) AS parts
    FROM ({_SEGMENTS}) GROUP BY project_id, replay_id
"""


async def replays(reader: Reader, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
    """Recorded sessions that overlap the filter's time, newest first."""
    limit = page_limit(page)
    rows_of = Conditions()
    select_fields(rows_of, where, REPLAY_FIELDS)
    rows_of.received_since(where.start)
    if where.urls:
        rows_of.add(_any_replay_with(rows_of, "urls", where.urls))
    if where.trace_id:
        rows_of.add(_any_replay_with(rows_of, "trace_ids", (where.trace_id,)))
    if where.session_id:
        rows_of.add(_any_replay_with(rows_of, "[session_id]", (where.session_id,)))
    whole = rows_of.sibling()
    if where.start:
        whole.add(f"ended >= {whole.bind(where.start, 'Int64')}")
    if where.end:
        whole.add(f"begun < {whole.bind(where.end, 'Int64')}")
    after_cursor(whole, page.cursor, "fromUnixTimestamp64Micro(begun, 'UTC')", "replay_id")
    sql = f"""
        {_REPLAYS.format(where=rows_of.sql)} HAVING {whole.sql}
        ORDER BY begun DESC, project_id DESC, replay_id DESC LIMIT {limit + 1}
    """
    found = [_replay(row) for row in await reader.query("listing replays", sql, rows_of.parameters)]
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], encode_cursor(last.started, last.project_id, last.replay_id)


def _any_replay_with(conditions: Conditions, values_of: str, wanted: Sequence[str]) -> str:
    """Segments of replays of which any segment has one of the values: a replay is listed with all its segments."""
    some = conditions.bind(list(wanted), "Array(String)")
    chosen = f"SELECT project_id, replay_id FROM replay_segments WHERE hasAny({values_of}, {some})"
    return f"(project_id, replay_id) IN ({chosen})"


async def replay(reader: Reader, project_ids: Sequence[int], replay_id: str) -> ReplaySummary | None:
    """One recorded session."""
    if not replay_id:
        return None
    conditions = Conditions()
    select_fields(conditions, EventFilter(project_ids=tuple(project_ids), replay_id=replay_id), REPLAY_FIELDS)
    sql = f"{_REPLAYS.format(where=conditions.sql)} ORDER BY begun LIMIT 1"
    rows = await reader.query("reading a replay", sql, conditions.parameters)
    return _replay(rows[0]) if rows else None


def _replay(row: Row) -> ReplaySummary:
    project_id, replay_id, started, ended, segments, size, parts = row
    urls = dict.fromkeys(url for part in parts for url in part[2])
    errors = dict.fromkeys(error for part in parts for error in part[3])
    sessions = dict.fromkeys(part[4] for part in parts if part[4])
    release, environment, browser = parts[-1][5:]
    return ReplaySummary(
        project_id=project_id, replay_id=replay_id, started=started, ended=ended, segments=segments, blob_bytes=size,
        urls=tuple(urls)[:MAX_LISTED], error_ids=tuple(errors)[:MAX_LISTED],
        release=release, environment=environment, browser=browser, blob_keys=tuple(part[1] for part in parts),
        session_ids=tuple(sessions)[:MAX_LISTED],
    )  # fmt: skip


async def releases(reader: Reader, where: EventFilter, limit: int) -> list[ReleaseSummary]:
    """Releases, the one that appeared last first; a session counts as its newest row says."""
    of_events = Conditions()
    select_rows(of_events, where, EVENT_FIELDS)
    of_sessions = of_events.sibling()
    select_rows(of_sessions, where, SESSION_FIELDS)
    sql = f"""
        SELECT release, sum(n) AS events, uniqCombined64Merge(12)(u) AS users, sum(sessions), sum(crashed),
            toUnixTimestamp64Micro(min(first)) AS begun, toUnixTimestamp64Micro(max(last))
        FROM (
            SELECT CAST(release, 'String') AS release, count() AS n,
                uniqCombined64StateIf(12)(user_hash, user_hash != 0) AS u,
                toUInt64(0) AS sessions, toUInt64(0) AS crashed, min(timestamp) AS first, max(timestamp) AS last
            FROM events WHERE {of_events.sql} GROUP BY release
            UNION ALL
            SELECT CAST(s.1, 'String') AS release, toUInt64(0) AS n,
                uniqCombined64StateIf(12)(s.2, s.2 != 0) AS u,
                sum(s.3) AS sessions, sumIf(s.3, s.4 = 'crashed') AS crashed, min(s.5) AS first, max(s.6) AS last
            FROM (
                SELECT argMax(
                    (release, user_hash, quantity, status, started, timestamp), (timestamp, received_at, ordinal)
                ) AS s
                FROM sessions WHERE {of_sessions.sql} GROUP BY project_id, session_id
            ) GROUP BY release
        ) WHERE release != '' GROUP BY release ORDER BY begun DESC, release LIMIT {max(1, min(limit, MAX_RELEASES))}
    """
    return [
        ReleaseSummary(
            release=name, events=events, users=users, sessions=sessions, crashed_sessions=crashed, first_seen=first,
            last_seen=last,
        )
        for name, events, users, sessions, crashed, first, last in await reader.query(
            "listing releases", sql, of_events.parameters
        )
    ]  # fmt: skip


async def outcomes(reader: Reader, where: EventFilter) -> list[tuple[str, str, str, int]]:
    """(source, reason, category, quantity) of what was not kept."""
    conditions = Conditions()
    select_rows(conditions, where, {})
    sql = f"""
        SELECT source, reason, category, sum(quantity) AS lost FROM outcomes WHERE {conditions.sql}
        GROUP BY source, reason, category ORDER BY lost DESC, source, reason, category LIMIT {MAX_OUTCOMES}
    """
    rows = await reader.query("counting what was not kept", sql, conditions.parameters)
    return [(source, reason, category, quantity) for source, reason, category, quantity in rows]
