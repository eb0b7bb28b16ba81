"""Sessions: stored hashed, ended by time, by their user, by a change of password or role."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import func, select

from appliance.accounts.access import COMMAND_LINE, Actor, NotFoundError, Role
from appliance.accounts.models import UserSessionModel
from appliance.accounts.service import AccountService, Client
from appliance.accounts.sessions import IDLE_HOURS, MAX_PER_USER
from appliance.accounts.sign_in import Challenge
from appliance.accounts.tokens import new_secret
from appliance.metadata.database import Database
from appliance.testing.accounts import PASSWORD
from appliance.testing.clock import FakeClock

EMAIL = "ada@example.com"
HOUR = 3600.0


@pytest.fixture(autouse=True)
async def ada(accounts: AccountService) -> int:
    await accounts.setup.create_owner("first@example.com", PASSWORD)
    return await accounts.users.create(COMMAND_LINE, EMAIL, Role.MEMBER, PASSWORD)


async def token_of(accounts: AccountService, client: Client) -> str:
    opened = await accounts.sign_in.password(EMAIL, PASSWORD, client)
    assert not isinstance(opened, Challenge)
    return opened.token


async def test_the_database_holds_no_token(accounts: AccountService, client: Client, database: Database) -> None:
    token = await token_of(accounts, client)
    async with database.read() as session:
        row = (await session.scalars(select(UserSessionModel))).one()
    assert token.encode() not in row.token_hash
    assert len(row.token_hash) == 32


async def test_each_sign_in_gets_a_token_of_its_own(accounts: AccountService, client: Client) -> None:
    assert await token_of(accounts, client) != await token_of(accounts, client)


FORGED = {
    "empty": "",
    "short": "x",
    "well-formed": new_secret(),
    "nul": "\x00" * 43,
    "accent": "é" * 43,
    "long": "a" * 10_000,
}


@pytest.mark.parametrize("token", FORGED.values(), ids=FORGED.keys())
async def test_a_forged_token_is_nobody(accounts: AccountService, client: Client, token: str) -> None:
    await token_of(accounts, client)
    assert await accounts.sessions.actor(token) is None


async def test_a_session_ends_when_unused(accounts: AccountService, client: Client, clock: FakeClock) -> None:
    token = await token_of(accounts, client)
    clock.advance((IDLE_HOURS - 1) * HOUR)
    assert await accounts.sessions.actor(token) is not None  # which is a use
    clock.advance((IDLE_HOURS - 1) * HOUR)
    assert await accounts.sessions.actor(token) is not None
    clock.advance((IDLE_HOURS + 1) * HOUR)
    assert await accounts.sessions.actor(token) is None


async def test_a_session_ends_for_good_however_much_it_is_used(
    accounts: AccountService, client: Client, clock: FakeClock
) -> None:
    token = await token_of(accounts, client)
    for _ in range(13):
        clock.advance(24 * HOUR)
        assert await accounts.sessions.actor(token) is not None
    clock.advance(25 * HOUR)
    assert await accounts.sessions.actor(token) is None


async def test_a_disabled_user_is_nobody_at_once(accounts: AccountService, client: Client, ada: int) -> None:
    token = await token_of(accounts, client)
    await accounts.users.set_disabled(COMMAND_LINE, ada, True)
    assert await accounts.sessions.actor(token) is None


async def test_a_new_role_ends_sessions(accounts: AccountService, client: Client, ada: int) -> None:
    token = await token_of(accounts, client)
    await accounts.users.set_role(COMMAND_LINE, ada, Role.VIEWER)
    assert await accounts.sessions.actor(token) is None


async def test_a_new_password_ends_all_sessions_and_renews_this_one(accounts: AccountService, client: Client) -> None:
    here, elsewhere = await token_of(accounts, client), await token_of(accounts, client)
    actor = await accounts.sessions.actor(here)
    assert actor is not None
    renewed = await accounts.profile.change_password(actor, PASSWORD, "another long one", client)
    assert await accounts.sessions.actor(here) is None
    assert await accounts.sessions.actor(elsewhere) is None
    assert await accounts.sessions.actor(renewed.token) is not None


async def test_sessions_are_listed_and_revoked_by_their_user_alone(
    accounts: AccountService, client: Client, signed_in: Callable[[str], Awaitable[Actor]]
) -> None:
    actor = await signed_in(EMAIL)
    other = await token_of(accounts, client)
    listed = await accounts.sessions.list(actor)
    assert [session.current for session in listed].count(True) == 1
    stranger = await signed_in("first@example.com")
    target = next(session for session in listed if not session.current)
    with pytest.raises(NotFoundError):
        await accounts.sessions.revoke(stranger, target.id)
    await accounts.sessions.revoke(actor, target.id)
    assert await accounts.sessions.actor(other) is None
    with pytest.raises(NotFoundError):
        await accounts.sessions.revoke(actor, target.id)


async def test_signing_out_everywhere_else_keeps_this_browser(
    accounts: AccountService, client: Client, signed_in: Callable[[str], Awaitable[Actor]]
) -> None:
    other = await token_of(accounts, client)
    actor = await signed_in(EMAIL)
    await accounts.sessions.revoke_others(actor)
    assert await accounts.sessions.actor(other) is None
    assert [session.current for session in await accounts.sessions.list(actor)] == [True]


async def test_a_script_that_signs_in_cannot_fill_the_table(
    accounts: AccountService, client: Client, database: Database, clock: FakeClock
) -> None:
    for _ in range(MAX_PER_USER + 5):
        clock.advance(1)
        newest = await token_of(accounts, client)
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(UserSessionModel)) == MAX_PER_USER
    assert await accounts.sessions.actor(newest) is not None


async def test_pruning_removes_what_has_ended_and_nothing_else(
    accounts: AccountService, client: Client, clock: FakeClock, database: Database
) -> None:
    await token_of(accounts, client)
    clock.advance((IDLE_HOURS + 1) * HOUR)
    live = await token_of(accounts, client)
    await accounts.prune()
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(UserSessionModel)) == 1
    assert await accounts.sessions.actor(live) is not None
