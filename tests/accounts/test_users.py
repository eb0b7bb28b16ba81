"""Managing users: who may change whom, and that an owner always remains."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from appliance.accounts.access import (
    COMMAND_LINE,
    SCOPE_PERMISSIONS,
    Actor,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    Permission,
    Role,
)
from appliance.accounts.service import AccountService, Client
from appliance.testing.accounts import PASSWORD
from appliance.testing.clock import FakeClock

SignIn = Callable[[str], Awaitable[Actor]]


@pytest.fixture(autouse=True)
async def everybody(accounts: AccountService) -> dict[Role, int]:
    return {
        role: await accounts.users.create(COMMAND_LINE, f"{role}@example.com", role, PASSWORD, str(role).title())
        for role in Role
    }


@pytest.mark.parametrize("role", [Role.MEMBER, Role.VIEWER])
async def test_members_and_viewers_manage_nobody(
    accounts: AccountService, signed_in: SignIn, everybody: dict[Role, int], role: Role
) -> None:
    actor = await signed_in(f"{role}@example.com")
    target = everybody[Role.VIEWER]
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: accounts.users.list(actor),
        lambda: accounts.users.create(actor, "x@example.com", Role.VIEWER, PASSWORD),
        lambda: accounts.users.invite(actor, "x@example.com", Role.VIEWER, ()),
        lambda: accounts.users.issue_link(actor, target),
        lambda: accounts.users.set_role(actor, target, Role.ADMIN),
        lambda: accounts.users.set_disabled(actor, target, True),
        lambda: accounts.users.set_password(actor, target, "a new password"),
        lambda: accounts.users.remove_two_factor(actor, target),
        lambda: accounts.users.set_projects(actor, target, ()),
        lambda: accounts.users.set_member(actor, 1, target, True),
        lambda: accounts.audit_log(actor),
    ]
    for call in calls:
        with pytest.raises((ForbiddenError, NotFoundError)):
            await call()


async def test_an_admin_manages_all_but_owners(
    accounts: AccountService, signed_in: SignIn, everybody: dict[Role, int]
) -> None:
    admin, owner = await signed_in("admin@example.com"), everybody[Role.OWNER]
    await accounts.users.set_role(admin, everybody[Role.VIEWER], Role.MEMBER)
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: accounts.users.set_role(admin, owner, Role.VIEWER),
        lambda: accounts.users.set_role(admin, everybody[Role.VIEWER], Role.OWNER),
        lambda: accounts.users.set_role(admin, admin.user_id, Role.OWNER),
        lambda: accounts.users.invite(admin, "x@example.com", Role.OWNER, ()),
        lambda: accounts.users.issue_link(admin, owner),
        lambda: accounts.users.set_disabled(admin, owner, True),
        lambda: accounts.users.set_password(admin, owner, "a new password"),
        lambda: accounts.users.remove_two_factor(admin, owner),
    ]
    for call in calls:
        with pytest.raises(ForbiddenError):
            await call()


async def test_the_last_owner_stays(accounts: AccountService, everybody: dict[Role, int]) -> None:
    owner = everybody[Role.OWNER]
    with pytest.raises(InvalidInputError, match="only owner"):
        await accounts.users.set_role(COMMAND_LINE, owner, Role.ADMIN)
    with pytest.raises(InvalidInputError, match="only owner"):
        await accounts.users.set_disabled(COMMAND_LINE, owner, True)
    # One who was invited and never came does not count.
    await accounts.users.invite(COMMAND_LINE, "second@example.com", Role.OWNER, ())
    with pytest.raises(InvalidInputError, match="only owner"):
        await accounts.users.set_role(COMMAND_LINE, owner, Role.ADMIN)


async def test_two_owners_demoted_at_once_leave_one(accounts: AccountService, everybody: dict[Role, int]) -> None:
    second = await accounts.users.create(COMMAND_LINE, "second@example.com", Role.OWNER, PASSWORD)
    await asyncio.gather(
        accounts.users.set_role(COMMAND_LINE, everybody[Role.OWNER], Role.ADMIN),
        accounts.users.set_disabled(COMMAND_LINE, second, True),
        return_exceptions=True,
    )
    left = [u for u in await accounts.users.list(COMMAND_LINE) if u.role == Role.OWNER and not u.disabled]
    assert len(left) == 1


async def test_an_address_is_taken_in_any_case(accounts: AccountService) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await accounts.users.create(COMMAND_LINE, "OWNER@example.COM", Role.VIEWER, PASSWORD)
    assert "email" in caught.value.errors


@pytest.mark.parametrize(
    "email", ["", "x", "a b@example.com", "a@b@c", "x@example.com\r\nBcc: y@z", "x" * 300 + "@y.z"]
)
async def test_what_is_no_address_is_refused_beside_the_field(accounts: AccountService, email: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await accounts.users.invite(COMMAND_LINE, email, Role.VIEWER, ())
    assert list(caught.value.errors) == ["email"]


async def test_control_characters_reach_no_column(accounts: AccountService, signed_in: SignIn) -> None:
    actor = await signed_in("viewer@example.com")
    await accounts.profile.update(actor, "A\x00d\x1ba\r\n" + "x" * 500, "Europe/Berlin")
    found = await accounts.users.find(COMMAND_LINE, "viewer@example.com")
    assert found.name.startswith("A d a ")
    assert len(found.name) <= 120


async def test_changes_stand_in_the_audit_log(
    accounts: AccountService, signed_in: SignIn, everybody: dict[Role, int]
) -> None:
    owner = await signed_in("owner@example.com")
    await accounts.users.set_role(owner, everybody[Role.VIEWER], Role.MEMBER)
    entry = (await accounts.audit_log(owner))[0]
    assert (entry.actor, entry.action, entry.target, entry.detail) == (
        "owner@example.com",
        "user.role",
        "viewer@example.com",
        "viewer → member",
    )


# ── tokens ──


async def test_a_token_is_stored_hashed_and_found_by_its_secret_alone(
    accounts: AccountService, signed_in: SignIn
) -> None:
    actor = await signed_in("member@example.com")
    token = await accounts.tokens.create(actor, "Deploy", ["issues:read"])
    assert token.startswith("cdm_")
    bearer = await accounts.tokens.actor(token)
    assert bearer is not None
    assert (bearer.user_id, bearer.scopes) == (actor.user_id, frozenset({"issues:read"}))
    assert await accounts.tokens.actor(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
    assert await accounts.tokens.actor("cdm_" + "é" * 43) is None
    assert token not in repr(await accounts.tokens.list(actor))


async def test_a_token_does_what_its_scopes_and_its_users_role_both_allow(
    accounts: AccountService, signed_in: SignIn, everybody: dict[Role, int]
) -> None:
    viewer = await signed_in("viewer@example.com")
    token = await accounts.tokens.create(viewer, "All", list(SCOPE_PERMISSIONS))
    bearer = await accounts.tokens.actor(token)
    assert bearer is not None
    assert bearer.may(Permission.ISSUES_READ)
    assert not bearer.may(Permission.ISSUES_WRITE)
    assert not bearer.may(Permission.ACCOUNT)
    await accounts.users.set_role(COMMAND_LINE, everybody[Role.VIEWER], Role.ADMIN)
    promoted = await accounts.tokens.actor(token)
    assert promoted is not None
    assert promoted.may(Permission.SYSTEM_READ)
    assert not promoted.may(Permission.USERS_MANAGE)


async def test_a_token_makes_no_tokens(accounts: AccountService, signed_in: SignIn) -> None:
    token = await accounts.tokens.create(await signed_in("owner@example.com"), "All", list(SCOPE_PERMISSIONS))
    bearer = await accounts.tokens.actor(token)
    assert bearer is not None
    with pytest.raises(ForbiddenError):
        await accounts.tokens.create(bearer, "More", ["issues:read"])
    with pytest.raises(ForbiddenError):
        await accounts.sessions.list(bearer)


async def test_tokens_end_when_revoked_when_they_run_out_and_with_their_user(
    accounts: AccountService, signed_in: SignIn, clock: FakeClock, everybody: dict[Role, int]
) -> None:
    actor = await signed_in("member@example.com")
    revoked = await accounts.tokens.create(actor, "One", ["issues:read"])
    short = await accounts.tokens.create(actor, "Two", ["issues:read"], days=1)
    lasting = await accounts.tokens.create(actor, "Three", ["issues:read"])
    first = next(view for view in await accounts.tokens.list(actor) if view.name == "One")
    with pytest.raises(NotFoundError):  # not even an owner's
        await accounts.tokens.revoke(await signed_in("owner@example.com"), first.id)
    await accounts.tokens.revoke(actor, first.id)
    assert await accounts.tokens.actor(revoked) is None
    assert await accounts.tokens.actor(short) is not None
    clock.advance(86_401)
    assert await accounts.tokens.actor(short) is None
    await accounts.users.set_disabled(COMMAND_LINE, everybody[Role.MEMBER], True)
    assert await accounts.tokens.actor(lasting) is None


async def test_nobody_makes_a_token_for_another(
    accounts: AccountService, signed_in: SignIn, everybody: dict[Role, int]
) -> None:
    owner = await signed_in("owner@example.com")
    with pytest.raises(NotFoundError):
        await accounts.tokens.create(owner, "Theirs", ["issues:read"], user_id=everybody[Role.VIEWER])


async def test_a_token_form_says_all_that_is_wrong(accounts: AccountService, signed_in: SignIn) -> None:
    with pytest.raises(InvalidInputError) as caught:
        await accounts.tokens.create(await signed_in("owner@example.com"), " ", ["nonsense"], days=0)
    assert set(caught.value.errors) == {"name", "scopes", "days"}


async def test_guessing_the_current_password_is_throttled(
    accounts: AccountService, signed_in: SignIn, client: Client
) -> None:
    actor = await signed_in("member@example.com")
    kinds: list[str] = []
    for number in range(12):
        try:
            await accounts.profile.change_password(actor, f"guess {number}", "a new password", client)
        except Exception as error:  # noqa: BLE001 - the kinds are what is tested
            kinds.append(type(error).__name__)
    assert kinds[:10] == ["InvalidInputError"] * 10
    assert kinds[10:] == ["WaitError"] * 2
