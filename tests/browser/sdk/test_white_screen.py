"""White screens in Chromium against the running appliance: pages that show something, and white ones.

All pages are open at once, each with the SDK as one script element; what is asserted is what the API and the dashboard
show of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from appliance.testing.running import Owner
from tests.browser.pages.serving import HERE, World, until, world

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

# Quick, in the order of the defaults: an empty page is reported 1.4 s after it loaded, one that loads after 4.4.
QUICK = {"delay": 400, "interval": 500, "retries": 2}
SHOWS = [f"shows/{path.name}" for path in sorted((HERE / "shows").glob("*.html"))]
# Page → why it is white, and what began the looks.
WHITE = {
    "white/empty_root.html": ("empty_root", "load"),
    "white/removed_after_error.html": ("empty_root", "error"),
    "white/stuck_skeleton.html": ("skeleton", "load"),
    "white/stuck_mask.html": ("loading_mask", "load"),
    "white/own_mask.html": ("loading_mask", "load"),
    "white/only_background.html": ("background", "load"),
    "white/css_hides_all.html": ("hidden", "load"),
    "white/transparent.html": ("hidden", "load"),
    "white/covered.html": ("hidden", "load"),
    "white/script_failed.html": ("empty_root", "load"),
    "white/empty_shadow.html": ("background", "error"),
    "white/another-route": ("background", "route"),
    "white/root_empty_between.html": ("empty_root", "load"),
    "white/below_the_fold.html": ("empty_root", "load"),
}
ENTRY = {"white/another-route": "white/empty_route.html"}  # where one comes to it from


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("white")) as made:
        for path in [*SHOWS, *WHITE, *ENTRY.values()]:
            made.options[path] = {"whiteScreen": QUICK}
        made.options["white/own_mask.html"] = {"whiteScreen": {**QUICK, "loading": [".please-wait"]}}
        made.options["white/root_empty_between.html"] = {"whiteScreen": {**QUICK, "roots": ["#shop"]}}
        yield made


def white_screens(pages: World) -> dict[str, dict[str, Any]]:
    """The issues of white screens, by the path of their page."""
    issues = pages.get("issues?limit=100&state=all")["items"]
    prefix = "White screen on /"
    return {one["title"].removeprefix(prefix): one for one in issues if one["title"].startswith(prefix)}


def report(pages: World, issue: dict[str, Any]) -> dict[str, Any]:
    """What the SDK said of the white screen."""
    [event] = pages.running.get(f"/api/v1/issues/{issue['id']}/events", pages.owner.token)["items"]
    found = pages.running.get(f"/api/v1/events/{event['id']}", pages.owner.token)
    return found["event"]["contexts"]["white_screen"]


async def open_all(browser: Browser, pages: World, paths: list[str]) -> dict[str, Page]:
    context = await browser.new_context(viewport={"width": 1280, "height": 800})

    async def one(path: str) -> Page:
        page = await context.new_page()
        if path == "shows/print_view.html":
            await page.emulate_media(media="print")
        await page.goto(pages.page(ENTRY.get(path, path)))
        return page

    return dict(zip(paths, await asyncio.gather(*map(one, paths)), strict=True))


async def test_every_white_page_is_reported_once_and_none_that_shows_something(browser: Browser, pages: World) -> None:
    shown = await open_all(browser, pages, SHOWS)
    await open_all(browser, pages, list(WHITE))
    await until(lambda: set(WHITE) <= set(white_screens(pages)), lambda: set(WHITE) - set(white_screens(pages)))
    # The pages that show something were opened before, so that their last look is over. Each says now that it is well.
    for path, page in shown.items():
        seen = await page.evaluate("condev.checkWhiteScreen()?.reason")
        assert seen == ("hidden" if path == "shows/print_view.html" else ""), path
        await page.evaluate("condev.captureMessage('This page shows something'); condev.flush()")
    await until(
        lambda: any(
            one["title"].startswith("This page shows") and one["event_count"] == len(shown)
            for one in pages.get("issues?limit=100&state=all")["items"]
        ),
        lambda: "the last word of each page",
    )
    found = white_screens(pages)
    assert sorted(found) == sorted(WHITE)
    assert {path: issue["event_count"] for path, issue in found.items() if issue["event_count"] != 1} == {}
    said = {path: report(pages, issue) for path, issue in found.items()}
    assert {path: (one["reason"], one["trigger"]) for path, one in said.items()} == WHITE

    assert all(len(one["points"]) == 25 for one in said.values())
    assert said["white/empty_root.html"]["empty"] == 25
    assert said["white/empty_root.html"]["root"] == "div#root"
    assert said["white/empty_root.html"]["dom"]["root_children"] == 0
    assert said["white/stuck_skeleton.html"]["waiting"].endswith("div.skeleton")
    [error] = said["white/removed_after_error.html"]["last_errors"]
    assert (error["type"], error["value"]) == ("TypeError", "cart is undefined")
    assert any(
        "bundle-of-an-older-release.js" in one["url"] for one in said["white/script_failed.html"]["failed_resources"]
    )


async def test_a_white_page_that_somebody_leaves_is_reported_with_its_error(browser: Browser, pages: World) -> None:
    path = "white/left_early.html"
    pages.served[path] = (HERE / "white" / "removed_after_error.html").read_text("utf-8")
    # The second look would come after a minute: nobody waits for that.
    pages.options[path] = {"whiteScreen": {"delay": 100, "interval": 60_000}}
    page = await browser.new_page()
    await page.goto(pages.page(path))
    await page.wait_for_function("condev.checkWhiteScreen()?.reason === 'empty_root'")
    await page.wait_for_timeout(500)  # the round's first look
    await page.goto("about:blank")
    issue = await until(lambda: white_screens(pages).get(path), lambda: path)
    said = report(pages, issue)
    assert said["looks"] == 2
    assert said["last_errors"][0]["value"] == "cart is undefined"


async def test_the_dashboard_says_why_the_page_was_white(browser: Browser, pages: World) -> None:
    path = "white/looked_at.html"
    pages.served[path] = (HERE / "white" / "only_background.html").read_text("utf-8")
    pages.options[path] = {"whiteScreen": QUICK}
    page = await browser.new_page()
    await page.goto(pages.page(path))
    issue = await until(lambda: white_screens(pages).get(path), lambda: path)
    await page.goto(f"{pages.running.url}/sign-in")
    await page.fill("input[name=email]", Owner.EMAIL)
    await page.fill("input[type=password]", Owner.PASSWORD)
    await page.click("button[type=submit]")
    await page.get_by_role("heading", name="Issues").wait_for()
    await page.goto(f"{pages.running.url}/issues/{issue['id']}")
    said = await page.locator("#white-screen").inner_text()
    assert "Nothing but backgrounds is seen." in said
    assert "25 empty" in said
