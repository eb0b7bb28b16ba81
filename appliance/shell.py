"""What the navigation around every page shows, gathered from the nouns' services for whoever asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy import func, select

from appliance.accounts.access import Actor, Permission
from appliance.issues.models import IssueModel
from appliance.metadata.database import Database
from appliance.projects.service import ProjectService
from appliance.system.service import SystemService
from appliance.web.pages import Connection, Shell, ShellProject


class ShellLoader:
    """Its `load` is the dashboard's `ShellSource`: two short queries a full page."""

    def __init__(self, site_name: str, database: Database, projects: ProjectService, system: SystemService) -> None:
        self._site_name = site_name
        self._database = database
        self._projects = projects
        self._system = system

    async def load(self, connection: Connection) -> Shell:
        """The navigation of the acting user; an empty one for nobody."""
        actor = cast("Mapping[str, Any]", connection.scope).get("user")
        if not isinstance(actor, Actor):
            return Shell(site_name=self._site_name)
        seen = await self._projects.names(actor)
        counts = await self._open_issues([project.id for project in seen])
        health = await self._system.headline() if actor.may(Permission.SYSTEM_READ) else None
        return Shell(
            site_name=self._site_name,
            projects=[
                ShellProject(id=project.id, slug=project.slug, name=project.name, open_issues=counts.get(project.id, 0))
                for project in seen
            ],
            open_issues=sum(counts.values()),
            health=health.word if health else "",
            health_tone=health.tone if health else "",
        )

    async def _open_issues(self, project_ids: list[int]) -> dict[int, int]:
        is_open = (IssueModel.state == "open") & IssueModel.merged_into.is_(None)
        counted = (
            select(IssueModel.project_id, func.count())
            .where(IssueModel.project_id.in_(project_ids) & is_open)
            .group_by(IssueModel.project_id)
        )
        async with self._database.read() as session:
            return {row[0]: row[1] for row in await session.execute(counted)}
