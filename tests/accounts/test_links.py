"""First run, invitations and resets: links that work once, for a while, with or without mail."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import COMMAND_LINE, ForbiddenError, InvalidInputError, NotFoundError, Role
from appliance.accounts.links import IssuedLink, LinkPurpose
from appliance.accounts.models import LinkModel, UserModel
from appliance.accounts.service import AccountService, Client
from appliance.accounts.sessions import Opened
from appliance.metadata.database import Database
from appliance.testing.accounts import PASSWORD, SITE
from appliance.testing.clock import FakeClock

DAY = 24 * 3600.0


class Mailbox:
    """In the place of the alerts' service."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem
        self.sent: list[dict[str, Any]] = []

    def mail_problem(self) -> str:
        return self.problem

    async def send_account_mail(
        self, session: AsyncSession, kind: str, *, to: str, link: str, hours: int, by: str = ""
    ) -> None:
        assert session.in_transaction()
        self.sent.append({"kind": kind, "to": to, "link": link, "hours": hours, "by": by})


def secret_of(link: IssuedLink | str) -> str:
    return (link if isinstance(link, str) else link.url).rsplit("/", 1)[1]


# ── first run ──


async def test_the_set_up_link_creates_the_owner_once(accounts: AccountService, client: Client) -> None:
    link = await accounts.setup.new_link()
    assert link.startswith(f"{SITE}/setup/")
    await accounts.setup.create_owner("ada@example.com", PASSWORD, "Ada", secret_of(link))
    assert isinstance(await accounts.sign_in.password("ada@example.com", PASSWORD, client), Opened)
    with pytest.raises(NotFoundError):
        await accounts.setup.create_owner("eve@example.com", PASSWORD, secret=secret_of(link))
    assert await accounts.setup.new_link() == ""


async def test_the_set_up_link_dies_when_an_owner_exists(accounts: AccountService) -> None:
    link = await accounts.setup.new_link()
    await accounts.setup.create_owner("ada@example.com", PASSWORD)  # condev init
    with pytest.raises(NotFoundError):
        await accounts.setup.check_link(secret_of(link))
    with pytest.raises(NotFoundError):
        await accounts.setup.create_owner("eve@example.com", PASSWORD, secret=secret_of(link))


async def test_a_new_start_ends_the_link_of_the_one_before(accounts: AccountService, clock: FakeClock) -> None:
    first, second = await accounts.setup.new_link(), await accounts.setup.new_link()
    with pytest.raises(NotFoundError):
        await accounts.setup.check_link(secret_of(first))
    await accounts.setup.check_link(secret_of(second))
    clock.advance(DAY + 1)
    with pytest.raises(NotFoundError):
        await accounts.setup.check_link(secret_of(second))


async def test_of_many_set_ups_at_once_one_makes_the_owner(accounts: AccountService, database: Database) -> None:
    secret = secret_of(await accounts.setup.new_link())
    tries = [
        *(accounts.setup.create_owner(f"page{n}@example.com", PASSWORD, secret=secret) for n in range(5)),
        *(accounts.setup.create_owner(f"shell{n}@example.com", PASSWORD) for n in range(5)),
    ]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(answer, int) for answer in answers) == 1
    assert all(isinstance(answer, int | ForbiddenError | NotFoundError) for answer in answers)
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(UserModel)) == 1


async def test_a_guessed_set_up_secret_is_refused_before_any_work(accounts: AccountService) -> None:
    await accounts.setup.new_link()
    for guess in ("", "x", "A" * 43, "\x00" * 43):
        with pytest.raises(NotFoundError):
            await accounts.setup.create_owner("eve@example.com", PASSWORD, secret=guess)


# ── invitations ──


@pytest.fixture
async def owner(accounts: AccountService) -> int:
    return await accounts.setup.create_owner("ada@example.com", PASSWORD)


@pytest.mark.usefixtures("owner")
async def test_an_invitation_is_taken_up_once(accounts: AccountService, client: Client) -> None:
    link = await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ())
    assert (link.mailed, link.mail_problem) == (False, "Mail is not set up.")
    invited = await accounts.sign_in.invited(LinkPurpose.INVITATION, secret_of(link))
    assert (invited.email, invited.role) == ("bob@example.com", Role.VIEWER)
    opened = await accounts.sign_in.take_up(secret_of(link), "Bob", PASSWORD, client)
    actor = await accounts.sessions.actor(opened.token)
    assert actor is not None
    assert (actor.name, actor.role) == ("Bob", Role.VIEWER)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.take_up(secret_of(link), "Eve", "another password", client)


@pytest.mark.usefixtures("owner")
async def test_an_invitation_taken_up_twice_at_once_sets_one_password(accounts: AccountService, client: Client) -> None:
    secret = secret_of(await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ()))
    answers = await asyncio.gather(
        *(accounts.sign_in.take_up(secret, f"Bob {n}", f"password number {n}", client) for n in range(4)),
        return_exceptions=True,
    )
    assert sum(isinstance(answer, Opened) for answer in answers) == 1


@pytest.mark.usefixtures("owner")
async def test_a_bad_password_does_not_use_the_link_up(accounts: AccountService, client: Client) -> None:
    secret = secret_of(await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ()))
    with pytest.raises(InvalidInputError):
        await accounts.sign_in.take_up(secret, "Bob", "short", client)
    await accounts.sign_in.take_up(secret, "Bob", PASSWORD, client)


