"""What can be done with issues: list, look into, change state, merge. Checks ownership from the actor, always.

Recording events into issues is `recording.py` (called by the pipeline); this module re-exports `record_batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from appliance.hookspecs import Clock, EventFilter, EventStore, Page
from appliance.issues.views import (
    ActionResult,
    EventDetail,
    EventList,
    IssueAction,
    IssueDetail,
    IssueList,
    IssueOverview,
    IssueQuery,
    MergeResult,
    StateCounts,
    UnmergeResult,
)
from appliance.metadata.database import Database

if TYPE_CHECKING:
    from appliance.accounts.access import Actor


class IssueService:
    """Issues as one actor may see them. Raises `IssueNotFoundError` for what they may not."""

    def __init__(self, database: Database, store: EventStore, clock: Clock) -> None:
        self._database = database
        self._store = store
        self._clock = clock

    async def list(self, actor: Actor, query: IssueQuery) -> IssueList:
        """One page of issues."""
        raise NotImplementedError

    async def state_counts(self, actor: Actor, project_ids: Sequence[int] = ()) -> StateCounts:
        """How many issues stand in each state."""
        raise NotImplementedError

    async def issue(self, actor: Actor, issue_id: int) -> IssueDetail:
        """An issue with hashes, releases and activity. A merged issue's id leads to the one it was merged into."""
        raise NotImplementedError

    async def overview(self, actor: Actor, issue_id: int, *, start: int = 0, end: int = 0) -> IssueOverview:
        """Histogram and tag distribution in a period (0: the last 14 days)."""
        raise NotImplementedError

    async def events(self, actor: Actor, issue_id: int, page: Page, where: EventFilter | None = None) -> EventList:
        """Events of an issue, newest first; `where` narrows (its projects and hashes are replaced)."""
        raise NotImplementedError

    async def event(self, actor: Actor, event_id: str, *, issue_id: int | None = None) -> EventDetail:
        """One event with its neighbours. `event_id` may be "latest" or "oldest" when `issue_id` is given."""
        raise NotImplementedError

    async def filter_values(
        self, actor: Actor, name: str, *, project_ids: Sequence[int] = (), prefix: str = ""
    ) -> list[str]:
        """Values for filter menus: of environment, release, browser, os, device or a tag; most frequent first."""
        raise NotImplementedError

    async def act(self, actor: Actor, issue_ids: Sequence[int], action: IssueAction) -> ActionResult:
        """Resolve, ignore or reopen."""
        raise NotImplementedError

    async def merge(self, actor: Actor, target_id: int, source_ids: Sequence[int]) -> MergeResult:
        """Move the hashes of the sources to the target; all must be of one project."""
        raise NotImplementedError

    async def unmerge(self, actor: Actor, issue_id: int, hashes: Sequence[str]) -> UnmergeResult:
        """Give hashes (16 hex digits) back to the issues they came from, or to a new one."""
        raise NotImplementedError

    async def reopen_due(self, now: int) -> int:
        """Open issues whose "ignored until" has passed; how many. For the scheduler."""
        raise NotImplementedError

    async def marker(self, actor: Actor, project_ids: Sequence[int] = ()) -> str:
        """Changes whenever something in these projects' issues did: for live updates without the in-process feed."""
        raise NotImplementedError
