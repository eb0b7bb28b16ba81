"""Spans: lists of roots, and one trace. A span that was sent twice counts as it came last, from its first beginning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from appliance.hookspecs import EventFilter, Page, SpanSummary
from appliance.model import JsonObject

from .engine import Reader, Row
from .filters import FAR, SPAN_FIELDS, Conditions, after_cursor, encode_cursor, select_fields, whole_range
from .queries_events import page_limit

MAX_TRACE: Final = 5_000  # spans; a page that shows more shows nothing
# Rows of one span begin alike, but for one whose beginning was made from its end, and for a clock that is wrong.
SLACK: Final = 3_600_000_000  # µs
_IDENTITY: Final = "concat(trace_id, span_id)"
_SPAN: Final = """
    SELECT project_id, trace_id, span_id, toUnixTimestamp64Micro(min(start)) AS begun, argMax((
        parent_span_id, event_id, toUnixTimestamp64Micro(end), CAST(op, 'String'), name, CAST(status, 'String'),
        is_segment, CAST(release, 'String'), CAST(environment, 'String'), url, CAST(browser, 'String'),
        CAST(os, 'String'), CAST(device, 'String'), user_hash, attributes
    ), (end, received_at, ordinal)) AS s
    FROM spans WHERE {where} GROUP BY project_id, trace_id, span_id
"""
_decoder: Final = msgspec.json.Decoder(JsonObject)


async def spans(reader: Reader, where: EventFilter, page: Page) -> tuple[list[SpanSummary], str]:
    """Roots that began within the filter's time, or all spans of `where.trace_id`, newest first."""
    limit = page_limit(page)
    chosen = Conditions()
    _select(chosen, where)
    after = chosen.sibling()
    if whole_range(where) != (0, FAR):
        after.within("min(start)", [whole_range(where)])
    after_cursor(after, page.cursor, "min(start)", _IDENTITY)
    ids = f"""
        SELECT project_id, trace_id, span_id FROM spans WHERE {chosen.sql} GROUP BY project_id, trace_id, span_id
        HAVING {after.sql} ORDER BY min(start) DESC, project_id DESC, {_IDENTITY} DESC LIMIT {limit + 1}
    """
    mine = chosen.sibling()
    mine.add(f"(project_id, trace_id, span_id) IN ({ids})")
    sql = f"{_SPAN.format(where=mine.sql)} ORDER BY begun DESC, project_id DESC, {_IDENTITY} DESC"
    found = [_span(row) for row in await reader.query("listing spans", sql, chosen.parameters)]
    if len(found) <= limit:
        return found, ""
    last = found[limit - 1]
    return found[:limit], encode_cursor(last.start, last.project_id, last.trace_id + last.span_id)


def _select(into: Conditions, where: EventFilter) -> None:
    """All rows of the spans of which any row passes the filter."""
    fields = into.sibling()
    select_fields(fields, where, SPAN_FIELDS)
    if not where.trace_id:
        fields.add("is_segment")
    start, end = whole_range(where)
    for part in (into, fields):
        if (start, end) != (0, FAR):  # spares rows that cannot belong; the beginning of the whole span decides
            part.within("start", [(max(0, start - SLACK), min(FAR, end + SLACK))])
            part.received_since(start)
    into.among("project_id", where.project_ids or (0,), "UInt64")
    if where.trace_id:
        into.add(f"trace_id = {into.bind(where.trace_id, 'String')}")
    chosen = f"SELECT project_id, trace_id, span_id FROM spans WHERE {fields.sql}"
    into.add(f"(project_id, trace_id, span_id) IN ({chosen})")


async def trace(reader: Reader, project_ids: Sequence[int], trace_id: str, limit: int) -> list[SpanSummary]:
    """One trace, in the order in which its spans began."""
    if not trace_id:
        return []
    mine = Conditions()
    select_fields(mine, EventFilter(project_ids=tuple(project_ids), trace_id=trace_id), SPAN_FIELDS)
    most = max(1, min(limit, MAX_TRACE))
    sql = f"{_SPAN.format(where=mine.sql)} ORDER BY begun, project_id, span_id LIMIT {most}"
    return [_span(row) for row in await reader.query("reading a trace", sql, mine.parameters)]


def _span(row: Row) -> SpanSummary:
    project_id, trace_id, span_id, begun, said = row
    parent, event_id, end, op, name, status, is_segment, release, environment, url, browser, os, device, *rest = said
    user_hash, attributes = rest
    return SpanSummary(
        project_id=project_id, trace_id=trace_id, span_id=span_id, parent_span_id=parent, event_id=event_id,
        start=begun, end=end, op=op, name=name, status=status, is_segment=bool(is_segment), release=release,
        environment=environment, url=url, browser=browser, os=os, device=device, user_hash=user_hash,
        attributes=_decoder.decode(attributes) if attributes else {},
    )  # fmt: skip
