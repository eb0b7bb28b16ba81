"""A database of each kind and the project service on it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from appliance.accounts.access import Actor, Role
from appliance.metadata.database import Database
from appliance.projects.service import ProjectService
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, Backend, temporary_database

SITE = "https://monitor.example.com"


@pytest.fixture(params=BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Each kind in turn."""
    async with temporary_database(cast("Backend", request.param), tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def admission(tmp_path: Path) -> Path:
    return tmp_path / "admission.json"


@pytest.fixture
def projects(database: Database, clock: FakeClock, admission: Path) -> ProjectService:
    return ProjectService(database, clock, SITE, admission)


@pytest.fixture
def admin() -> Actor:
    return Actor(user_id=2, email="admin@example.com", role=Role.ADMIN, project_ids=None)
