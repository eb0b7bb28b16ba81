"""Every route of accounts and projects, tried as owner, admin, member, viewer, member of another project and stranger.

The table is complete by a test: a new route must be added to it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pytest
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.testing.accounts import PASSWORD, AccountApp

OK, GONE, NO, AWAY, MISSING = 200, 303, 403, 303, 404
ROLES: Final = ("owner", "admin", "member", "viewer", "elsewhere")  # elsewhere: a member of the other project

# Path, method, then the status for each of ROLES. A stranger is always sent to sign in, on public pages never.
# 303 is "done, go on"; a refusal is 403, what one does not see is 404.
TABLE: Final[list[tuple[str, str, tuple[int, ...]]]] = [
    ("/account", "GET", (OK, OK, OK, OK, OK)),
    ("/account", "POST", (GONE, GONE, GONE, GONE, GONE)),
    ("/account/security", "GET", (OK, OK, OK, OK, OK)),
    ("/account/password", "POST", (422, 422, 422, 422, 422)),
    ("/account/two-factor", "POST", (422, 422, 422, 422, 422)),
    ("/account/two-factor/remove", "POST", (422, 422, 422, 422, 422)),
    ("/account/sessions", "GET", (OK, OK, OK, OK, OK)),
    ("/account/sessions/{session_id}/revoke", "POST", (MISSING, MISSING, MISSING, MISSING, MISSING)),
    ("/account/sessions/revoke-others", "POST", (GONE, GONE, GONE, GONE, GONE)),
    ("/account/tokens", "GET", (OK, OK, OK, OK, OK)),
    ("/account/tokens", "POST", (422, 422, 422, 422, 422)),
    ("/account/tokens/{token_id}/revoke", "POST", (MISSING, MISSING, MISSING, MISSING, MISSING)),
    ("/users", "GET", (OK, OK, NO, NO, NO)),
    ("/users", "POST", (422, 422, NO, NO, NO)),
    ("/users/{user_id}", "GET", (OK, OK, NO, NO, NO)),
    ("/users/{user_id}/role", "POST", (422, 422, NO, NO, NO)),
    ("/users/{user_id}/projects", "POST", (GONE, NO, NO, NO, NO)),  # the target is an owner
    ("/users/{user_id}/disabled", "POST", (422, NO, NO, NO, NO)),
    ("/users/{user_id}/link", "POST", (OK, NO, NO, NO, NO)),
    ("/users/{user_id}/two-factor/remove", "POST", (GONE, NO, NO, NO, NO)),
    ("/projects", "GET", (OK, OK, OK, OK, OK)),
    ("/projects", "POST", (422, 422, NO, NO, NO)),
    ("/projects/new", "GET", (OK, OK, NO, NO, NO)),
    ("/projects/{slug}", "GET", (GONE, GONE, GONE, GONE, MISSING)),
    ("/projects/{slug}/connect", "GET", (OK, OK, OK, OK, MISSING)),
    ("/projects/{slug}/waiting", "GET", (OK, OK, OK, OK, MISSING)),
    ("/projects/{slug}/settings", "GET", (OK, OK, OK, OK, MISSING)),
    ("/projects/{slug}/settings", "POST", (422, 422, 422, NO, MISSING)),
    ("/projects/{slug}/delete", "POST", (422, 422, NO, NO, NO)),
    ("/projects/{slug}/keys", "GET", (OK, OK, OK, OK, MISSING)),
    ("/projects/{slug}/keys", "POST", (422, 422, 422, NO, MISSING)),
    ("/projects/{slug}/keys/{key_id}", "POST", (MISSING, MISSING, MISSING, NO, MISSING)),
    ("/projects/{slug}/members", "GET", (OK, OK, NO, NO, NO)),
    ("/projects/{slug}/members", "POST", (422, 422, NO, NO, NO)),
    ("/api/v1/projects", "GET", (OK, OK, OK, OK, OK)),
    ("/api/v1/projects", "POST", (400, 400, NO, NO, NO)),
    ("/api/v1/projects/{project_id}", "GET", (OK, OK, OK, OK, MISSING)),
    ("/sign-out", "POST", (GONE, GONE, GONE, GONE, GONE)),
]
PUBLIC: Final = {
    "/sign-in", "/sign-in/code", "/forgot-password", "/setup/{secret}", "/invitation/{secret}", "/reset/{secret}",
}  # fmt: skip
# {user_id}: the owner.
PARAMETERS: Final[dict[str, Any]] = {
    "session_id": 999_999, "token_id": 999_999, "key_id": 999_999, "user_id": 1, "project_id": 1, "slug": "web-shop",
}  # fmt: skip


async def other_member(site: AccountApp) -> None:
    user = await site.accounts.users.create(COMMAND_LINE, "elsewhere@example.com", Role.MEMBER, PASSWORD)
    back_office = await site.projects.by_slug(COMMAND_LINE, "back-office")
    await site.accounts.users.set_member(COMMAND_LINE, back_office.id, user, True)


async def ask(site: AccountApp, who: str, path: str, method: str) -> int:
    address = path.format(**PARAMETERS)
    async with site.browser() as browser:
        headers: dict[str, str] = {}
        if who != "stranger" and path.startswith("/api/"):
            user = await site.accounts.users.find(COMMAND_LINE, f"{who}@example.com")
            scopes = ["projects:read", "projects:write"]
            token = await site.accounts.tokens.create(COMMAND_LINE, "test", scopes, user_id=user.id)
            headers["Authorization"] = f"Bearer {token}"
        elif who != "stranger":
            assert (await browser.sign_in(f"{who}@example.com")).status_code == 303
            await browser.get("/account")
        else:
            await browser.get("/sign-in")
        if method == "GET":
            return (await browser.get(address, **headers)).status_code
        if path.startswith("/api/"):
            return (await browser.http.post(address, json={"name": ""}, headers=headers)).status_code
        return (await browser.post(address, {})).status_code


@pytest.mark.parametrize("number", range(len(ROLES)), ids=ROLES)
async def test_each_role_gets_what_is_theirs_and_nothing_else(site: AccountApp, number: int) -> None:
    await other_member(site)
    wrong: list[str] = []
    for path, method, expected in TABLE:
        status = await ask(site, ROLES[number], path, method)
        if status != expected[number]:
            wrong.append(f"{method} {path}: {status} instead of {expected[number]}")
    assert wrong == []


async def test_a_stranger_gets_nothing(site: AccountApp) -> None:
    got: list[str] = []
    for path, method, _ in TABLE:
        status = await ask(site, "stranger", path, method)
        if status != (401 if path.startswith("/api/") else AWAY):
            got.append(f"{method} {path}: {status}")
    assert got == []


async def test_the_table_names_every_route(site: AccountApp) -> None:
    routes: set[tuple[str, str]] = set()
    for route in site.app.routes:
        if isinstance(route, HTTPRoute):
            plain = route.path_format
            for handler in route.route_handlers:
                assert isinstance(handler, HTTPRouteHandler)
                routes |= {(plain, str(method)) for method in handler.http_methods if method != "OPTIONS"}
    named = {(path, method) for path, method, _ in TABLE}
    public = {(path, method) for path in PUBLIC for method in ("GET", "POST")}
    assert {(path, method.split(".")[-1]) for path, method in routes} == named | public


async def test_a_project_one_does_not_see_answers_as_one_that_is_not_there(site: AccountApp) -> None:
    async with site.browser() as browser:
        await browser.sign_in("viewer@example.com")
        hidden = await browser.get("/projects/back-office/settings")
        missing = await browser.get("/projects/no-such-thing/settings")
    assert hidden.status_code == missing.status_code == 404
    names = r"back-office|no-such-thing|[0-9a-f]{16}|value=\"[\w-]{60,}\"|content=\"[\w-]{60,}\""
    assert re.sub(names, "X", hidden.text) == re.sub(names, "X", missing.text)


async def test_lists_show_ones_own_projects_alone(site: AccountApp) -> None:
    async with site.browser() as browser:
        await browser.sign_in("viewer@example.com")
        page = await browser.get("/projects")
    assert "Web shop" in page.text
    assert "Back office" not in page.text


async def test_an_unknown_address_keeps_the_navigation_of_whoever_is_signed_in(site: AccountApp) -> None:
    async with site.browser() as browser:
        await browser.sign_in("viewer@example.com")
        named = re.compile(r"back-office|no-such-thing|[0-9a-f]{16}|content=\"[\w-]{60,}\"|value=\"[\w-]{60,}\"")
        answers = [await browser.get(f"/projects/{slug}/none/such") for slug in ("back-office", "no-such-thing")]
        for answer in answers:
            assert answer.status_code == 404
            assert '<nav class="nav" aria-label="Pages">' in answer.text
            assert 'href="/issues">To the issues</a>' in answer.text
            assert 'href="/users"' not in answer.text  # not a viewer's page
        assert len({named.sub("X", answer.text) for answer in answers}) == 1
        assert (await browser.get("/api/v1/none")).headers["content-type"] == "application/problem+json"
        part = await browser.get("/none", **{"HX-Request": "true"})
        assert part.headers["hx-retarget"] == "#toast"
        await browser.get("/none")
        assert (await browser.post("/sign-out")).status_code == 303  # with the token of that page
        stranger = await browser.get("/none")
    assert stranger.status_code == 404
    assert "<nav" not in stranger.text
    assert "the address is mistyped" in stranger.text
