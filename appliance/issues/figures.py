"""The figures above the list: events, users and new issues of a day against the day before, and what was not kept.

Computed once for a set of projects and kept for some seconds, since every look at the list asks. Ownership is the
caller's: the projects given are those that the actor sees.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import func, select

from appliance.hookspecs import Clock, EventFilter, EventStore, StoreUnavailableError
from appliance.issues.models import IssueModel
from appliance.metadata.database import Database
from appliance.pipeline.models import DropCountModel

DAY: Final = 86_400_000_000  # µs
FRESH_SECONDS: Final = 10.0  # somebody pressing reload must not cost a scan each time
MAX_KEPT: Final = 64  # sets of projects; one a role or filter, and small


class ListFigures(Struct, frozen=True, kw_only=True):
    """The last 24 hours, and the 24 before them."""

    since: int  # µs, when the 24 hours began
    new: int
    new_before: int
    events: int | None = None  # None: the store does not answer
    events_before: int = 0
    users: int = 0  # approximate
    users_before: int = 0
    not_kept: int = 0  # today and yesterday by UTC, by the appliance itself
    not_kept_reason: str = ""  # the most frequent one


class FigureCache:
    """Asks, and remembers the answers; one for each process."""

    def __init__(self, database: Database, store: EventStore, clock: Clock) -> None:
        """Wire up."""
        self._database = database
        self._store = store
        self._clock = clock
        self._kept: dict[tuple[int, ...], tuple[float, asyncio.Task[ListFigures]]] = {}

    async def of(self, project_ids: Sequence[int], wait: float | None = None) -> ListFigures | None:
        """The figures of these projects, at most `FRESH_SECONDS` old.

        Args:
            project_ids: all of them visible to whom they are shown.
            wait: seconds after which None is answered; the asking goes on, for who asks next. None: as long as needed.
        """
        key, now = tuple(sorted(project_ids)), self._clock.monotonic()
        made, task = self._kept.get(key, (0.0, None))
        if task is None or now - made > FRESH_SECONDS or (task.done() and _went_wrong(task)):
            task = asyncio.create_task(self._ask(key), name="issues.figures")
            task.add_done_callback(_went_wrong)  # looked at, even when nobody waits any more
            self._kept.pop(key, None)
            self._kept[key] = (now, task)
            while len(self._kept) > MAX_KEPT:
                del self._kept[next(iter(self._kept))]
        done, _ = await asyncio.wait({task}, timeout=wait)
        return task.result() if done else None

    async def _ask(self, project_ids: tuple[int, ...]) -> ListFigures:
        now = self._clock.now()
        since, before = now - DAY, now - 2 * DAY
        async with self._database.read() as session:
            own = (IssueModel.project_id.in_(project_ids), IssueModel.merged_into.is_(None))
            opened = select(func.count()).select_from(IssueModel).where(*own)
            new = await session.scalar(opened.where(IssueModel.first_seen >= since)) or 0
            window = (IssueModel.first_seen >= before, IssueModel.first_seen < since)
            new_before = await session.scalar(opened.where(*window)) or 0
            lost = (
                select(DropCountModel.reason, func.sum(DropCountModel.quantity))
                .where(
                    DropCountModel.project_id.in_(project_ids),
                    DropCountModel.day >= now // DAY - 1,
                    DropCountModel.source != "client",
                )
                .group_by(DropCountModel.reason)
                .order_by(func.sum(DropCountModel.quantity).desc())
            )
            reasons = [(row[0], int(row[1])) for row in await session.execute(lost)]
        figures = {
            "since": since,
            "new": new,
            "new_before": new_before,
            "not_kept": sum(quantity for _, quantity in reasons),
        }
        reason = reasons[0][0] if reasons else ""
        try:
            (events, users), (events_before, users_before) = await asyncio.gather(
                self._store.count(EventFilter(project_ids=project_ids, start=since)),
                self._store.count(EventFilter(project_ids=project_ids, start=before, end=since)),
            )
        except StoreUnavailableError:
            return ListFigures(**figures, not_kept_reason=reason)
        return ListFigures(
            **figures,
            not_kept_reason=reason,
            events=events,
            users=users,
            events_before=events_before,
            users_before=users_before,
        )


def _went_wrong(task: asyncio.Task[ListFigures]) -> bool:
    return task.cancelled() or task.exception() is not None
