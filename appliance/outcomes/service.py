"""What of a project was not kept, as an actor may see it."""

from __future__ import annotations

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import EventFilter, EventStore
from appliance.outcomes.views import OutcomePage, outcome_page


class OutcomeService:
    """Raises `NotFoundError` for a project that the actor does not see."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def totals(self, actor: Actor, where: EventFilter) -> OutcomePage:
        """Sums by source, reason and category within a filter's time."""
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        return outcome_page(await self._store.outcomes(where))
