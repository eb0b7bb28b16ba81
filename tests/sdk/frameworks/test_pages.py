"""Pages of React 19, React 18 and Vue in a real browser: what breaks arrives once, with the components it came through.

One file, because one appliance serves them all.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

EXAMPLE = Path(__file__).parents[3] / "examples" / "react"
VUE = Path(__file__).parent / "vue"
VERSIONS = {19: None, 18: {"react": "react18", "react-dom": "react-dom18"}}
DEADLINE = 60


@pytest.fixture(scope="module")
def addresses(built: Callable[..., str]) -> dict[int, str]:
    return {version: built(EXAMPLE, alias) for version, alias in VERSIONS.items()}


@pytest.fixture(params=[19, 18])
async def page(
    request: pytest.FixtureRequest, browser: Any, addresses: dict[int, str], monitor: Any
) -> AsyncIterator[Any]:
    running, owner = monitor
    tab = await browser.new_page()
    tab.version = request.param
    await tab.goto(f"{addresses[request.param]}?dsn={running.url}/v2/{owner.key}")
    yield tab
    await tab.close()


async def event_of(monitor: Any, words: str, seen: int) -> dict[str, Any]:
    """The newest event with these words in its issue's title, once there are more than `seen` of them."""
    running, owner = monitor
    async with asyncio.timeout(DEADLINE):
        while count_of(monitor, words) <= seen:
            await asyncio.sleep(0.2)
    newest = issues_with(monitor, words)[0]["id"]  # the list begins with what was seen last
    event = running.get(f"/api/v1/issues/{newest}/events?limit=1", owner.token)["items"][0]
    return running.get(f"/api/v1/events/{event['id']}", owner.token)


def issues_with(monitor: Any, words: str) -> list[dict[str, Any]]:
    """Another version of React is another stack, and so another issue."""
    running, owner = monitor
    found = running.get(f"/api/v1/projects/{owner.project_id}/issues", owner.token)["items"]
    return [issue for issue in found if words in issue["title"]]


def count_of(monitor: Any, words: str) -> int:
    """How often it was seen so far."""
    return sum(issue["event_count"] for issue in issues_with(monitor, words))


def components(event: dict[str, Any]) -> list[str]:
    """The lines of the component stack that lie in the page's own bundle."""
    stack = event["event"]["contexts"]["react"]["componentStack"]
    return re.findall(r"^\s*at .*assets/index-.*\.js:\d+:\d+", stack, re.MULTILINE)


async def test_a_boundary_shows_its_fallback_reports_and_tries_again(page: Any, monitor: Any) -> None:
    seen = count_of(monitor, "price")
    await page.click("text=Forget the price")
    shown = page.get_by_role("alert")
    await expect(shown).to_contain_text("The price could not be shown")
    short = await shown.locator("code").inner_text()
    event = await event_of(monitor, "price", seen)
    assert event["id"].startswith(short)
    assert len(components(event)) >= 3  # PriceTag, Price, App
    assert event["event"]["tags"]["part"] == "price"
    assert event["event"]["exceptions"][-1]["mechanism"] == "react.boundary"
    await page.click("text=Try again")
    await expect(page.get_by_role("heading", name="Price")).to_be_visible()


async def test_an_error_of_a_promise_goes_to_the_boundary_and_is_reported(page: Any, monitor: Any) -> None:
    seen = count_of(monitor, "courier")
    await page.click("text=Where is it?")
    await expect(page.get_by_role("alert")).to_contain_text("The delivery could not be shown")
    event = await event_of(monitor, "courier", seen)
    assert components(event)
    assert event["event"]["transaction"] == "/orders/:id"


async def test_what_no_boundary_caught_is_reported_once(page: Any, monitor: Any) -> None:
    seen = count_of(monitor, "lost itself")
    await page.click("text=Lose the whole page")
    await expect(page.locator("main")).to_have_count(0)  # React took everything away
    event = await event_of(monitor, "lost itself", seen)
    assert event["event"]["exceptions"][-1]["handled"] is False
    if page.version >= 19:  # earlier ones tell nobody but the window
        assert components(event)
    # Its neighbours were sent with it: were it there twice, it would be there twice now.
    await page.close()
    assert count_of(monitor, "lost itself") == seen + 1


async def test_an_error_of_a_vue_component_arrives_with_its_components_and_route(
    browser: Any, built: Callable[..., str], monitor: Any
) -> None:
    running, owner = monitor
    page = await browser.new_page()
    await page.goto(f"{built(VUE)}?dsn={running.url}/v2/{owner.key}")
    await page.click("text=An order")
    await page.click("text=Forget the price")
    await expect(page.locator("#own")).to_have_text("own handler: no price in EUR")
    event = (await event_of(monitor, "no price in EUR", 0))["event"]
    vue = event["contexts"]["vue"]
    assert vue["component"] == "PriceTag"
    assert [line.strip() for line in vue["componentStack"].strip().splitlines()][:2] == ["at PriceTag", "at OrderPage"]
    assert vue["props"] == {"currency": "EUR", "lines": "[object Array]"}
    assert event["transaction"] == "/orders/:id"
    assert event["exceptions"][-1]["mechanism"] == "vue"
    assert count_of(monitor, "no price in EUR") == 1
