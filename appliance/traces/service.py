"""Traces of a project, as an actor may see them."""

from __future__ import annotations

from typing import Final

from appliance.accounts.access import Actor, NotFoundError, Permission
from appliance.hookspecs import Clock, EventFilter, EventStore, Page, SpanSummary, TagCount
from appliance.issues.service import IssueService
from appliance.traces.views import TracePage, trace_page

MAX_SPANS: Final = 1_000  # of a trace on its page; Sentry's SDKs stop at as many in one transaction
MAX_EVENTS: Final = 100
MENU_VALUES: Final = 50
HOUR: Final = 3_600_000_000  # µs
LATE: Final = 14 * 24 * HOUR  # how far back a trace without spans is looked for
NO_TRACE: Final = "There is no such trace in this project, or it is no longer kept."


class TraceService:
    """Raises `NotFoundError` for what is of a project that the actor does not see."""

    def __init__(self, store: EventStore, issues: IssueService, clock: Clock) -> None:
        """Args: store: spans and events. issues: which issue an event belongs to. clock: what "of late" counts from."""
        self._store = store
        self._issues = issues
        self._clock = clock

    async def list(self, actor: Actor, where: EventFilter, page: Page) -> tuple[list[SpanSummary], str]:
        """Root spans, or with a trace id all spans of it, newest first, and the next cursor."""
        _require(actor, where)
        return await self._store.spans(where, page)

    async def trace(self, actor: Actor, project_id: int, trace_id: str) -> TracePage:
        """One trace with its spans and events; of one whose spans were not sent, its events of late."""
        actor.require_project(project_id, Permission.ISSUES_READ)
        spans = await self._store.trace((project_id,), trace_id, MAX_SPANS) if trace_id else []
        now = self._clock.now()
        start, end = (
            (min(span.start for span in spans), max(span.end for span in spans)) if spans else (now - LATE, now)
        )
        # An event that is told late bears the time at which it happened.
        where = EventFilter(project_ids=(project_id,), trace_id=trace_id, start=max(0, start - HOUR), end=end + HOUR)
        events, _ = await self._store.events(where, Page(limit=MAX_EVENTS)) if trace_id else ([], "")
        if not spans and not events:
            raise NotFoundError(NO_TRACE)
        hashes = {event.group_hash for event in events if event.group_hash}
        issues = await self._issues.mentions(actor, project_id, hashes)
        return trace_page(trace_id, spans, events, issues, cut=len(spans) >= MAX_SPANS)

    async def values(self, actor: Actor, where: EventFilter, name: str) -> list[TagCount]:
        """The values of a filter menu, most frequent first."""
        _require(actor, where)
        return await self._store.field_values("spans", where, name, MENU_VALUES)


def _require(actor: Actor, where: EventFilter) -> None:
    for project_id in where.project_ids:
        actor.require_project(project_id, Permission.ISSUES_READ)
