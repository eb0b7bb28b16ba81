"""Verbs about people: `init`, `where`, `user …`, `token …`: on the metadata, whether the appliance runs or not."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import click

from appliance.accounts.access import COMMAND_LINE, SCOPE_PERMISSIONS, AccessError, Role
from appliance.cli.context import CliContext, fail, print_json, run

if TYPE_CHECKING:
    from appliance.accounts.api_tokens import TokenView
    from appliance.accounts.service import AccountService
    from appliance.accounts.users import UserView

MAX_PASSWORD_INPUT: Final = 4_096  # characters read from standard input; the service says what is too long

_EMAIL = click.option("--email", required=True, help="Their address; they sign in with it.")


@asynccontextmanager
async def accounts_of(context: CliContext) -> AsyncGenerator[AccountService]:
    """The service on this data directory's metadata; refusals end the process with one clear line."""
    from appliance.accounts.service import AccountService
    from appliance.clock import SystemClock

    async with context.open_metadata() as database:
        service = AccountService(database, SystemClock(), context.config.accounts, context.site_url)
        try:
            yield service
        except AccessError as error:
            fail(str(error))
        finally:
            service.close()


@click.command()
@click.option("--email", prompt="Your mail address", help="The owner's address.")
@click.option("--name", default="", help="As others will see it.")
@click.pass_obj
def init(context: CliContext, email: str, name: str) -> None:
    """Create the owner, once. Asks for the password, or reads it from standard input."""
    password = read_password()

    async def create() -> None:
        async with accounts_of(context) as accounts:
            await accounts.setup.create_owner(email, password, name)

    run(create)
    click.echo(f"{email} owns this appliance now. Sign in at {context.site_url}/sign-in")


@click.command()
@click.pass_obj
def where(context: CliContext) -> None:
    """Print where to sign in; while nobody owns the appliance, a link that creates the owner, once."""

    async def link() -> str:
        async with accounts_of(context) as accounts:
            return await accounts.setup.new_link()

    if found := run(link):
        click.echo(f"Create the owner: {found}")
    else:
        click.echo(f"Sign in: {context.site_url}/sign-in")


@click.group()
def user() -> None:
    """Create, list and disable users, or set a password."""


@user.command("create")
@_EMAIL
@click.option("--role", type=click.Choice([role.value for role in Role]), default="member", show_default=True)
@click.option("--name", default="", help="As others will see it.")
@click.option("--json", "as_json", is_flag=True, help='Print {"id", "email", "role"}.')
@click.pass_obj
def create_user(context: CliContext, email: str, role: str, name: str, as_json: bool) -> None:
    """Create a user. Asks for the password, or reads it from standard input."""
    password = read_password()

    async def create() -> int:
        async with accounts_of(context) as accounts:
            return await accounts.users.create(COMMAND_LINE, email, Role(role), password, name)

    user_id = run(create)
    if as_json:
        print_json({"id": user_id, "email": email, "role": role})
    else:
        click.echo(f"{email} can sign in as {role}.")


@user.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_users(context: CliContext, as_json: bool) -> None:
    """Show all users."""

    async def load() -> list[UserView]:
        async with accounts_of(context) as accounts:
            return await accounts.users.list(COMMAND_LINE)

    users = run(load)
    if as_json:
        print_json([{"id": u.id, "email": u.email, "name": u.name, "role": u.role, "state": _state(u)} for u in users])
        return
    for found in users:
        click.echo(f"{found.email:40} {found.role:8} {_state(found):10} {'2FA' if found.two_factor else ''}".rstrip())


@user.command("disable")
@_EMAIL
@click.option("--undo", is_flag=True, help="Let them in again.")
@click.pass_obj
def disable_user(context: CliContext, email: str, undo: bool) -> None:
    """Lock a user out: sessions end, tokens stop."""

    async def disable() -> None:
        async with accounts_of(context) as accounts:
            found = await accounts.users.find(COMMAND_LINE, email)
            await accounts.users.set_disabled(COMMAND_LINE, found.id, not undo)

    run(disable)
    click.echo(f"{email} is {'enabled again' if undo else 'disabled'}.")


