"""Measurements of a project: how its pages do."""

from __future__ import annotations

from collections.abc import Sequence

from appliance.accounts.access import Actor, Permission
from appliance.hookspecs import EventFilter, EventStore, MetricSummary


class PerformanceService:
    """Web vitals and the like, as an actor may see them."""

    def __init__(self, store: EventStore) -> None:
        self._store = store

    async def summaries(
        self, actor: Actor, where: EventFilter, metrics: Sequence[str], *, by_url: bool, limit: int
    ) -> list[MetricSummary]:
        """Percentiles of each metric, for the project or for each of its pages, the worst first.

        Args:
            actor: who asks.
            where: of one project.
            metrics: empty: all of them.
            by_url: one row a page instead of one for all.
            limit: rows at most.

        Raises:
            NotFoundError: the project is not one of theirs.
        """
        for project_id in where.project_ids:
            actor.require_project(project_id, Permission.ISSUES_READ)
        return await self._store.metric_summaries(where, metrics, by_url, limit)
