"""Accounts and projects in a real browser: set-up link to first event, with and without script; accessible."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.async_api import expect

from appliance.accounts.access import COMMAND_LINE, Role
from appliance.clock import SystemClock
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel
from appliance.testing.accounts import PASSWORD, AccountApp
from appliance.testing.databases import temporary_database

pytestmark = pytest.mark.browser

STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Only what is wrong leaves the page: all that axe found to be right is a megabyte.
VIOLATIONS = """async tags => {
  const options = {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"]};
  const {violations} = await axe.run(document, options);
  return violations.map((one) => `${one.id}: ${one.nodes[0].html.slice(0, 200)}`);
}"""
OUTSIDE = ("/sign-in", "/sign-in/code", "/forgot-password")
INSIDE = (
    "/account", "/account/security", "/account/sessions", "/account/tokens", "/users", "/users/1", "/users/2",
    "/projects", "/projects/new", "/projects/web-shop/connect", "/projects/web-shop/settings",
    "/projects/web-shop/keys", "/projects/web-shop/members",
)  # fmt: skip


class Running:
    """The application on a port of its own."""

    def __init__(self, made: AccountApp, database: Database) -> None:
        self.made = made
        self.database = database
        self.url = made.site_url

    async def furnish(self) -> None:
        """People, projects and a token, so that no page is empty."""
        await self.made.accounts.setup.create_owner("ada@example.com", PASSWORD, "Ada Lovelace")
        await self.made.accounts.users.invite(COMMAND_LINE, "barbara@example.com", Role.MEMBER, ())
        await self.made.projects.create(COMMAND_LINE, "Web shop")
        await self.made.projects.create(COMMAND_LINE, "Administration of the northern warehouses and their lifts")
        ada = await self.made.accounts.users.find(COMMAND_LINE, "ada@example.com")
        await self.made.accounts.tokens.create(COMMAND_LINE, "Deploy", ["issues:read"], user_id=ada.id)


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    async with temporary_database("sqlite", tmp_path) as database:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        made = AccountApp(database, SystemClock(), tmp_path, site_url=url)
        server = uvicorn.Server(uvicorn.Config(made.app, log_level="error"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)
        yield Running(made, database)
        server.should_exit = True
        await task
        made.accounts.close()


async def sign_in(page: Any, url: str) -> None:
    await page.goto(f"{url}/sign-in")
    await page.get_by_label("Mail address").fill("ada@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()


@pytest.mark.parametrize("script", [True, False], ids=["with script", "without script"])
async def test_from_the_set_up_link_to_the_first_event(browser: Any, running: Running, script: bool) -> None:
    context = await browser.new_context(java_script_enabled=script)
    page = await context.new_page()
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    await page.goto(await running.made.accounts.setup.new_link())
    await page.get_by_label("Mail address").fill("ada@example.com")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill("something else")
    await page.get_by_role("button", name="Create the owner").click()
    await expect(page.get_by_text("The two are not the same")).to_be_visible()
    await expect(page.get_by_label("Mail address")).to_have_value("ada@example.com")
    if script:  # where there is something to mend
        await expect(page.get_by_label("The same again")).to_be_focused()
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Create the owner").click()
    await page.get_by_label("Name", exact=True).fill("Web shop")
    await page.get_by_role("button", name="Create the project").click()
    await expect(page.get_by_text("Waiting for the first event.")).to_be_visible()
    async with running.database.write() as session:
        project = await session.get(ProjectModel, 1)
        assert project is not None
        project.first_event_at = project.last_event_at = SystemClock().now()
    if not script:
        await page.get_by_role("link", name="Look again").click()
    await expect(page.get_by_text("It works.")).to_be_visible()
    assert problems == []


async def test_the_session_cookie_is_out_of_reach_of_scripts(browser: Any, running: Running) -> None:
    await running.furnish()
    page = await browser.new_page()
    await sign_in(page, running.url)
    await page.goto(f"{running.url}/account")
    assert "condev" not in await page.evaluate("document.cookie")
    names = {cookie["name"]: cookie for cookie in await page.context.cookies()}
    assert names["condev_session"]["httpOnly"]
    assert names["condev_session"]["sameSite"] == "Lax"


async def test_a_form_on_another_site_changes_nothing(browser: Any, running: Running) -> None:
    await running.furnish()
    page = await browser.new_page()
    await sign_in(page, running.url)
    form = f'<form method="post" action="{running.url}/account">'
    trap = f'{form}<input name="name" value="Eve"><button>Win</button></form>'
    await page.route("http://evil.test/", lambda route: route.fulfill(content_type="text/html", body=trap))
    await page.goto("http://evil.test/")
    async with page.expect_request(f"{running.url}/account") as sent:
        await page.get_by_role("button", name="Win").click()
    answer = await (await sent.value).response()
    assert answer is None or answer.status in (303, 403)
    found = await running.made.accounts.users.find(COMMAND_LINE, "ada@example.com")
    assert found.name == "Ada Lovelace"


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
async def test_every_page_passes_axe_at_level_aa_and_fits(
    browser: Any, running: Running, axe: str, theme: str, width: int
) -> None:
    await running.furnish()
    found: dict[str, list[str]] = {}
    viewport = {"width": width, "height": 800}
    page = await browser.new_page(color_scheme=theme, viewport=viewport, reduced_motion="reduce")
    for path in (*OUTSIDE, "sign in", *INSIDE):
        if path == "sign in":
            await sign_in(page, running.url)
            continue
        await page.goto(f"{running.url}{path}")
        await page.evaluate(axe)
        wrong = await page.evaluate(VIOLATIONS, STANDARDS)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append("wider than the screen")
        if wrong:
            found[path] = wrong
    assert found == {}