@pytest.mark.usefixtures("owner")
async def test_links_run_out_and_newer_ones_replace_them(accounts: AccountService, clock: FakeClock) -> None:
    first = await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ())
    bob = await accounts.users.find(COMMAND_LINE, "bob@example.com")
    second = await accounts.users.issue_link(COMMAND_LINE, bob.id)
    assert "/invitation/" in second.url  # no password yet: still an invitation
    with pytest.raises(NotFoundError, match="replaced by a newer"):
        await accounts.sign_in.invited(LinkPurpose.INVITATION, secret_of(first))
    clock.advance(DAY + 1)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.invited(LinkPurpose.INVITATION, secret_of(second))


@pytest.mark.usefixtures("owner")
async def test_a_link_of_one_purpose_is_none_of_another(accounts: AccountService) -> None:
    secret = secret_of(await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ()))
    with pytest.raises(NotFoundError):
        await accounts.sign_in.reset_password(secret, PASSWORD)
    with pytest.raises(NotFoundError):
        await accounts.setup.check_link(secret)


@pytest.mark.usefixtures("owner")
async def test_a_disabled_user_cannot_take_a_link_up(accounts: AccountService, client: Client) -> None:
    secret = secret_of(await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ()))
    bob = await accounts.users.find(COMMAND_LINE, "bob@example.com")
    await accounts.users.set_disabled(COMMAND_LINE, bob.id, True)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.take_up(secret, "Bob", PASSWORD, client)


# ── resets ──


async def test_a_reset_ends_sessions_and_works_once(accounts: AccountService, client: Client, owner: int) -> None:
    opened = await accounts.sign_in.password("ada@example.com", PASSWORD, client)
    assert isinstance(opened, Opened)
    secret = secret_of(await accounts.users.issue_link(COMMAND_LINE, owner))
    await accounts.sign_in.reset_password(secret, "a brand new one")
    assert await accounts.sessions.actor(opened.token) is None
    with pytest.raises(InvalidInputError):
        await accounts.sign_in.password("ada@example.com", PASSWORD, client)
    assert isinstance(await accounts.sign_in.password("ada@example.com", "a brand new one", client), Opened)
    with pytest.raises(NotFoundError):
        await accounts.sign_in.reset_password(secret, "and yet another")


@pytest.mark.usefixtures("owner")
async def test_a_forgotten_password_is_mailed_to_users_alone(accounts: AccountService) -> None:
    box = Mailbox()
    accounts.set_mailer(box)
    await accounts.users.forgotten("nobody@example.com")
    await accounts.users.forgotten(" ADA@example.com")
    assert [(mail["kind"], mail["to"]) for mail in box.sent] == [("password_reset", "ada@example.com")]
    assert box.sent[0]["link"].startswith(f"{SITE}/reset/")
    await accounts.sign_in.reset_password(secret_of(box.sent[0]["link"]), "a brand new one")


@pytest.mark.usefixtures("owner")
async def test_forgot_password_ends_no_link_that_was_handed_over(accounts: AccountService, client: Client) -> None:
    """Anybody may ask for it, for anybody: it must not be a way to keep somebody out."""
    box = Mailbox()
    handed = secret_of(await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ()))
    accounts.set_mailer(box)
    await accounts.users.forgotten("bob@example.com")
    await accounts.users.forgotten("bob@example.com")
    first, second = (secret_of(mail["link"]) for mail in box.sent)
    with pytest.raises(NotFoundError):  # of those that were asked for, the last one works
        await accounts.sign_in.take_up(first, "Bob", PASSWORD, client)
    await accounts.sign_in.take_up(handed, "Bob", PASSWORD, client)
    with pytest.raises(NotFoundError):  # one password was chosen: the others are over
        await accounts.sign_in.take_up(second, "Mallory", "another password", client)


async def test_forgot_password_ends_no_reset_link_that_an_admin_handed_over(
    accounts: AccountService, owner: int
) -> None:
    handed = secret_of(await accounts.users.issue_link(COMMAND_LINE, owner))
    box = Mailbox()
    accounts.set_mailer(box)
    await accounts.users.forgotten("ada@example.com")
    await accounts.sign_in.reset_password(handed, "a brand new one")
    with pytest.raises(NotFoundError):
        await accounts.sign_in.reset_password(secret_of(box.sent[0]["link"]), "and yet another")


@pytest.mark.usefixtures("owner")
async def test_without_mail_a_forgotten_password_makes_no_link(accounts: AccountService, database: Database) -> None:
    accounts.set_mailer(Mailbox("No notifier is configured."))
    await accounts.users.forgotten("ada@example.com")
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(LinkModel)) == 0


@pytest.mark.usefixtures("owner")
async def test_where_mail_works_the_link_is_mailed_and_shown(accounts: AccountService) -> None:
    box = Mailbox()
    accounts.set_mailer(box)
    link = await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ())
    assert link.mailed
    assert box.sent == [
        {"kind": "invitation", "to": "bob@example.com", "link": link.url, "hours": 24, "by": "command line"}
    ]


@pytest.mark.usefixtures("owner")
async def test_pruning_removes_links_that_ran_out(
    accounts: AccountService, clock: FakeClock, database: Database
) -> None:
    await accounts.users.invite(COMMAND_LINE, "bob@example.com", Role.VIEWER, ())
    clock.advance(DAY + 1)
    await accounts.prune()
    async with database.read() as session:
        assert await session.scalar(select(func.count()).select_from(LinkModel)) == 0
