"""Releases of a project, from what carried their names."""

from __future__ import annotations

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import EventFilter, EventStore, ReleaseSummary


class ReleaseService:
    """Releases, as an actor may see them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def list(self, actor: Actor, where: EventFilter, limit: int) -> list[ReleaseSummary]:
        """Releases of one project, the newest first. Raises `NotFoundError` for a foreign project."""
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        return await self._store.releases(where, limit)
