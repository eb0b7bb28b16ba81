"""Every button of the example page, in Chromium against the running appliance: what the API and the dashboard show.

One appliance and one signed-in browser for the whole file; each test presses the buttons of one group.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.error import HTTPError

import pytest
from playwright.async_api import Browser, Page, expect

from appliance.testing.running import Owner, RunningAppliance

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

DEADLINE = 60  # seconds for the pipeline, on a machine that does other things, too
ARRIVED = 30_000  # ms

# Button → words of the issue's title, its kind.
EVENTS = {
    "typeError": ("reading 'valueOf'", "error"),
    "rejection": ("Suggestions are not available", "error"),
    "plainRejection": ("code, retryAfter", "error"),
    "chain": ("Payment of 42 failed", "error"),
    "aggregate": ("All promises were rejected", "error"),
    "recursion": ("Maximum call stack", "error"),
    "timer": ("The offer has ended", "error"),
    "notAnError": ("cart is locked", "error"),
    "handled": ("JSON", "error"),
    "console": ("The price list is empty", "message"),
    "numbers": ("was rejected after", "message"),
    "fingerprint": ("timed out", "error"),
    "hostile": ("onerror=alert", "error"),
    "long": ("A very long message", "error"),
    "failed": ("answered 500", "error"),
    "unreachable": ("127.0.0.1:9/stock failed", "error"),
    "message": ("Price list is older than a day", "message"),
    "trail": ("Nobody came to the door", "error"),
    "user": ("Grace signed in", "message"),
}


class World:
    """The appliance, and what its API says about the example's project."""

    def __init__(self, running: RunningAppliance, owner: Owner) -> None:
        self.running = running
        self.owner = owner
        self.pages = f"{running.url}/projects/{owner.project['slug']}"

    def get(self, path: str) -> Any:
        """Of the project's part of the API."""
        return self.running.get(f"/api/v1/projects/{self.owner.project_id}/{path}", self.owner.token)

    def issue(self, words: str) -> dict[str, Any] | None:
        """The issue with these words in its title."""
        return next((one for one in self.get("issues?limit=100")["items"] if words in one["title"]), None)

    def event(self, address: str) -> dict[str, Any] | None:
        """The event that a card leads to, with what was sent; None until it was processed."""
        try:
            return self.running.get(f"/api/v1/events/{address.rpartition('/')[2]}", self.owner.token)
        except HTTPError as error:
            if error.code == 404:
                return None
            raise


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = RunningAppliance(tmp_path_factory.mktemp("example") / "data", role="demo")
    owner = Owner(running, project="Example shop")  # the demo takes the one that is there
    with running:
        yield World(running, owner)


@pytest.fixture
async def page(browser: Browser, world: World) -> AsyncIterator[Page]:
    """The example page, ready, in a browser that is signed in to the dashboard."""
    context = await browser.new_context()
    door = await context.new_page()
    await door.goto(f"{world.running.url}/sign-in")
    await door.fill("input[name=email]", Owner.EMAIL)
    await door.fill("input[type=password]", Owner.PASSWORD)
    await door.click("button[type=submit]")
    await door.get_by_role("heading", name="Issues").wait_for()
    await door.close()
    tab = await context.new_page()
    await tab.goto(f"{world.running.url}/example/")
    await tab.wait_for_selector("html[data-ready]")
    yield tab
    await context.close()


async def until(look: Callable[[], Any]) -> Any:
    """What the look gives, once it gives something."""
    async with asyncio.timeout(DEADLINE):
        while True:
            found = await asyncio.to_thread(look)
            if found:
                return found
            await asyncio.sleep(0.25)


async def press(page: Page, cause: str) -> str:
    """Press the button, wait until its report was taken, and give the address that its card leads to."""
    await page.click(f'[data-cause="{cause}"]')
    link = page.locator(f'.card:has([data-cause="{cause}"])[data-state="arrived"] .state a')
    await expect(link, cause).to_be_visible(timeout=ARRIVED)
    return str(await link.get_attribute("href"))


