"""Users, for owners and admins: the list, invitations, and a page for each."""

from __future__ import annotations

from typing import Any, Final

from litestar import get, post
from litestar.response import Response, Template

from appliance.accounts.access import (
    AccessError,
    Actor,
    InvalidInputError,
    NotFoundError,
    Permission,
    Role,
    requires,
)
from appliance.accounts.deps import Accounts, Acting, Id
from appliance.accounts.forms import AnyRequest, Handlers, errors_of, form_list, form_values, numbers
from appliance.accounts.inputs import MAX_EMAIL
from appliance.accounts.links import IssuedLink
from appliance.accounts.service import AccountService
from appliance.accounts.users import NO_USER, UserView
from appliance.projects.deps import Projects
from appliance.projects.service import ProjectService
from appliance.web.pages import page, redirect

MANAGE: Final = requires(Permission.USERS_MANAGE)
ROLES: Final = (
    (Role.VIEWER, "Viewer: reads their projects"),
    (Role.MEMBER, "Member: works in their projects"),
    (Role.ADMIN, "Admin: all projects, users and the system"),
    (Role.OWNER, "Owner: everything, other owners too"),
)
_DONE: Final = {
    "role": "The role is changed; they have to sign in again.",
    "projects": "Saved.",
    "disabled": "They are locked out: sessions ended, tokens stopped.",
    "enabled": "They may sign in again.",
    "two-factor": "Their second factor is removed; they sign in with the password alone.",
}


@get("/users", opt=MANAGE)
async def users_page(request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects) -> Template:
    """Everybody, the form to invite, the latest changes."""
    return await _users(request, actor, accounts, projects)


@post("/users", opt=MANAGE, status_code=200)
async def invite(request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects) -> Template:
    """Invite somebody; this answer is the only one that shows the link."""
    form = await form_values(request)
    email, role = form.get("email", "")[: MAX_EMAIL + 1], form.get("role", "")
    chosen = numbers(await form_list(request, "projects"))
    try:
        link = await accounts.users.invite(actor, email, _role(role), chosen)
    except InvalidInputError as error:
        return await _users(request, actor, accounts, projects, error=error, email=email, role=role, chosen=chosen)
    return await _users(request, actor, accounts, projects, link=link, invited=email)


@get("/users/{user_id:int}", opt=MANAGE)
async def user_page(
    request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects, user_id: Id
) -> Template:
    """One of them."""
    return await _user(request, actor, accounts, projects, user_id)


@post("/users/{user_id:int}/role", opt=MANAGE)
async def set_role(
    request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects, user_id: Id
) -> Response[Any] | Template:
    """Another role."""
    try:
        await accounts.users.set_role(actor, user_id, _role((await form_values(request)).get("role", "")))
    except InvalidInputError as error:
        return await _user(request, actor, accounts, projects, user_id, error=error)
    if user_id == actor.user_id:
        return redirect(request, "/sign-in")
    return redirect(request, f"/users/{user_id}?done=role")


@post("/users/{user_id:int}/projects", opt=MANAGE)
async def set_projects(request: AnyRequest, actor: Acting, accounts: Accounts, user_id: Id) -> Response[Any]:
    """Which projects they see."""
    await accounts.users.set_projects(actor, user_id, numbers(await form_list(request, "projects")))
    return redirect(request, f"/users/{user_id}?done=projects")


@post("/users/{user_id:int}/disabled", opt=MANAGE)
async def set_disabled(
    request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects, user_id: Id
) -> Response[Any] | Template:
    """Lock out, or let in again."""
    disabled = (await form_values(request)).get("disabled", "") == "yes"
    try:
        await accounts.users.set_disabled(actor, user_id, disabled)
    except InvalidInputError as error:
        return await _user(request, actor, accounts, projects, user_id, error=error)
    return redirect(request, f"/users/{user_id}?done={'disabled' if disabled else 'enabled'}")


@post("/users/{user_id:int}/link", opt=MANAGE, status_code=200)
async def issue_link(
    request: AnyRequest, actor: Acting, accounts: Accounts, projects: Projects, user_id: Id
) -> Template:
    """A link to hand over; this answer is the only one that shows it."""
    try:
        link = await accounts.users.issue_link(actor, user_id)
    except InvalidInputError as error:
        return await _user(request, actor, accounts, projects, user_id, error=error)
    return await _user(request, actor, accounts, projects, user_id, link=link)


@post("/users/{user_id:int}/two-factor/remove", opt=MANAGE)
async def remove_two_factor_of(request: AnyRequest, actor: Acting, accounts: Accounts, user_id: Id) -> Response[Any]:
    """For who lost their phone."""
    await accounts.users.remove_two_factor(actor, user_id)
    return redirect(request, f"/users/{user_id}?done=two-factor")


async def _users(
    request: AnyRequest,
    actor: Actor,
    accounts: AccountService,
    projects: ProjectService,
    *,
    error: AccessError | None = None,
    email: str = "",
    role: str = Role.MEMBER,
    chosen: list[int] | None = None,
    link: IssuedLink | None = None,
    invited: str = "",
) -> Template:
    return page(
        request,
        "accounts/users.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        users=await accounts.users.list(actor),
        projects=await projects.list(actor),
        roles=_roles(actor),
        changes=await accounts.audit_log(actor, 20),
        email=email,
        role=role,
        chosen=chosen or [],
        link=link,
        invited=invited,
    )


async def _user(
    request: AnyRequest,
    actor: Actor,
    accounts: AccountService,
    projects: ProjectService,
    user_id: int,
    *,
    error: AccessError | None = None,
    link: IssuedLink | None = None,
) -> Template:
    user = await _find(actor, accounts, user_id)
    return page(
        request,
        "accounts/user.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        user=user,
        projects=await projects.list(actor),
        roles=_roles(actor),
        may_change=user.role != Role.OWNER or actor.may(Permission.OWNERS_MANAGE),
        is_self=user.id == actor.user_id,
        link=link,
        done=_DONE.get(request.query_params.get("done", ""), ""),
    )


async def _find(actor: Actor, accounts: AccountService, user_id: int) -> UserView:
    for user in await accounts.users.list(actor):
        if user.id == user_id:
            return user
    raise NotFoundError(NO_USER)


def _roles(actor: Actor) -> list[tuple[Role, str]]:
    return [(role, label) for role, label in ROLES if role != Role.OWNER or actor.may(Permission.OWNERS_MANAGE)]


def _role(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise InvalidInputError({"role": "Choose one of the roles."}) from None


users_routes: Handlers = [
    users_page,
    invite,
    user_page,
    set_role,
    set_projects,
    set_disabled,
    issue_link,
    remove_two_factor_of,
]
