"""Sessions and page views of a project, as an actor may see them."""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import Struct

from appliance.accounts.access import Actor, NotFoundError, Permission
from appliance.hookspecs import (
    EventFilter,
    EventStore,
    FieldTable,
    Measure,
    Page,
    PageViewSummary,
    SessionSummary,
    TagCount,
)
from appliance.issues.service import IssueService
from appliance.sessions.views import SessionPage, session_page

HOUR: Final = 3_600_000_000  # µs
DAY: Final = 24 * HOUR
AT_ONCE: Final = 200  # what `hookspecs.Page` allows
MAX_VIEWS: Final = 200  # of a session on its page; a kiosk that runs for weeks has more
MAX_EVENTS: Final = 200
MAX_MEASURES: Final = 1_000
MAX_REPLAYS: Final = 20
MENU_VALUES: Final = 50


class VisitCounts(Struct, frozen=True, kw_only=True):
    """What stands above the list."""

    page_views: int
    with_gaps: int
    missing: int


class SessionService:
    """Raises `NotFoundError` for what is of a project that the actor does not see."""

    def __init__(self, store: EventStore, issues: IssueService) -> None:
        """Args: store: events. issues: which issue an event belongs to."""
        self._store = store
        self._issues = issues

    async def list(self, actor: Actor, where: EventFilter, page: Page) -> tuple[list[SessionSummary], str]:
        """Sessions that began in the filter's time, newest first, and the next cursor."""
        _require(actor, where)
        return await self._store.sessions(where, page)

    async def page_views(self, actor: Actor, where: EventFilter, page: Page) -> tuple[list[PageViewSummary], str]:
        """Page views that began in the filter's time, newest first, and the next cursor."""
        _require(actor, where)
        return await self._store.page_views(where, page)

    async def counts(self, actor: Actor, where: EventFilter) -> VisitCounts:
        """Page views within a filter, and how much of them never arrived."""
        _require(actor, where)
        views, with_gaps, missing = await self._store.page_view_count(where)
        return VisitCounts(page_views=views, with_gaps=with_gaps, missing=missing)

    async def get(self, actor: Actor, project_id: int, session_id: str) -> SessionSummary:
        """One session."""
        actor.require_project(project_id, Permission.ISSUES_READ)
        found = await self._store.session((project_id,), session_id) if session_id else None
        if found is None:
            raise NotFoundError("There is no such session, or it is no longer kept.")
        return found

    async def detail(self, actor: Actor, project_id: int, session_id: str, now: int) -> SessionPage:
        """One session with its page views, events and measurements; `now` in µs tells whether it goes on."""
        session = await self.get(actor, project_id, session_id)
        # What it sent late, out of an offline queue, bears the time at which it happened.
        where = EventFilter(
            project_ids=(project_id,),
            session_id=session.session_id,
            start=max(0, session.started - HOUR),
            end=session.timestamp + DAY,
        )
        (views, more_views), (events, more_events), (measures, more_measures), (replays, _) = await asyncio.gather(
            self._store.page_views(where, Page(limit=MAX_VIEWS)),
            self._store.events(where, Page(limit=MAX_EVENTS)),
            self._measures(where),
            self._store.replays(where, Page(limit=MAX_REPLAYS)),
        )
        hashes = {event.group_hash for event in events if event.group_hash}
        issues = await self._issues.mentions(actor, project_id, hashes)
        cut = bool(more_views or more_events or more_measures)
        return session_page(session, views, events, measures, replays, issues, cut=cut, now=now)

    async def values(self, actor: Actor, where: EventFilter, name: str) -> list[TagCount]:
        """The values of a filter menu, most frequent first."""
        _require(actor, where)
        table: FieldTable = "page_views" if name == "route" else "sessions"
        return await self._store.field_values(table, where, name, MENU_VALUES)

    async def _measures(self, where: EventFilter) -> tuple[list[Measure], str]:
        found: list[Measure] = []
        cursor = ""
        while len(found) < MAX_MEASURES:
            some, cursor = await self._store.measurements(where, "", Page(limit=AT_ONCE, cursor=cursor))
            found += some
            if not cursor:
                break
        return found, cursor


def _require(actor: Actor, where: EventFilter) -> None:
    for project_id in where.project_ids:
        actor.require_project(project_id, Permission.ISSUES_READ)
