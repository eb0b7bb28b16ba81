"""The guard in front of every route, over HTTP: sessions, forgeries, CSRF, origins, bearer tokens, redirects."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from litestar import Litestar, get, post

from appliance.accounts.access import COMMAND_LINE, PUBLIC, SCOPE_PERMISSIONS, Permission, requires
from appliance.accounts.forms import local_path
from appliance.accounts.guards import PUBLIC_FORM, AccessPlugin, UndeclaredRouteError, check_routes
from appliance.accounts.tokens import new_csrf_token, new_secret
from appliance.config import Config, Site
from appliance.metadata.database import Database
from appliance.testing.accounts import PASSWORD, SITE, AccountApp, Browser
from appliance.testing.clock import FakeClock

API = "/api/v1/projects"


@pytest.fixture
async def browser(site: AccountApp) -> AsyncIterator[Browser]:
    async with site.browser() as made:
        yield made


async def token_for(site: AccountApp, email: str, *scopes: str) -> str:
    user = await site.accounts.users.find(COMMAND_LINE, email)
    return await site.accounts.tokens.create(COMMAND_LINE, "test", scopes or tuple(SCOPE_PERMISSIONS), user_id=user.id)


# ── sessions ──


async def test_a_planted_session_cookie_is_not_taken_over(site: AccountApp, browser: Browser) -> None:
    planted = new_secret()
    browser.http.cookies.set("condev_session", planted, domain="127.0.0.1", path="/")
    await browser.sign_in("owner@example.com")
    given = [cookie.value for cookie in browser.http.cookies.jar if cookie.name == "condev_session"]
    assert any(value != planted for value in given)
    assert await site.accounts.sessions.actor(planted) is None
    async with site.browser() as attacker:
        attacker.http.cookies.set("condev_session", planted)
        assert (await attacker.get("/account")).status_code == 303


@pytest.mark.parametrize("value", ["", "x", "A" * 43, "../../etc", "%00", '"quoted"', "A" * 5000])
async def test_a_forged_cookie_leads_to_the_sign_in_page(browser: Browser, value: str) -> None:
    answer = await browser.http.get("/account", headers={"Cookie": f"condev_session={value}"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in?next=%2Faccount")


async def test_the_visitor_cookie_signs_nobody_in(browser: Browser) -> None:
    await browser.get("/sign-in")
    visitor = browser.cookie("condev_visitor")
    answer = await browser.http.get("/account", headers={"Cookie": f"condev_session={visitor}"})
    assert answer.status_code == 303


async def test_signing_out_ends_the_session_itself(site: AccountApp, browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    kept = browser.cookie("condev_session")
    await browser.submit("/account", {}, "/sign-out")
    assert browser.cookie("condev_session") == ""
    answer = await browser.http.get("/account", headers={"Cookie": f"condev_session={kept}"})
    assert answer.status_code == 303


async def test_cookies_under_https_are_locked_to_the_host(sqlite: Database, clock: FakeClock, tmp_path: Path) -> None:
    secure = AccountApp(sqlite, clock, tmp_path, site_url="https://monitor.example.com")
    await secure.accounts.setup.create_owner("ada@example.com", PASSWORD)
    async with secure.browser() as browser:
        answer = await browser.sign_in("ada@example.com")
        set_cookies = answer.headers.get_list("set-cookie")
        session = next(line for line in set_cookies if line.startswith("__Host-condev_session="))
        assert {"HttpOnly", "Secure", "Path=/", "SameSite=lax"} <= set(session.split("; "))
        assert "domain" not in session.lower()
        assert (await browser.get("/account")).status_code == 200
        plain = await browser.http.get(
            "/account", headers={"Cookie": f"condev_session={browser.cookie('__Host-condev_session')}"}
        )
        assert plain.status_code == 303  # a cookie that any sub-domain could plant is not read


# ── CSRF ──

FORMS = [("/account", {"name": "Ada"}), ("/account/sessions/revoke-others", {}), ("/sign-out", {})]


@pytest.mark.parametrize(("path", "fields"), FORMS)
async def test_a_change_without_a_token_is_refused(browser: Browser, path: str, fields: dict[str, str]) -> None:
    await browser.sign_in("owner@example.com")
    browser.token = ""
    assert (await browser.post(path, fields)).status_code == 403
    assert (await browser.get("/account")).status_code == 200  # still signed in: nothing was done


@pytest.mark.parametrize(
    "forge",
    [
        lambda _cookie: "nonsense",
        lambda _cookie: "é",
        lambda _cookie: new_csrf_token(new_secret()),
        lambda cookie: new_csrf_token(cookie)[:-2] + "AA",
        lambda cookie: new_csrf_token(cookie)[:20],
        lambda cookie: cookie,
    ],
)
async def test_a_token_that_is_not_of_this_session_is_refused(browser: Browser, forge: Callable[[str], str]) -> None:
    await browser.sign_in("owner@example.com")
    browser.token = forge(browser.cookie("condev_session"))
    assert (await browser.post("/account", {"name": "Eve"})).status_code == 403


async def test_the_token_of_another_user_is_refused(site: AccountApp, browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    async with site.browser() as other:
        await other.sign_in("viewer@example.com")
        await other.get("/account")
        browser.token = other.token
    assert (await browser.post("/account", {"name": "Eve"})).status_code == 403


async def test_the_token_of_the_page_before_signing_in_opens_nothing_after(browser: Browser) -> None:
    await browser.get("/sign-in")
    before = browser.token
    await browser.post("/sign-in", {"email": "owner@example.com", "password": PASSWORD})
    browser.token = before
    assert (await browser.post("/account", {"name": "Eve"})).status_code == 403


async def test_signing_somebody_else_in_from_another_site_is_refused(browser: Browser) -> None:
    fields = {"email": "owner@example.com", "password": PASSWORD}
    assert (await browser.post("/sign-in", fields)).status_code == 403  # no cookie, no token
    await browser.get("/sign-in")
    browser.token = new_csrf_token(new_secret())
    assert (await browser.post("/sign-in", fields)).status_code == 403
    assert browser.cookie("condev_session") == ""


async def test_htmx_sends_the_token_as_a_header(browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    page = await browser.get("/account")
    meta = re.search(r'<meta name="csrf-token" content="([^"]+)">', page.text)
    assert meta is not None
    answer = await browser.http.post(
        "/account", data={"name": "Ada"}, headers={"X-CSRFToken": meta[1], "HX-Request": "true", "Origin": SITE}
    )
    assert (answer.status_code, answer.headers["hx-redirect"]) == (204, "/account?done=profile")


async def test_the_token_differs_on_each_page_and_all_of_them_work(browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    await browser.get("/account")
    first = browser.token
    await browser.get("/account")
    assert browser.token != first
    browser.token = first
    assert (await browser.post("/account", {"name": "Ada"})).status_code == 303


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8001"},
        {"Origin": "http://127.0.0.1:99999"},
        {"Origin": SITE, "Sec-Fetch-Site": "cross-site"},
        {"Origin": SITE, "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_from_another_origin_is_refused_even_with_the_token(
    browser: Browser, headers: dict[str, str]
) -> None:
    await browser.sign_in("owner@example.com")
    await browser.get("/account")
    assert (await browser.post("/account", {"name": "Eve"}, **headers)).status_code == 403


async def test_json_from_a_page_needs_the_header_too(browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    answer = await browser.http.post("/account", json={"name": "Eve"}, headers={"Origin": SITE})
    assert answer.status_code == 403


async def test_a_form_larger_than_any_of_ours_is_refused(browser: Browser) -> None:
    await browser.get("/sign-in")
    assert (await browser.post("/sign-in", {"email": "x" * 200_000})).status_code == 413


# ── API ──


async def test_the_api_takes_no_cookies(browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    answer = await browser.http.get(API)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"].startswith("application/problem+json")


@pytest.mark.parametrize("path", [API, "/api//v1/projects", "/api/v1/projects/"])
async def test_the_api_answers_a_bearer_and_needs_no_csrf_token(site: AccountApp, browser: Browser, path: str) -> None:
    bearer = {"Authorization": f"Bearer {await token_for(site, 'owner@example.com')}"}
    assert (await browser.http.get(path, headers=bearer)).status_code == 200
    assert (await browser.http.post(path, json={"name": "By token"}, headers=bearer)).status_code == 201


async def test_pages_take_no_bearer(site: AccountApp, browser: Browser) -> None:
    bearer = {"Authorization": f"Bearer {await token_for(site, 'owner@example.com')}"}
    for path in ("/projects", "/account", "/users"):
        assert (await browser.http.get(path, headers=bearer)).status_code == 303


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer cdm_" + "A" * 43])
async def test_a_wrong_bearer_is_told_what_to_do(browser: Browser, header: str) -> None:
    answer = await browser.http.get(API, headers={"Authorization": header})
    assert answer.status_code == 401
    assert "token" in answer.json()["detail"]


async def test_a_token_does_no_more_than_its_scopes(site: AccountApp, browser: Browser) -> None:
    bearer = {"Authorization": f"Bearer {await token_for(site, 'owner@example.com', 'projects:read')}"}
    assert (await browser.http.get(API, headers=bearer)).status_code == 200
    answer = await browser.http.post(API, json={"name": "No"}, headers=bearer)
    assert answer.status_code == 403
    assert "lacks the scope" in answer.json()["detail"]
    other = {"Authorization": f"Bearer {await token_for(site, 'owner@example.com', 'issues:read')}"}
    assert (await browser.http.get(API, headers=other)).status_code == 403


# ── redirects, addresses, declarations ──


@pytest.mark.parametrize(
    "hostile",
    ["https://evil.example", "//evil.example", "/\\evil.example", "\\\\evil", "/\t/evil", " /x", "javascript:alert(1)",
     "/a\r\nSet-Cookie: x=y", "", "/sign-out", "/api/v1/projects", "/" + "x" * 3000],
)  # fmt: skip
async def test_signing_in_leads_to_our_own_pages_alone(browser: Browser, hostile: str) -> None:
    await browser.get("/sign-in")
    answer = await browser.post("/sign-in", {"email": "owner@example.com", "password": PASSWORD, "next": hostile})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_signing_in_leads_where_one_wanted_to_go(browser: Browser) -> None:
    first = await browser.get("/projects/web-shop/keys?x=1&y=2")
    answer = await browser.get(first.headers["location"])
    assert 'value="/projects/web-shop/keys?x=1&amp;y=2"' in answer.text
    assert local_path("/projects/web-shop/keys?x=1&y=2") == "/projects/web-shop/keys?x=1&y=2"


async def test_addresses_are_believed_from_trusted_proxies_alone(
    sqlite: Database, clock: FakeClock, tmp_path: Path
) -> None:
    behind = AccountApp(sqlite, clock, tmp_path, config=Config(site=Site(trusted_proxies=["10.0.0.0/8"])))
    await behind.accounts.setup.create_owner("ada@example.com", PASSWORD)
    found: list[str] = []
    for peer in ("10.0.0.1", "203.0.113.9"):
        async with behind.browser(peer) as browser:
            browser.http.headers["X-Forwarded-For"] = "198.51.100.7"
            await browser.sign_in("ada@example.com")
            actor = await behind.accounts.sessions.actor(browser.cookie("condev_session"))
            assert actor is not None
            found.append(next(s.address for s in await behind.accounts.sessions.list(actor) if s.current))
    assert found == ["198.51.100.7", "203.0.113.9"]


async def test_a_route_that_says_nothing_about_access_does_not_start(site: AccountApp) -> None:
    @get("/forgotten")
    async def forgotten() -> str:
        return "secret"

    @get("/both", opt={**requires(Permission.ISSUES_READ), **PUBLIC})
    async def both() -> str:
        return "secret"

    app = Litestar(
        [forgotten, both], plugins=[AccessPlugin(site.accounts, SITE)], openapi_config=None, logging_config=None
    )
    with pytest.raises(UndeclaredRouteError, match=r"(?s)/forgotten.*requires.*/both"):
        check_routes(app)
    with pytest.raises(ExceptionGroup) as caught:
        async with app.lifespan():
            pass
    assert isinstance(caught.value.exceptions[0], UndeclaredRouteError)


async def test_every_route_of_accounts_and_projects_says_who_may_use_it(site: AccountApp) -> None:
    check_routes(site.app)


async def test_a_public_route_that_changes_something_needs_a_token_too(
    sqlite: Database, clock: FakeClock, tmp_path: Path
) -> None:
    done: list[str] = []

    @post("/open", opt=PUBLIC_FORM)
    async def open_to_all() -> None:
        done.append("x")

    made = AccountApp(sqlite, clock, tmp_path, handlers=[open_to_all])
    async with made.browser() as browser:
        assert (await browser.post("/open")).status_code == 403
    assert done == []


async def test_pages_carry_the_headers_that_keep_hostile_text_quiet(browser: Browser) -> None:
    answer = await browser.get("/sign-in")
    policy = answer.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "<script>" not in answer.text
    assert "style=" not in answer.text
