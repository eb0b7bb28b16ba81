"""A database of each kind, a clock that stands still, and the services on them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from appliance.accounts.access import COMMAND_LINE, Actor, Role
from appliance.accounts.service import AccountService
from appliance.accounts.sign_in import Challenge, Client
from appliance.config import Accounts
from appliance.metadata.database import Database
from appliance.testing.accounts import CHEAP_ROUNDS, PASSWORD, SITE, AccountApp
from appliance.testing.clock import FakeClock
from appliance.testing.databases import BACKENDS, Backend, temporary_database

CLIENT = Client(address="203.0.113.5", user_agent="Firefox")


@pytest.fixture(params=BACKENDS)
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    """Each kind in turn: for the services."""
    async with temporary_database(cast("Backend", request.param), tmp_path) as database:
        yield database


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    """One kind: for HTTP, where the database makes no difference."""
    async with temporary_database("sqlite", tmp_path) as database:
        yield database


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def accounts(database: Database, clock: FakeClock) -> AsyncIterator[AccountService]:
    service = AccountService(database, clock, Accounts(), SITE, rounds=CHEAP_ROUNDS)
    yield service
    service.close()


@pytest.fixture
async def site(sqlite: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[AccountApp]:
    """The pages, with owner@, admin@, member@ and viewer@example.com and two projects; the latter two see the first."""
    made = AccountApp(sqlite, clock, tmp_path)
    for role in Role:
        await made.accounts.users.create(COMMAND_LINE, f"{role}@example.com", role, PASSWORD)
    project = await made.projects.create(COMMAND_LINE, "Web shop")
    await made.projects.create(COMMAND_LINE, "Back office")
    for role in (Role.MEMBER, Role.VIEWER):
        user = await made.accounts.users.find(COMMAND_LINE, f"{role}@example.com")
        await made.accounts.users.set_member(COMMAND_LINE, project.id, user.id, True)
    yield made
    made.accounts.close()


@pytest.fixture
def client() -> Client:
    return CLIENT


@pytest.fixture
def signed_in(accounts: AccountService):
    """Sign somebody in by service, and give their actor."""

    async def sign_in(email: str, password: str = PASSWORD) -> Actor:
        opened = await accounts.sign_in.password(email, password, CLIENT)
        assert not isinstance(opened, Challenge)
        actor = await accounts.sessions.actor(opened.token)
        assert actor is not None
        return actor

    return sign_in
