"""What can be done with issues: list, look into, change state, merge. Checks ownership from the actor, always.

Recording events into issues is `recording.py`, called by the pipeline in its own transaction.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import (
    BadCursorError,
    Clock,
    EventFilter,
    EventStore,
    IssueChange,
    Page,
    StoreUnavailableError,
)
from appliance.issues import acting, listing, merging, reading, trends
from appliance.issues.feed import IssueFeed
from appliance.issues.figures import FigureCache, ListFigures
from appliance.issues.grouping import WhyGrouped, read_explanation
from appliance.issues.models import IssueActivityModel, IssueModel
from appliance.issues.scope import MAX_HASHES, find_issue, hashes_of, visible_projects
from appliance.issues.views import (
    MAX_BULK,
    ActionResult,
    EventDetail,
    EventList,
    IssueAction,
    IssueActionError,
    IssueDetail,
    IssueList,
    IssueLook,
    IssueMention,
    IssueNotFoundError,
    IssueOverview,
    IssueQuery,
    MergeResult,
    StateCounts,
    UnmergeResult,
)
from appliance.metadata.database import Database

MENU_PERIOD: Final = 30 * trends.DAY  # values seen in this time stand in filter menus
MENU_VALUES: Final = 50
MAX_EVENTS_PAGE: Final = 200  # what `hookspecs.Page` allows


class IssueService:
    """Issues as one actor may see them. Raises `IssueNotFoundError` for what they may not."""

    def __init__(self, database: Database, store: EventStore, clock: Clock, feed: IssueFeed | None = None) -> None:
        """Wire up.

        Args:
            database: metadata.
            store: events.
            clock: time.
            feed: told of changes of state, so that other people's pages follow.
        """
        self._database = database
        self._store = store
        self._clock = clock
        self._feed = feed or IssueFeed()
        self._figures = FigureCache(database, store, clock)

    # ── lists ──

    async def list(self, actor: Actor, query: IssueQuery) -> IssueList:
        """One page of issues.

        Raises:
            IssueActionError: the cursor is not one of this list's.
            StoreUnavailableError: the filter needs the event store, which is not there right now.
        """
        async with self._database.read() as session:
            project_ids = await visible_projects(session, actor, query.project_ids)
            with _cursor_in_words():
                if listing.asks_store(query):
                    found = await listing.list_from_store(session, self._store, query, project_ids)
                else:
                    found = await listing.list_from_metadata(session, query, project_ids)
            hashes = await hashes_of(session, [issue.id for issue in found.items]) if query.sparklines else {}
        if not query.sparklines:
            return found
        return await trends.with_sparklines(self._store, found, query, hashes, self._clock.now())

    async def state_counts(self, actor: Actor, project_ids: Collection[int] = ()) -> StateCounts:
        """How many issues stand in each state; of all projects when none are named."""
        async with self._database.read() as session:
            return await listing.count_states(session, await visible_projects(session, actor, project_ids))

    async def figures(
        self, actor: Actor, project_ids: Collection[int] = (), *, wait: float | None = None
    ) -> ListFigures | None:
        """What stands above the list, some seconds old; None when it is not there after `wait` seconds."""
        async with self._database.read() as session:
            visible = await visible_projects(session, actor, project_ids)
        return await self._figures.of(visible, wait)

    async def filter_values(
        self, actor: Actor, name: str, *, project_ids: Collection[int] = (), prefix: str = ""
    ) -> builtins.list[str]:
        """Values for filter menus, most frequent first.

        Args:
            actor: whose projects are looked at.
            name: environment, release, browser, os, device, url, level or a tag.
            project_ids: () = all.
            prefix: what they begin with.
        """
        async with self._database.read() as session:
            visible = await visible_projects(session, actor, project_ids)
        where = EventFilter(project_ids=tuple(visible), start=self._clock.now() - MENU_PERIOD)
        found = await self._store.values(where, name, prefix, MENU_VALUES)
        return [count.value for count in found if count.value]

    async def require_project(self, actor: Actor, project_id: int) -> None:
        """Raise `IssueNotFoundError` for a project that is not there for this actor: an empty list would be a lie."""
        async with self._database.read() as session:
            if not await visible_projects(session, actor, [project_id]):
                raise IssueNotFoundError("There is no such project, or you are not a member of it.")

    async def explanations(self, actor: Actor, issue_ids: Sequence[int]) -> dict[int, WhyGrouped]:
        """Why each of these issues' events are one issue; at most `MAX_BULK`, those the actor does not see left out."""
        async with self._database.read() as session:
            visible = await visible_projects(session, actor)
            statement = select(IssueModel.id, IssueModel.grouping).where(
                IssueModel.id.in_(list(issue_ids)[:MAX_BULK]), IssueModel.project_id.in_(visible)
            )
            return {row[0]: read_explanation(row[1]) for row in await session.execute(statement)}

    async def marker(self, actor: Actor, project_ids: Collection[int] = ()) -> str:
        """Changes whenever something in these projects' issues did: for live pages that the feed does not reach.

        Two look-ups in indexes, so that each open page may ask every other second.
        """
        async with self._database.read() as session:
            visible = await visible_projects(session, actor, project_ids)
            activity = await session.scalar(select(func.max(IssueActivityModel.id)))
            seen = [
                await session.scalar(select(func.max(IssueModel.last_seen)).where(IssueModel.project_id == project_id))
                for project_id in visible
            ]
        return f"{activity or 0}-{max((one or 0 for one in seen), default=0)}-{len(visible)}"

    # ── one issue ──

    async def issue(self, actor: Actor, issue_id: int) -> IssueDetail:
        """An issue with hashes, releases and activity. A merged issue's id leads to the one it was merged into."""
        async with self._database.read() as session:
            return await reading.detail_of(session, await find_issue(session, actor, issue_id))

    async def overview(self, actor: Actor, issue_id: int, *, start: int = 0, end: int = 0) -> IssueOverview:
        """Histogram and tag distribution in a period, µs (0: the last 14 days, until now)."""
        issue, hashes = await self._issue_with_hashes(actor, issue_id)
        return await self._overview(issue, hashes, start, end)

    async def look(self, actor: Actor, issue_id: int, event_id: str) -> IssueLook:
        """An issue, an event of it (as `event` finds it) and its overview, with one look into the metadata."""
        async with self._database.read() as session:
            issue = await find_issue(session, actor, issue_id)
            hashes = (await hashes_of(session, [issue.id]))[issue.id]
            # The event store answers in threads, while the history is read here.
            asked = asyncio.gather(self._event_if_any(issue, hashes, event_id), self._overview_if_any(issue, hashes))
            try:
                detail = await reading.detail_of(session, issue)
            except BaseException:
                asked.cancel()
                raise
        shown, beside = await asked
        return IssueLook(detail=detail, event=shown, overview=beside)

    async def _event_if_any(self, issue: IssueModel, hashes: Sequence[int], event_id: str) -> EventDetail | None:
        try:
            return await reading.issue_event(self._store, issue, hashes, event_id)
        except IssueNotFoundError:
            if event_id == "latest":
                return None
            raise

    async def _overview_if_any(self, issue: IssueModel, hashes: Sequence[int]) -> IssueOverview | None:
        try:
            return await self._overview(issue, hashes)
        except StoreUnavailableError:
            return None

    async def events(self, actor: Actor, issue_id: int, page: Page, where: EventFilter | None = None) -> EventList:
        """Events of an issue, newest first.

        Args:
            actor: who asks.
            issue_id: the issue.
            page: at most 200 at once.
            where: narrows; its projects and hashes are replaced by the issue's.
        """
        issue, hashes = await self._issue_with_hashes(actor, issue_id)
        page = msgspec.structs.replace(page, limit=max(1, min(page.limit, MAX_EVENTS_PAGE)))
        with _cursor_in_words():
            return await reading.list_events(self._store, reading.events_of(issue, hashes, where), page)

    async def event(self, actor: Actor, event_id: str, *, issue_id: int | None = None) -> EventDetail:
        """One event with its neighbours. `event_id` may be "latest" or "oldest" when `issue_id` is given."""
        if issue_id is not None:
            issue, hashes = await self._issue_with_hashes(actor, issue_id)
            return await reading.issue_event(self._store, issue, hashes, event_id)
        async with self._database.read() as session:
            visible = await visible_projects(session, actor)
            summary, event = await reading.find_event(self._store, visible, event_id)
            found = await reading.issue_of_event(session, summary)
            hashes = (await hashes_of(session, [found.id]))[found.id] if found is not None else []
        if found is None:
            return EventDetail(summary=summary, event=event, issue_id=None, around=None)
        around = reading.around_of(await self._store.neighbours(reading.events_of(found, hashes), summary))
        return EventDetail(summary=summary, event=event, issue_id=found.id, around=around)

    async def mentions(self, actor: Actor, project_id: int, hashes: Collection[int]) -> dict[int, IssueMention]:
        """The issues that group hashes of a project lead to, by hash; one that leads nowhere is left out."""
        async with self._database.read() as session:
            if not await visible_projects(session, actor, [project_id]):
                return {}
            return await reading.mentions(session, project_id, hashes)

    async def _overview(self, issue: IssueModel, hashes: Sequence[int], start: int = 0, end: int = 0) -> IssueOverview:
        where = reading.events_of(issue, hashes, EventFilter(project_ids=(), start=start, end=end))
        notes = [f"Only its {MAX_HASHES} newest groups are counted here."] if len(hashes) >= MAX_HASHES else []
        return await trends.overview_of(self._store, where, self._clock.now(), notes=notes)

    async def _issue_with_hashes(self, actor: Actor, issue_id: int) -> tuple[IssueModel, builtins.list[int]]:
        async with self._database.read() as session:
            issue = await find_issue(session, actor, issue_id)
            return issue, (await hashes_of(session, [issue.id]))[issue.id]

    # ── changes ──

    async def act(self, actor: Actor, issue_ids: Sequence[int], action: IssueAction) -> ActionResult:
        """Resolve, ignore or reopen; rules and plugins are told of what was resolved.

        Raises:
            IssueNotFoundError: one is not there for this actor; nothing is done then.
            IssueActionError: what cannot be done, in words.
            ForbiddenError: the actor may read only.
        """
        now = self._clock.now()
        async with self._database.write() as session:
            acted = await acting.change_states(session, actor, issue_ids, action, now)
            await _enqueue(session, acted.changes, now)
        self._feed.publish(acted.project_ids)
        return acted.result

    async def merge(self, actor: Actor, target_id: int, source_ids: Sequence[int]) -> MergeResult:
        """Move the hashes of the sources to the target; all must be of one project."""
        async with self._database.write() as session:
            result, project_id = await merging.merge(session, actor, target_id, source_ids, self._clock.now())
        self._feed.publish([project_id])
        return result

    async def unmerge(self, actor: Actor, issue_id: int, hashes: Sequence[str]) -> UnmergeResult:
        """Give hashes (16 hex digits) back to the issues they came from, or each to a new one."""
        wanted = merging.read_hashes(hashes)
        async with self._database.read() as session:
            issue = await find_issue(session, actor, issue_id, Permission.ISSUES_WRITE)
            if issue.id != issue_id:
                raise IssueActionError(f"This issue was merged into #{issue.id}: take its groups out there.")
            split = await merging.plan_split(session, self._store, issue, wanted)
        async with self._database.write() as session:
            result = await merging.unmerge(session, actor, split, self._clock.now())
        self._feed.publish([split.project_id])
        return result

    async def reopen_due(self, now: int) -> int:
        """Open issues whose "ignored until" has passed; how many. For the scheduler."""
        async with self._database.write() as session:
            project_ids = await acting.reopen_due(session, now)
        self._feed.publish(project_ids)
        return len(project_ids)


@contextmanager
def _cursor_in_words() -> Generator[None, None, None]:
    """A cursor comes from an address that anybody may type: what is wrong with it is for its reader."""
    try:
        yield
    except BadCursorError as error:
        raise IssueActionError(str(error)) from error


async def _enqueue(session: AsyncSession, changes: Sequence[IssueChange], now: int) -> None:
    if changes:
        from appliance.alerts.service import enqueue_changes

        await enqueue_changes(session, changes, now)
