"""The System pages over a real database, the reference store and no pipeline, or one that a test gives."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from litestar import Router
from litestar.di import Provide

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.clock import SystemClock
from appliance.config import Config
from appliance.hookspecs import HealthCheck, HealthResult, PluginInfo
from appliance.metadata.database import Database
from appliance.plugins import LoadedPlugin
from appliance.system.routes import routes
from appliance.system.service import SystemService
from appliance.testing.accounts import PASSWORD, AccountApp
from appliance.testing.clock import FakeClock
from appliance.testing.databases import temporary_database
from appliance.testing.reference_store import MemoryStore


class Plugins:
    """A plugin that is well, one whose check fails, and one whose check raises."""

    def __init__(self) -> None:
        self.plugins = {
            name: LoadedPlugin(
                info=PluginInfo(name=name, version="1.2", summary=f"does {name}"), module=None, origin="first-party",
                context=None,  # type: ignore[arg-type]
            )
            for name in ("fine", "ailing", "broken")
        }  # fmt: skip
        self.health_checks = [
            ("fine", HealthCheck(name="fine", check=self._fine)),
            ("ailing", HealthCheck(name="ailing", check=self._ailing)),
            ("broken", HealthCheck(name="broken", check=self._broken)),
        ]

    async def _fine(self) -> HealthResult:
        return HealthResult(ok=True, detail="all well")

    async def _ailing(self) -> HealthResult:
        return HealthResult(ok=False, detail="the key is refused", mend="make a new key")

    async def _broken(self) -> HealthResult:
        raise RuntimeError("boom")


class World:
    """What the tests look at."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.clock = SystemClock()
        self.store = MemoryStore(FakeClock())
        self.config = Config()
        self.system = SystemService(
            database=database, store=self.store, blobs=None, clock=self.clock, config=self.config,  # type: ignore[arg-type]
            data_dir=directory, plugins=Plugins(), pipeline=None,
        )  # fmt: skip
        given = {"system": Provide(lambda: self.system, sync_to_thread=False)}
        self.site = AccountApp(
            database, self.clock, directory, handlers=[Router("/", route_handlers=list(routes), dependencies=given)]
        )

    async def signed_in(self, role: Role):
        """A browser with somebody of that role."""
        await self.site.accounts.users.create(COMMAND_LINE, f"{role}@example.com", role, PASSWORD)
        browser = self.site.browser()
        await browser.sign_in(f"{role}@example.com")
        return browser


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with temporary_database("sqlite", tmp_path) as database:
        made = World(database, tmp_path)
        yield made
        made.site.accounts.close()
