"""Recorded sessions of a project."""

from __future__ import annotations

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import EventFilter, EventStore, Page, ReplaySummary


class ReplayService:
    """Replays, as an actor may see them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def list(self, actor: Actor, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
        """Replays of one project, newest first, and the next cursor. Raises `NotFoundError` for a foreign project."""
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        return await self._store.replays(where, page)
