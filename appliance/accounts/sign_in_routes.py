"""The pages before somebody is known: sign-in, code, forgotten password, set-up, invitation, reset; and sign-out."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from litestar import get, post
from litestar.background_tasks import BackgroundTask
from litestar.response import Response, Template

from appliance.accounts.access import (
    AccessError,
    Actor,
    InvalidInputError,
    NotFoundError,
    Permission,
    WaitError,
    requires,
)
from appliance.accounts.deps import Accounts, PathText
from appliance.accounts.forms import AnyRequest, Handlers, errors_of, form_values, headers_of, local_path, refused
from appliance.accounts.guards import PUBLIC_FORM, access_of
from appliance.accounts.inputs import MAX_EMAIL
from appliance.accounts.links import LinkPurpose
from appliance.accounts.service import AccountService
from appliance.accounts.sign_in import Challenge
from appliance.web.pages import page, redirect

_DONE: Final = {
    "reset": "Your password is changed. Sign in with the new one.",
    "signed-out": "You are signed out.",
}


@get("/sign-in", opt=PUBLIC_FORM)
async def sign_in_page(request: AnyRequest, accounts: Accounts) -> Response[Any] | Template:
    """The form; straight on for who is signed in."""
    wanted = local_path(request.query_params.get("next", ""))
    if _signed_in(request):
        return redirect(request, wanted)
    done = _DONE.get(request.query_params.get("done", ""), "")
    return await _sign_in_form(request, accounts, wanted=wanted, done=done)


@post("/sign-in", opt=PUBLIC_FORM)
async def sign_in(request: AnyRequest, accounts: Accounts) -> Response[Any] | Template:
    """The password; then in, or on to the code."""
    form = await form_values(request)
    wanted, email = local_path(form.get("next", "")), form.get("email", "")[:MAX_EMAIL]
    access = access_of(request)
    try:
        answer = await accounts.sign_in.password(email, form.get("password", ""), access.client(request))
    except (InvalidInputError, WaitError) as error:
        return await _sign_in_form(request, accounts, wanted=wanted, email=email, error=error)
    if isinstance(answer, Challenge):
        access.cookies.challenge(request, answer.secret)
        return redirect(request, f"/sign-in/code?next={_quoted(wanted)}")
    access.cookies.sign_in(request, answer)
    return redirect(request, wanted)


@get("/sign-in/code", opt=PUBLIC_FORM)
async def code_page(request: AnyRequest) -> Template:
    """The form for the second factor."""
    return page(
        request, "accounts/code.html", errors=errors_of(None), wanted=local_path(request.query_params.get("next", ""))
    )


@post("/sign-in/code", opt=PUBLIC_FORM)
async def sign_in_code(request: AnyRequest, accounts: Accounts) -> Response[Any] | Template:
    """The code; then in."""
    form, access = await form_values(request), access_of(request)
    wanted = local_path(form.get("next", ""))
    secret = access.cookies.read(request, "challenge")
    try:
        opened = await accounts.sign_in.second_factor(secret, form.get("code", ""), access.client(request))
    except NotFoundError:
        access.cookies.forget(request, "challenge")
        return redirect(request, "/sign-in")
    except (InvalidInputError, WaitError) as error:
        return refused(request, "accounts/code.html", error, wanted=wanted)
    access.cookies.sign_in(request, opened)
    return redirect(request, wanted)


@post("/sign-out", opt=requires(Permission.ACCOUNT))
async def sign_out(request: AnyRequest, accounts: Accounts) -> Response[Any]:
    """End this session, here and in the database."""
    cookies = access_of(request).cookies
    await accounts.sessions.close(cookies.read(request, "session"))
    cookies.forget(request, "session")
    return redirect(request, "/sign-in?done=signed-out")


@get("/forgot-password", opt=PUBLIC_FORM)
async def forgot_page(request: AnyRequest) -> Template:
    """Asks for the address."""
    return page(request, "accounts/forgot.html", errors=errors_of(None), email="", sent=False)


@post("/forgot-password", opt=PUBLIC_FORM)
async def forgot(request: AnyRequest, accounts: Accounts) -> Response[Any] | Template:
    """Says the same for every address. The work is done after the answer, so that time tells nothing either."""
    email = (await form_values(request)).get("email", "")[:MAX_EMAIL]
    try:
        await accounts.charge_reset(email, access_of(request).client(request))
    except WaitError as error:
        return refused(request, "accounts/forgot.html", error, email=email, sent=False)
    answer = page(request, "accounts/forgot.html", errors=errors_of(None), email="", sent=True)
    answer.background = BackgroundTask(accounts.users.forgotten, email)
    return answer


@get("/setup/{secret:str}", opt=PUBLIC_FORM)
async def setup_page(request: AnyRequest, accounts: Accounts, secret: PathText) -> Template:
    """The first page of all: who owns this appliance."""
    await accounts.setup.check_link(secret)
    return page(request, "accounts/setup.html", errors=errors_of(None), email="", name="")


@post("/setup/{secret:str}", opt=PUBLIC_FORM)
async def setup(request: AnyRequest, accounts: Accounts, secret: PathText) -> Response[Any] | Template:
    """Create the owner and sign them in."""
    form, access = await form_values(request), access_of(request)
    email, name, password = (form.get(field, "") for field in ("email", "name", "password"))
    try:
        _same(form)
        await accounts.setup.create_owner(email, password, name, secret)
    except (InvalidInputError, WaitError) as error:
        return refused(request, "accounts/setup.html", error, email=email, name=name)
    opened = await accounts.sign_in.password(email, password, access.client(request))
    if not isinstance(opened, Challenge):
        access.cookies.sign_in(request, opened)
    return redirect(request, "/projects/new")


@get("/invitation/{secret:str}", opt=PUBLIC_FORM)
async def invitation_page(request: AnyRequest, accounts: Accounts, secret: PathText) -> Template:
    """Whose invitation it is, and the form for a password. Looking does not use it up."""
    invited = await accounts.sign_in.invited(LinkPurpose.INVITATION, secret)
    return page(request, "accounts/invitation.html", errors=errors_of(None), invited=invited, name=invited.name)


@post("/invitation/{secret:str}", opt=PUBLIC_FORM)
async def take_up(request: AnyRequest, accounts: Accounts, secret: PathText) -> Response[Any] | Template:
    """Choose a password and be in."""
    form, access = await form_values(request), access_of(request)
    invited = await accounts.sign_in.invited(LinkPurpose.INVITATION, secret)
    name, password = form.get("name", ""), form.get("password", "")
    try:
        _same(form)
        opened = await accounts.sign_in.take_up(secret, name, password, access.client(request))
    except (InvalidInputError, WaitError) as error:
        return refused(request, "accounts/invitation.html", error, invited=invited, name=name)
    access.cookies.sign_in(request, opened)
    return redirect(request, "/")


@get("/reset/{secret:str}", opt=PUBLIC_FORM)
async def reset_page(request: AnyRequest, accounts: Accounts, secret: PathText) -> Template:
    """The form for a new password. Looking does not use the link up."""
    invited = await accounts.sign_in.invited(LinkPurpose.RESET, secret)
    return page(request, "accounts/reset.html", errors=errors_of(None), invited=invited)


@post("/reset/{secret:str}", opt=PUBLIC_FORM)
async def reset(request: AnyRequest, accounts: Accounts, secret: PathText) -> Response[Any] | Template:
    """Set it; signing in comes next, with a second factor where there is one."""
    form = await form_values(request)
    invited = await accounts.sign_in.invited(LinkPurpose.RESET, secret)
    try:
        _same(form)
        await accounts.sign_in.reset_password(secret, form.get("password", ""))
    except (InvalidInputError, WaitError) as error:
        return refused(request, "accounts/reset.html", error, invited=invited)
    access_of(request).cookies.forget(request, "session")
    return redirect(request, "/sign-in?done=reset")


async def _sign_in_form(
    request: AnyRequest,
    accounts: AccountService,
    *,
    wanted: str,
    email: str = "",
    done: str = "",
    error: AccessError | None = None,
) -> Template:
    return page(
        request,
        "accounts/sign_in.html",
        status=error.status if error else 200,
        headers=headers_of(error) if error else None,
        errors=errors_of(error),
        email=email,
        wanted=wanted,
        done=done,
        set_up=not await accounts.setup.needed(),
    )


def _same(form: dict[str, str]) -> None:
    if form.get("password", "") != form.get("repeated", ""):
        raise InvalidInputError({"repeated": "The two are not the same. Type it again."})


def _signed_in(request: AnyRequest) -> bool:
    return "user" in request.scope and isinstance(request.user, Actor)


def _quoted(path: str) -> str:
    return quote(path, safe="")


sign_in_routes: Handlers = [
    sign_in_page,
    sign_in,
    code_page,
    sign_in_code,
    sign_out,
    forgot_page,
    forgot,
    setup_page,
    setup,
    invitation_page,
    take_up,
    reset_page,
    reset,
]
