"""Tells open pages of this process that issues changed, without asking a database: the pipeline publishes after commit.

Not a log: who comes late or is slow hears of everything at once, as one update. In a process without the pipeline
nothing is published; `IssueService.marker` is what pages ask there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Final

from msgspec import Struct

from appliance.hookspecs import IssueChange

MAX_OPENED: Final = 100  # issue ids an update names; a page shows a number beyond that
PAUSE_SECONDS: Final = 1.0  # between two updates to one page: at full load every batch would be one


class IssueUpdate(Struct, frozen=True, kw_only=True):
    """What happened since the last update, to the projects that were asked for."""

    project_ids: frozenset[int]
    opened: tuple[int, ...] = ()  # issues opened or come back, oldest first, at most MAX_OPENED


class _Listener:
    """What one page has not heard of yet."""

    def __init__(self, project_ids: frozenset[int] | None) -> None:
        self.project_ids = project_ids
        self.touched: set[int] = set()
        self.opened: list[int] = []
        self.wake = asyncio.Event()

    def hears(self, project_id: int) -> bool:
        return self.project_ids is None or project_id in self.project_ids


class IssueFeed:
    """One for each process. `publish` and `updates` belong to the same event loop."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    @property
    def listeners(self) -> int:
        """How many pages listen now."""
        return len(self._listeners)

    def publish(self, project_ids: Iterable[int], changes: Sequence[IssueChange] = ()) -> None:
        """Say that issues of these projects changed. Cheap, and for nothing when nobody listens.

        Args:
            project_ids: where events were recorded or states changed.
            changes: what `record_batch` returned; opened and regressed issues are named to the listeners.
        """
        if not self._listeners:
            return
        touched = set(project_ids)
        for listener in self._listeners:
            heard = {project_id for project_id in touched if listener.hears(project_id)}
            opened = [
                change.issue_id
                for change in changes
                if change.change in {"opened", "regressed"} and listener.hears(change.project_id)
            ]
            if heard or opened:
                listener.touched |= heard
                listener.opened = [*listener.opened, *opened][:MAX_OPENED]
                listener.wake.set()

    async def updates(
        self, project_ids: frozenset[int] | None, *, pause: float = PAUSE_SECONDS
    ) -> AsyncGenerator[IssueUpdate, None]:
        """Updates from now on, never ending; close the generator to stop listening.

        Args:
            project_ids: those the actor sees; None: all.
            pause: seconds to collect changes after an update.
        """
        listener = _Listener(project_ids)
        self._listeners.add(listener)
        try:
            while True:
                await listener.wake.wait()
                listener.wake.clear()
                update = IssueUpdate(project_ids=frozenset(listener.touched), opened=tuple(listener.opened))
                listener.touched, listener.opened = set(), []
                yield update
                await asyncio.sleep(pause)
        finally:
            self._listeners.discard(listener)
