"""The reference store's visits, page views and spans: rows of one id put together, in the fewest words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from appliance.hookspecs import EventFilter, Page, PageViewSummary, ReleaseSummary, SessionSummary, SpanSummary
from appliance.model import EventRow, JsonObject, PageViewRow, SessionRow, SpanRow
from appliance.testing.reference_answers import FOREVER, Row, fits, grouped, paged

R = TypeVar("R", PageViewRow, SessionRow, SpanRow)
Key = tuple[int, str]  # project and id


class VisitAnswers:
    """What `MemoryStore` answers about visits; it brings the rows."""

    tables: dict[str, dict[tuple[int, int], Row]]

    async def sessions(self, where: EventFilter, page: Page) -> tuple[list[SessionSummary], str]:
        views = grouped(self._all("page_views", PageViewRow), lambda row: (row.project_id, row.session_id))
        groups = grouped(self._all("sessions", SessionRow), lambda row: (row.project_id, row.session_id))
        found = [
            session_of(rows, views.get(key, []))
            for key, rows in groups.items()
            if key[0] in where.project_ids
            and any(fits(row, where) for row in rows)
            and _has_page(views.get(key, []), where)
        ]
        found = [
            one
            for one in found
            if where.start <= one.started < (where.end or FOREVER)
            and (not where.statuses or one.status in where.statuses)
        ]
        return paged(found, page, lambda one: (one.started, one.project_id, one.session_id))

    async def session(self, project_ids: Sequence[int], session_id: str) -> SessionSummary | None:
        where = EventFilter(project_ids=tuple(project_ids), session_id=session_id)
        found = (await self.sessions(where, Page()))[0] if session_id else []
        return found[-1] if found else None

    async def page_views(self, where: EventFilter, page: Page) -> tuple[list[PageViewSummary], str]:
        return paged(self._views(where), page, lambda one: (one.timestamp, one.project_id, one.page_view_id))

    async def page_view_count(self, where: EventFilter) -> tuple[int, int, int]:
        missing = [one.missing for one in self._views(where)]
        return len(missing), sum(gap > 0 for gap in missing), sum(missing)

    async def spans(self, where: EventFilter, page: Page) -> tuple[list[SpanSummary], str]:
        found = [
            span_of(rows)
            for rows in self._spans()
            if rows[0].project_id in where.project_ids
            and any(fits(row, where) and (row.is_segment or where.trace_id) for row in rows)
        ]
        found = [one for one in found if where.start <= one.start < (where.end or FOREVER)]
        return paged(found, page, lambda one: (one.start, one.project_id, one.trace_id + one.span_id))

    async def trace(self, project_ids: Sequence[int], trace_id: str, limit: int = 1000) -> list[SpanSummary]:
        found = [
            span_of(rows)
            for rows in self._spans()
            if trace_id and rows[0].trace_id == trace_id and rows[0].project_id in project_ids
        ]
        return sorted(found, key=lambda one: (one.start, one.project_id, one.span_id))[:limit]

    def _views(self, where: EventFilter) -> list[PageViewSummary]:
        groups = grouped(self._all("page_views", PageViewRow), lambda row: (row.project_id, row.page_view_id))
        found = [
            view_of(rows)
            for (project_id, _), rows in groups.items()
            if project_id in where.project_ids and any(fits(row, where) for row in rows)
        ]
        return [one for one in found if where.start <= one.timestamp < (where.end or FOREVER)]

    def _spans(self) -> Iterable[list[SpanRow]]:
        rows = self._all("spans", SpanRow)
        return grouped(rows, lambda row: (row.project_id, row.trace_id, row.span_id)).values()

    def _all(self, table: str, kind: type[R]) -> Iterable[R]:
        return (row for row in self.tables[table].values() if isinstance(row, kind))


def session_of(rows: Sequence[SessionRow], views: Sequence[PageViewRow]) -> SessionSummary:
    """A visit from its rows and those of its page views."""
    newest = max(rows, key=lambda row: (row.timestamp, row.received_at, row.ordinal))
    named: dict[str, Any] = {
        name: getattr(newest, name) for name in SessionSummary.__struct_fields__ if hasattr(newest, name)
    }
    named["started"] = min(row.started for row in rows)
    found = SessionSummary(**named)
    pages = [view_of(one) for one in grouped(views, lambda row: (row.project_id, row.page_view_id)).values()]
    if not pages:
        return found
    first = min(pages, key=lambda one: (one.timestamp, one.page_view_id))
    missing = sum(one.missing for one in pages)
    return replace(found, page_views=len(pages), missing=missing, url=first.url, route=first.route)


def view_of(rows: Sequence[PageViewRow]) -> PageViewSummary:
    """A page view from its rows."""
    newest = max(rows, key=lambda row: (row.received_at, row.ordinal))
    named: dict[str, Any] = {
        name: getattr(newest, name) for name in PageViewSummary.__struct_fields__ if hasattr(newest, name)
    }
    arrived = {number for row in rows for number in row.sequences}
    named["timestamp"] = min(row.timestamp for row in rows)
    named["last_sequence"] = max([*arrived, *(row.last_sequence for row in rows)])
    return PageViewSummary(arrived=len(arrived), envelopes=len(rows), **named)


def span_of(rows: Sequence[SpanRow]) -> SpanSummary:
    """A span from its rows."""
    newest = max(rows, key=lambda row: (row.end, row.received_at, row.ordinal))
    named: dict[str, Any] = {name: getattr(newest, name) for name in SpanSummary.__struct_fields__}
    attributes = msgspec.json.decode(newest.attributes, type=JsonObject) if newest.attributes else {}
    named |= {"start": min(row.start for row in rows), "attributes": attributes}
    return SpanSummary(**named)


def _has_page(views: Sequence[PageViewRow], where: EventFilter) -> bool:
    if not (where.urls or where.routes or where.page_view_id):
        return True
    return any(
        (not where.urls or row.url in where.urls)
        and (not where.routes or row.route in where.routes)
        and (not where.page_view_id or row.page_view_id == where.page_view_id)
        for row in views
    )


def releases_of(events: Sequence[EventRow], sessions: Sequence[SessionRow]) -> list[ReleaseSummary]:
    """What is known of each release from the events and sessions that carry its name, newest first."""
    events_of = grouped(events, lambda row: row.release)
    visits = grouped(sessions, lambda row: (row.project_id, row.session_id))
    last = [max(rows, key=lambda row: (row.timestamp, row.received_at, row.ordinal)) for rows in visits.values()]
    sessions_of = grouped(last, lambda row: row.release)
    found: list[ReleaseSummary] = []
    for name in sorted((events_of.keys() | sessions_of.keys()) - {""}):
        of_events, of_sessions = events_of.get(name, []), sessions_of.get(name, [])
        users = {row.user_hash for row in (*of_events, *of_sessions)} - {0}
        begun = [row.timestamp for row in of_events] + [row.started for row in of_sessions]
        ended = [row.timestamp for row in (*of_events, *of_sessions)]
        found.append(
            ReleaseSummary(
                release=name, events=len(of_events), users=len(users),
                sessions=sum(row.quantity for row in of_sessions),
                crashed_sessions=sum(row.quantity for row in of_sessions if row.status == "crashed"),
                first_seen=min(begun), last_seen=max(ended),
            )
        )  # fmt: skip
    return sorted(found, key=lambda one: (-one.first_seen, one.release))