async def reported(page: Page, world: World, cause: str) -> dict[str, Any]:
    """Press the button; the event that became of it."""
    address = await press(page, cause)
    return await until(lambda: world.event(address))


async def dashboard_says(page: Page, address: str, words: str) -> None:
    """Open a page of the dashboard, again and again, until it has these words: the pipeline may still be at it."""
    tab = await page.context.new_page()
    text = ""
    try:
        async with asyncio.timeout(DEADLINE):
            while words not in text:
                await tab.goto(address)
                text = await tab.locator("main").inner_text()
    except TimeoutError:
        pytest.fail(f"{address} does not say {words!r}, but:\n{text[:2000]}")
    await tab.close()


async def test_every_kind_of_event_becomes_an_issue_that_its_card_leads_to(page: Page, world: World) -> None:
    links = {cause: await press(page, cause) for cause in EVENTS}
    for cause, (words, kind) in EVENTS.items():
        event = await until(lambda cause=cause: world.event(links[cause]))
        assert (event["kind"], words in event["title"]) == (kind, True), (cause, event["title"])
        issue = await until(lambda words=words: world.issue(words))
        assert issue["id"] == event["issue_id"]
        await dashboard_says(page, links[cause], words)
    entry = page.locator("#wire > li").last
    await expect(entry).to_contain_text("answered 200")
    await entry.locator("summary").click()
    await expect(entry.locator("pre")).to_contain_text('"page_view"')


async def test_an_event_says_what_the_page_knew(page: Page, world: World) -> None:
    chain = await reported(page, world, "chain")
    thrown = [(one["type"], one["value"]) for one in chain["event"]["exceptions"]]
    assert thrown == [("TypeError", "network connection was lost"), ("Error", "Payment of 42 failed")]
    assert len(chain["event"]["exceptions"][-1]["frames"]) >= 2

    trail = await reported(page, world, "trail")
    crumbs = trail["event"]["breadcrumbs"]
    assert {"courier rang twice", "The courier is late"} <= {one["message"] for one in crumbs}
    assert any(one["category"] == "click" and "trail" in one["message"] for one in crumbs)

    await press(page, "user")
    event = (await reported(page, world, "handled"))["event"]
    assert event["user"]["id"] == "customer-8841"
    assert event["tags"].items() >= {"plan": "plus", "part": "recommendations", "shop": "example"}.items()
    assert event["contexts"]["cart"] == {"items": 2, "currency": "EUR"}
    assert event["exceptions"][-1]["handled"] is True
    assert event["release"] == "example-shop@1.0.0"


async def test_what_did_not_load_is_known_by_its_element_and_without_secrets(page: Page, world: World) -> None:
    failed = await reported(page, world, "failed")
    assert failed["event"]["request"]["method"] == "GET"
    assert "4111" not in json.dumps(failed)
    assert failed["event"]["contexts"]["response"]["status_code"] == 500
    for cause, kind, words in (
        ("picture", "resource_error", "no-such-picture.png"),
        ("script", "resource_error", "chunk-417.js"),
        ("csp", "csp", "pictures.example.org"),
    ):
        address = await press(page, cause)
        event = await until(lambda address=address: world.event(address))
        assert event["kind"] == kind, cause
        assert words in json.dumps(event["event"]), cause
        await dashboard_says(page, address, words)
    facts = {"custom": "order placed", "feedback": "The kettle is nice"}
    for kind, words in facts.items():
        event = await reported(page, world, kind)
        assert (event["kind"], words in json.dumps(event)) == (kind, True)


