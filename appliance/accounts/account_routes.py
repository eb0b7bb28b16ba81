"""One's own account: profile, password and second factor, sessions, API tokens."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from typing import Any, Final, cast

import segno
from litestar import get, post
from litestar.response import Response, Template

from appliance.accounts.access import (
    ROLE_PERMISSIONS,
    SCOPE_PERMISSIONS,
    AccessError,
    Actor,
    InvalidInputError,
    Permission,
    WaitError,
    requires,
)
from appliance.accounts.deps import Accounts, Acting, Configured, Id
from appliance.accounts.forms import AnyRequest, Handlers, errors_of, form_list, form_values, headers_of
from appliance.accounts.guards import access_of
from appliance.accounts.service import AccountService
from appliance.accounts.two_factor import is_totp_secret, new_totp_secret, totp_uri
from appliance.config import Config
from appliance.web.pages import Shell, page, redirect

OWN: Final = requires(Permission.ACCOUNT)
_DONE: Final = {
    "profile": "Saved.",
    "password": "Your password is changed. All other sessions have ended.",
    "two-factor": "From now on signing in asks for a code. All other sessions have ended.",
    "no-two-factor": "Signing in asks for the password alone.",
    "session": "That session has ended.",
    "sessions": "All other sessions have ended.",
    "token": "The token is revoked.",
}
SCOPE_HELP: Final[Mapping[str, str]] = {
    "issues:read": "Issues, events, sessions, performance, replays, traces.",
    "issues:write": "Resolve, ignore, merge.",
    "projects:read": "Projects and their DSNs.",
    "projects:write": "Create projects.",
    "alerts:read": "What fired, and what was delivered.",
    "alerts:write": "Rules and messages.",
    "system:read": "How the appliance fares.",
    "system:write": "Dead letters.",
}
_EXPIRIES: Final = (("", "Until I revoke it"), ("30", "30 days"), ("90", "90 days"), ("365", "A year"))


@get("/account", opt=OWN)
async def profile_page(request: AnyRequest, actor: Acting) -> Template:
    """Name and time zone."""
    return _profile(request, actor.name, actor.timezone)


@post("/account", opt=OWN)
async def save_profile(request: AnyRequest, actor: Acting, accounts: Accounts) -> Response[Any] | Template:
    """Save them."""
    form = await form_values(request)
    name, timezone = form.get("name", ""), form.get("timezone", "").strip()
    try:
        await accounts.profile.update(actor, name, timezone)
    except InvalidInputError as error:
        return _profile(request, name, timezone, error)
    return redirect(request, "/account?done=profile")


@get("/account/security", opt=OWN)
async def security_page(request: AnyRequest, actor: Acting, accounts: Accounts, config: Configured) -> Template:
    """Password and second factor."""
    return await _security(request, actor, accounts, config)


@post("/account/password", opt=OWN)
async def change_password(
    request: AnyRequest, actor: Acting, accounts: Accounts, config: Configured
) -> Response[Any] | Template:
    """Change it; this browser gets a new session, all others end."""
    form, access = await form_values(request), access_of(request)
    new = form.get("new_password", "")
    try:
        if new != form.get("repeated", ""):
            raise InvalidInputError({"repeated": "The two are not the same. Type it again."})
        opened = await accounts.profile.change_password(
            actor, form.get("current_password", ""), new, access.client(request)
        )
    except (InvalidInputError, WaitError) as error:
        return await _security(request, actor, accounts, config, error=error, form="password")
    access.cookies.sign_in(request, opened)
    return redirect(request, "/account/security?done=password")


@post("/account/two-factor", opt=OWN)
async def add_two_factor(
    request: AnyRequest, actor: Acting, accounts: Accounts, config: Configured
) -> Response[Any] | Template:
    """Switch it on, with a code that proves the app has the secret."""
    form, access = await form_values(request), access_of(request)
    secret = form.get("secret", "")
    try:
        opened = await accounts.profile.enable_two_factor(
            actor, secret, form.get("code", ""), form.get("current_password", ""), access.client(request)
        )
    except (InvalidInputError, WaitError) as error:
        return await _security(request, actor, accounts, config, error=error, form="two-factor", secret=secret)
    access.cookies.sign_in(request, opened)
    return redirect(request, "/account/security?done=two-factor")


@post("/account/two-factor/remove", opt=OWN)
async def remove_two_factor(
    request: AnyRequest, actor: Acting, accounts: Accounts, config: Configured
) -> Response[Any] | Template:
    """Switch it off."""
    form, access = await form_values(request), access_of(request)
    try:
        opened = await accounts.profile.disable_two_factor(
            actor, form.get("current_password", ""), access.client(request)
        )
    except (InvalidInputError, WaitError) as error:
        return await _security(request, actor, accounts, config, error=error, form="two-factor")
    access.cookies.sign_in(request, opened)
    return redirect(request, "/account/security?done=no-two-factor")


@get("/account/sessions", opt=OWN)
async def sessions_page(request: AnyRequest, actor: Acting, accounts: Accounts) -> Template:
    """Where one is signed in."""
    return page(request, "accounts/sessions.html", sessions=await accounts.sessions.list(actor), done=_done(request))


@post("/account/sessions/{session_id:int}/revoke", opt=OWN)
async def revoke_session(request: AnyRequest, actor: Acting, accounts: Accounts, session_id: Id) -> Response[Any]:
    """End one."""
    await accounts.sessions.revoke(actor, session_id)
    return redirect(request, "/account/sessions?done=session")


@post("/account/sessions/revoke-others", opt=OWN)
async def revoke_sessions(request: AnyRequest, actor: Acting, accounts: Accounts) -> Response[Any]:
    """End all but this one."""
    await accounts.sessions.revoke_others(actor)
    return redirect(request, "/account/sessions?done=sessions")


@get("/account/tokens", opt=OWN)
async def tokens_page(request: AnyRequest, actor: Acting, accounts: Accounts) -> Template:
    """API tokens."""
    return await _tokens(request, actor, accounts)


@post("/account/tokens", opt=OWN, status_code=200)
async def create_token(request: AnyRequest, actor: Acting, accounts: Accounts) -> Template:
    """Make one; this answer is the only one that shows it."""
    form, scopes = await form_values(request), await form_list(request, "scopes")
    name, days = form.get("name", ""), form.get("days", "")
    try:
        token = await accounts.tokens.create(
            actor, name, scopes, days=int(days) if days in {key for key, _ in _EXPIRIES if key} else None
        )
    except AccessError as error:
        return await _tokens(request, actor, accounts, error=error, name=name, scopes=scopes, days=days)
    return await _tokens(request, actor, accounts, token=token, example=next(iter(_examples(request, scopes)), ""))


@post("/account/tokens/{token_id:int}/revoke", opt=OWN)
async def revoke_token(request: AnyRequest, actor: Acting, accounts: Accounts, token_id: Id) -> Response[Any]:
    """End one."""
    await accounts.tokens.revoke(actor, token_id)
    return redirect(request, "/account/tokens?done=token")


def _profile(request: AnyRequest, name: str, timezone: str, error: AccessError | None = None) -> Template:
    return page(
        request,
        "accounts/profile.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        name=name,
        timezone=timezone,
        zones=sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone and not zone.startswith("Etc/")),
        done=_done(request),
    )


async def _security(
    request: AnyRequest,
    actor: Actor,
    accounts: AccountService,
    config: Config,
    *,
    error: AccessError | None = None,
    form: str = "",
    secret: str = "",
) -> Template:
    has = await accounts.profile.has_two_factor(actor)
    secret = secret if is_totp_secret(secret) else new_totp_secret()
    code = segno.make(totp_uri(secret, actor.email, config.site.name), micro=False)
    return page(
        request,
        "accounts/security.html",
        status=error.status if error else 200,
        headers=headers_of(error) if error else None,
        password_errors=errors_of(error if form == "password" else None),
        factor_errors=errors_of(error if form == "two-factor" else None),
        has_two_factor=has,
        secret=secret,
        qr=code.svg_data_uri(scale=4, border=3, light="white"),
        done=_done(request),
    )


async def _tokens(
    request: AnyRequest,
    actor: Actor,
    accounts: AccountService,
    *,
    error: AccessError | None = None,
    token: str = "",
    example: str = "",
    name: str = "",
    scopes: list[str] | None = None,
    days: str = "90",
) -> Template:
    # A scope that the role has nothing of would be a promise that no call keeps.
    offered = [scope for scope, allows in SCOPE_PERMISSIONS.items() if allows <= ROLE_PERMISSIONS[actor.role]]
    return page(
        request,
        "accounts/tokens.html",
        status=error.status if error else 200,
        errors=errors_of(error),
        tokens=await accounts.tokens.list(actor),
        token=token,
        example=example and f"{accounts.site_url}{example}",
        offered=[(scope, SCOPE_HELP[scope]) for scope in offered],
        expiries=_EXPIRIES,
        name=name,
        scopes=scopes or [],
        days=days,
        done=_done(request),
    )


def _examples(request: AnyRequest, scopes: list[str]) -> list[str]:
    """What a new token may call first, as addresses below the site's."""
    projects = cast("Shell", request.state.shell).projects
    kinds = {scope.partition(":")[0] for scope in scopes}
    calls = {
        "issues": f"/api/v1/projects/{projects[0].id}/issues?limit=10" if projects else "",
        "projects": "/api/v1/projects",
        "alerts": "/api/v1/alerts?limit=10",
        "system": "/api/v1/system",
    }
    return [call for kind, call in calls.items() if call and kind in kinds]


def _done(request: AnyRequest) -> str:
    return _DONE.get(request.query_params.get("done", ""), "")


account_routes: Handlers = [
    profile_page,
    save_profile,
    security_page,
    change_password,
    add_two_factor,
    remove_two_factor,
    sessions_page,
    revoke_session,
    revoke_sessions,
    tokens_page,
    create_token,
    revoke_token,
]
