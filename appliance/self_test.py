"""What `condev apply` needs to send a real event and read it back: a project with a key, and a token for minutes.

The project and a viewer who sees nothing else are made once and used again. The viewer has no password that anybody
knows, and is disabled between two tests. Asked over the control socket, so that no second process takes memory.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from appliance.accounts.access import COMMAND_LINE, NotFoundError, Role
from appliance.accounts.service import AccountService
from appliance.control import Verb
from appliance.model import JsonObject
from appliance.projects.schemas import ProjectView
from appliance.projects.service import ProjectService

SLUG: Final = "self-test"
EMAIL: Final = "self-test@condev.invalid"  # .invalid: no mail can ever be sent there (RFC 2606)
TOKEN_DAYS: Final = 1  # the least there is; `close` ends it after a minute, this is for a test that was killed


class SelfTest:
    """Its two verbs."""

    def __init__(self, accounts: AccountService, projects: ProjectService) -> None:
        """Args: both of the running core."""
        self._accounts = accounts
        self._projects = projects

    @property
    def verbs(self) -> Mapping[str, Verb]:
        """For the control socket."""
        return {"self_test_open": self.open, "self_test_close": self.close}

    async def open(self, _args: JsonObject) -> JsonObject:
        """Make or find what a test needs; {"project_id", "key", "token"}."""
        project = await self._project()
        user_id = await self._viewer(project.id)
        await self._end_tokens(user_id)
        token = await self._accounts.tokens.create(
            COMMAND_LINE,
            "self-test of condev apply",
            ("issues:read", "projects:read"),
            days=TOKEN_DAYS,
            user_id=user_id,
        )
        return {"project_id": project.id, "key": project.live_keys[0].key, "token": token}

    async def close(self, _args: JsonObject) -> JsonObject:
        """End the token and lock the viewer out."""
        try:
            viewer = await self._accounts.users.find(COMMAND_LINE, EMAIL)
        except NotFoundError:
            return {}
        await self._end_tokens(viewer.id)
        if not viewer.disabled:
            await self._accounts.users.set_disabled(COMMAND_LINE, viewer.id, True)
        return {}

    async def _project(self) -> ProjectView:
        try:
            project = await self._projects.by_slug(COMMAND_LINE, SLUG)
        except NotFoundError:
            project = await self._projects.create(COMMAND_LINE, "Self-test", SLUG)
        if not project.live_keys:  # somebody disabled it
            await self._projects.add_key(COMMAND_LINE, project.id, "self-test")
            project = await self._projects.by_slug(COMMAND_LINE, SLUG)
        return project

    async def _viewer(self, project_id: int) -> int:
        users = self._accounts.users
        try:
            viewer = await users.find(COMMAND_LINE, EMAIL)
        except NotFoundError:
            await users.create(COMMAND_LINE, EMAIL, Role.VIEWER, secrets.token_urlsafe(32), "Self-test")
            viewer = await users.find(COMMAND_LINE, EMAIL)
        if viewer.disabled:
            await users.set_disabled(COMMAND_LINE, viewer.id, False)
        if project_id not in viewer.projects:
            await users.set_projects(COMMAND_LINE, viewer.id, [project_id])
        return viewer.id

    async def _end_tokens(self, user_id: int) -> None:
        for token in await self._accounts.tokens.list(COMMAND_LINE, user_id):
            await self._accounts.tokens.revoke(COMMAND_LINE, token.id, user_id)