async def test_how_the_page_feels_is_measured_until_it_is_left(page: Page, world: World) -> None:
    await page.goto(f"{world.running.url}/example/?release=feel@1.0.0")  # what follows is this page's alone
    await page.wait_for_selector("html[data-ready]")
    for cause in ("mark", "slowRequest", "slowPicture"):
        await press(page, cause)
    await page.click('[data-cause="longTask"]')
    await page.click('[data-cause="hang"]')
    await page.click('[data-cause="shift"]')
    await page.wait_for_selector(".banner")
    await page.wait_for_timeout(300)  # the shift is measured in the frame after
    await page.goto("about:blank")
    wanted = {"LCP", "INP", "CLS", "FCP", "TTFB", "checkout", "request_slow", "resource_slow"}

    def measured() -> dict[str, Any] | None:
        found = {one["metric"]: one for one in world.get("performance?release=feel@1.0.0")["items"]}
        return found if wanted <= found.keys() and {"long_task", "long_frame"} & found.keys() else None

    found = await until(measured)
    assert found["INP"]["p75"] >= 350
    assert found["CLS"]["p75"] > 0.01
    assert 100 <= found["checkout"]["p75"] < 2000
    assert found["request_slow"]["p75"] >= 2900
    for metric in ("CLS", "INP", "checkout"):
        await dashboard_says(page, f"{world.pages}/performance/metric?metric={metric}", metric)


async def test_a_page_that_stays_white_says_so_afterwards(page: Page, world: World) -> None:
    await page.click('[data-cause="white"]')
    link = page.get_by_role("link", name="See it on the dashboard")
    await expect(link).to_be_visible(timeout=ARRIVED)
    address = str(await link.get_attribute("href"))
    event = await until(lambda: world.event(address))
    assert event["kind"] == "white_screen"
    assert event["event"]["contexts"]["white_screen"]["points"]
    await dashboard_says(page, address, "White screen")
    await page.get_by_role("link", name="Back to the shop").click()
    await page.wait_for_selector("html[data-ready]")
    await expect(page.locator("#wire .earlier").filter(has_text="white screen")).to_have_count(1)


async def test_a_route_is_a_page_view_and_a_checkout_a_trace(page: Page, world: World) -> None:
    session = (await press(page, "route")).rpartition("/")[2]

    def both() -> list[dict[str, Any]] | None:
        found = [one for one in world.get("page-views")["items"] if one["session_id"] == session]
        return found if len(found) > 1 else None

    views = await until(both)
    assert any("#/product/" in one["url"] for one in views)
    trace = await press(page, "span")
    await dashboard_says(page, trace, "payment")
    await dashboard_says(page, f"{world.pages}/sessions/{session}", "/example/")
    names = {one["name"] for one in world.get("spans")["items"]}
    assert "checkout" in names


async def test_a_replay_can_be_watched(page: Page, world: World) -> None:
    await page.click('[data-cause="replay"]')
    await expect(page.locator('.card:has([data-cause="replay"]) .state')).to_contain_text("recording")
    await page.get_by_label("Add Kettle to the cart").click()
    await page.get_by_label("Add Cup to the cart").click()
    await page.wait_for_timeout(1500)  # something to watch
    await page.goto("about:blank")  # what was recorded goes with the page
    replays = await until(lambda: world.get("replays")["items"])
    assert "/example/" in json.dumps(replays[0])
    await dashboard_says(page, f"{world.pages}/replays", "/example/")


async def test_what_was_said_offline_arrives_when_the_cable_is_back(page: Page, world: World) -> None:
    await page.click('[data-cause="offline"]')
    await expect(page.locator('.card:has([data-cause="offline"]) .state')).to_contain_text("offline")
    address = await press(page, "offline")
    event = await until(lambda: world.event(address))
    assert "Said while offline" in event["title"]
    issue = await until(lambda: world.issue("Said while offline"))
    assert issue["event_count"] == 1


async def test_a_flood_is_counted_and_not_sent(page: Page, world: World) -> None:
    await press(page, "flood")
    await page.goto("about:blank")  # what was held back is told at the end
    await dashboard_says(page, f"{world.pages}/outcomes", "flood")
    issue = await until(lambda: world.issue("Stock service is busy"))
    assert 1 <= issue["event_count"] <= 10
    told = [one for one in world.get("outcomes")["items"] if one["reason"] == "flood"]
    assert sum(one["quantity"] for one in told) + issue["event_count"] == 200