@user.command("password")
@_EMAIL
@click.option("--remove-two-factor", is_flag=True, help="Also for who lost their phone.")
@click.pass_obj
def set_password(context: CliContext, email: str, remove_two_factor: bool) -> None:
    """Set a user's password; their sessions end. Asks for it, or reads it from standard input."""
    password = read_password()

    async def change() -> None:
        async with accounts_of(context) as accounts:
            found = await accounts.users.find(COMMAND_LINE, email)
            await accounts.users.set_password(COMMAND_LINE, found.id, password)
            if remove_two_factor:
                await accounts.users.remove_two_factor(COMMAND_LINE, found.id)

    run(change)
    click.echo(f"{email} has a new password.")


@click.group()
def token() -> None:
    """Create, list and revoke API tokens."""


@token.command("create")
@click.option("--user", "email", required=True, help="Whose: a token may never do more than its user.")
@click.option("--name", default="command line", show_default=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(list(SCOPE_PERMISSIONS)),
    help="What it may do; repeatable.  [default: all]",
)
@click.option("--days", type=int, default=None, help="How long it works.  [default: until revoked]")
@click.option("--json", "as_json", is_flag=True, help='Print {"token"}.')
@click.pass_obj
def create_token(
    context: CliContext, email: str, name: str, scopes: tuple[str, ...], days: int | None, as_json: bool
) -> None:
    """Create a token and print it: it cannot be shown again."""

    async def create() -> str:
        async with accounts_of(context) as accounts:
            found = await accounts.users.find(COMMAND_LINE, email)
            return await accounts.tokens.create(
                COMMAND_LINE, name, scopes or tuple(SCOPE_PERMISSIONS), days=days, user_id=found.id
            )

    secret = run(create)
    if as_json:
        print_json({"token": secret})
    else:
        click.echo(secret)


@token.command("list")
@click.option("--user", "email", required=True, help="Whose.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.pass_obj
def list_tokens(context: CliContext, email: str, as_json: bool) -> None:
    """Show a user's tokens, by what they start with."""

    async def load() -> list[TokenView]:
        async with accounts_of(context) as accounts:
            found = await accounts.users.find(COMMAND_LINE, email)
            return await accounts.tokens.list(COMMAND_LINE, found.id)

    tokens = run(load)
    if as_json:
        print_json([{"id": t.id, "name": t.name, "prefix": t.prefix, "scopes": list(t.scopes)} for t in tokens])
        return
    for found in tokens:
        click.echo(f"{found.id:6} {found.prefix}…  {found.name}  ({' '.join(found.scopes)})")


@token.command("revoke")
@click.option("--user", "email", required=True, help="Whose.")
@click.argument("token_id", type=int)
@click.pass_obj
def revoke_token(context: CliContext, email: str, token_id: int) -> None:
    """End the token with this id, as `condev token list` shows it."""

    async def revoke() -> None:
        async with accounts_of(context) as accounts:
            found = await accounts.users.find(COMMAND_LINE, email)
            await accounts.tokens.revoke(COMMAND_LINE, token_id, found.id)

    run(revoke)
    click.echo("Revoked.")


def read_password() -> str:
    """From a terminal, asked twice; else the first line of standard input."""
    if sys.stdin.isatty():
        return click.prompt("Password", hide_input=True, confirmation_prompt=True)
    password = sys.stdin.readline(MAX_PASSWORD_INPUT).rstrip("\r\n")
    if not password:
        fail("give the password on standard input, or run this in a terminal to be asked for it")
    return password


def _state(found: UserView) -> str:
    if found.disabled:
        return "disabled"
    return "invited" if found.invited else "active"
