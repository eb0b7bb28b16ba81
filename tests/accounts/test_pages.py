"""The pages of accounts over HTTP: whole flows, errors beside the field with nothing lost, links shown once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html import unescape
from urllib.parse import urlsplit

import pyotp
import pytest

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.metadata.database import Database
from appliance.testing.accounts import PASSWORD, SITE, AccountApp, Browser
from appliance.testing.clock import FakeClock


@pytest.fixture
async def browser(site: AccountApp) -> AsyncIterator[Browser]:
    async with site.browser() as made:
        yield made


def link_on(page: str) -> str:
    found = re.search(rf"{re.escape(SITE)}(/(?:invitation|reset)/[\w-]+)", page)
    assert found is not None
    return found[1]


async def test_the_first_run_by_link(sqlite: Database, clock: FakeClock, tmp_path) -> None:
    fresh = AccountApp(sqlite, clock, tmp_path)
    path = urlsplit(await fresh.accounts.setup.new_link()).path
    async with fresh.browser() as browser:
        assert "condev init" in (await browser.get("/sign-in")).text
        wrong = await browser.submit(
            path, {"email": "ada@example.com", "name": "Ada", "password": "x", "repeated": "x"}
        )
        assert wrong.status_code == 422
        assert 'value="ada@example.com"' in wrong.text
        assert 'aria-invalid="true"' in wrong.text
        done = await browser.submit(
            path, {"email": "ada@example.com", "name": "Ada", "password": PASSWORD, "repeated": PASSWORD}
        )
        assert (done.status_code, done.headers["location"]) == (303, "/projects/new")
        assert (await browser.get("/users")).status_code == 200
        assert (await browser.get(path)).status_code == 404
        assert "condev init" not in (await browser.get("/sign-in")).text


async def test_a_wrong_password_keeps_the_address_and_shows_no_password(browser: Browser) -> None:
    answer = await browser.submit("/sign-in", {"email": "owner@example.com", "password": "wrong wrong"})
    assert answer.status_code == 422
    assert 'value="owner@example.com"' in answer.text
    assert "wrong wrong" not in answer.text
    assert "The address or the password is wrong." in answer.text


async def test_known_and_unknown_addresses_get_the_same_pages(browser: Browser) -> None:
    def plain(text: str) -> str:
        text = re.sub(r'(name="_csrf_token" value|name="csrf-token" content)="[^"]+"', "", text)
        return re.sub(r"(owner|nobody)@example\.com", "X", text)

    pages: list[list[str]] = []
    for email in ("owner@example.com", "nobody@example.com"):
        signed = await browser.submit("/sign-in", {"email": email, "password": "wrong wrong"})
        forgot = await browser.submit("/forgot-password", {"email": email})
        assert (signed.status_code, forgot.status_code) == (422, 200)
        pages.append([plain(signed.text), plain(forgot.text)])
    assert pages[0] == pages[1]


async def test_asking_for_resets_without_end_is_throttled_for_any_address(site: AccountApp) -> None:
    for email in ("owner@example.com", "nobody@example.com"):
        async with site.browser() as browser:
            statuses = [(await browser.submit("/forgot-password", {"email": email})).status_code for _ in range(6)]
        assert statuses == [200, 200, 200, 200, 429, 429]


async def test_a_throttled_sign_in_says_how_long_to_wait(browser: Browser) -> None:
    for _ in range(10):
        await browser.submit("/sign-in", {"email": "owner@example.com", "password": "wrong wrong"})
    answer = await browser.sign_in("owner@example.com")
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) > 0
    assert "Wait 15 minutes" in answer.text


async def test_an_invitation_from_the_page_to_being_in(site: AccountApp, browser: Browser) -> None:
    await browser.sign_in("admin@example.com")
    shown = await browser.submit("/users", {"email": "new@example.com", "role": "member", "projects": ["1"]})
    path = link_on(shown.text)
    assert "Not mailed: Mail is not set up." in shown.text
    assert path not in (await browser.get("/users")).text  # shown once
    async with site.browser() as guest:
        page = await guest.get(path)
        assert "new@example.com" in page.text
        mistyped = await guest.post(path, {"name": "New", "password": PASSWORD, "repeated": "else"})
        assert mistyped.status_code == 422
        assert 'value="New"' in mistyped.text
        joined = await guest.post(path, {"name": "New", "password": PASSWORD, "repeated": PASSWORD})
        assert (joined.status_code, joined.headers["location"]) == (303, "/")
        assert "Web shop" in (await guest.get("/projects")).text
        assert "Back office" not in (await guest.get("/projects")).text
    async with site.browser() as second:
        used = await second.get(path)
        assert used.status_code == 404
        assert "ask whoever invited you" in used.text
        assert 'href="/sign-in">Sign in</a>' in used.text
        await second.get("/sign-in")
        again = await second.post(path, {"password": PASSWORD, "repeated": PASSWORD})
        assert again.status_code == 404


async def test_a_reset_link_from_the_users_page(site: AccountApp, browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    viewer = await site.accounts.users.find(COMMAND_LINE, "viewer@example.com")
    shown = await browser.submit(f"/users/{viewer.id}", {}, f"/users/{viewer.id}/link")
    path = link_on(shown.text)
    async with site.browser() as theirs:
        done = await theirs.submit(path, {"password": "a brand new one", "repeated": "a brand new one"})
        assert done.headers["location"] == "/sign-in?done=reset"
        assert (await theirs.sign_in("viewer@example.com", "a brand new one")).headers["location"] == "/"
        assert 'href="/forgot-password">Ask for a new link</a>' in (await theirs.get(path)).text


async def test_a_second_factor_from_the_page_to_signing_in_with_it(
    site: AccountApp, browser: Browser, clock: FakeClock
) -> None:
    await browser.sign_in("member@example.com")
    page = await browser.get("/account/security")
    secret = re.search(r'name="secret" value="([A-Z2-7]{32})"', page.text)
    assert secret is not None
    totp = pyotp.TOTP(secret[1])
    wrong = await browser.post(
        "/account/two-factor", {"secret": secret[1], "code": "000000", "current_password": PASSWORD}
    )
    assert wrong.status_code == 422
    assert secret[1] in wrong.text  # the app need not be set up again
    await browser.post(
        "/account/two-factor",
        {"secret": secret[1], "code": totp.at(clock.now() // 1_000_000), "current_password": PASSWORD},
    )
    clock.advance(60)
    async with site.browser() as phone:
        step = await phone.submit(
            "/sign-in", {"email": "member@example.com", "password": PASSWORD, "next": "/projects"}
        )
        assert step.headers["location"] == "/sign-in/code?next=%2Fprojects"
        assert phone.cookie("condev_session") == ""
        await phone.get(step.headers["location"])
        assert (await phone.post("/sign-in/code", {"code": "000000"})).status_code == 422
        done = await phone.post("/sign-in/code", {"code": totp.at(clock.now() // 1_000_000), "next": "/projects"})
        assert done.headers["location"] == "/projects"
        assert phone.cookie("condev_challenge") == ""
        assert (await phone.get("/projects")).status_code == 200


async def test_a_code_without_a_password_before_it_leads_back(browser: Browser) -> None:
    answer = await browser.submit("/sign-in/code", {"code": "123456"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


async def test_a_token_is_shown_once(browser: Browser) -> None:
    await browser.sign_in("member@example.com")
    made = await browser.submit("/account/tokens", {"name": "Deploy", "scopes": ["projects:read"], "days": "30"})
    token = re.search(r"cdm_[\w-]{43}", made.text)
    assert token is not None
    call = f'curl -H "Authorization: Bearer {token[0]}" "{SITE}/api/v1/projects"'
    assert call in unescape(made.text)
    listed = await browser.get("/account/tokens")
    assert token[0] not in listed.text
    assert token[0][:12] in listed.text
    lost = await browser.submit("/account/tokens", {"name": "", "scopes": ["issues:write"], "days": "365"})
    assert lost.status_code == 422
    assert re.search(r'value="issues:write" checked', lost.text)
    assert '<option value="365" selected>' in lost.text


async def test_a_changed_password_keeps_this_browser_in_and_ends_the_others(site: AccountApp, browser: Browser) -> None:
    await browser.sign_in("member@example.com")
    before = browser.cookie("condev_session")
    async with site.browser() as other:
        await other.sign_in("member@example.com")
        fields = {"current_password": PASSWORD, "new_password": "a brand new one", "repeated": "a brand new one"}
        done = await browser.submit("/account/security", fields, "/account/password")
        assert done.headers["location"] == "/account/security?done=password"
        assert browser.cookie("condev_session") != before
        assert (await browser.get("/account")).status_code == 200
        assert (await other.get("/account")).status_code == 303


async def test_hostile_names_stay_text(site: AccountApp, browser: Browser) -> None:
    hostile = "<img src=x onerror=alert(1)>\"'{{7*7}}"
    await browser.sign_in("member@example.com")
    await browser.submit("/account", {"name": hostile, "timezone": ""})
    page = await browser.get("/account")
    assert "<img src=x" not in page.text
    assert hostile in unescape(page.text)
    async with site.browser() as owner:
        await owner.sign_in("owner@example.com")
        assert "<img src=x" not in (await owner.get("/users")).text


@pytest.mark.parametrize("path", ["/users/0", "/users/99999999999999999999999", "/users/-1", "/users/x"])
async def test_users_that_cannot_be_are_not_found(browser: Browser, path: str) -> None:
    await browser.sign_in("owner@example.com")
    assert (await browser.get(path)).status_code in (400, 404)


async def test_ids_beyond_what_a_column_holds_are_not_found(browser: Browser) -> None:
    await browser.sign_in("owner@example.com")
    await browser.get("/account")
    huge = 10**30
    for path in (f"/users/{huge}/link", f"/account/sessions/{huge}/revoke", f"/account/tokens/{huge}/revoke"):
        assert (await browser.post(path)).status_code in (400, 404)
    answer = await browser.post("/projects/web-shop/members", {"user": str(huge), "member": "yes"})
    assert answer.status_code == 422


async def test_the_role_menu_offers_owner_to_owners_alone(site: AccountApp) -> None:
    for who, offered in (("owner", True), ("admin", False)):
        async with site.browser() as browser:
            await browser.sign_in(f"{who}@example.com")
            assert ('<option value="owner">' in (await browser.get("/users")).text) is offered
    assert Role.OWNER == "owner"
