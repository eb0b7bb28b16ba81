"""The pages in a real browser: accessible in both themes, nothing wider than the screen, keys, filters, live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from playwright.async_api import expect

from appliance.clock import SystemClock
from appliance.issues.views import Ignore, ResolveNow
from appliance.testing.dashboard import OWNER, VIEWER, MadeUpIssues, dashboard, served

pytestmark = pytest.mark.browser

PAGES = {
    "list": "/issues",
    "list filtered": "/issues?project=shop-web&q=is%3Aall+level%3Aerror",
    "list without a match": "/issues?q=nothing-like-this",
    "event": "/issues/1",
    "event without payload": "/issues/3",
    "issue without events": "/issues/4",
    "occurrences": "/issues/1/events",
    "grouping": "/issues/1/grouping",
    "raw": "/issues/1/events/latest/json",
    "missing": "/issues/99999",
}
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# Only what is wrong leaves the page: all that axe found to be right is a megabyte.
VIOLATIONS = """async tags => {
  const {violations} = await axe.run(document, {runOnly: tags, resultTypes: ["violations"]});
  return violations.flatMap((one) => one.nodes.map((node) =>
    `${one.id}: ${node.html.slice(0, 160)} ${node.failureSummary.slice(0, 200)}`));
}"""


@pytest.fixture
def issues() -> MadeUpIssues:
    return MadeUpIssues(time.time_ns() // 1_000)


@pytest.fixture
def address(issues: MadeUpIssues) -> Iterator[str]:
    # The page's script reads the browser's clock, so the made-up world stands at today.
    with served(dashboard(OWNER, issues, clock=SystemClock())) as url:
        yield url


@pytest.fixture
async def tab(browser: Any) -> AsyncIterator[Any]:
    """A page that fails the test on a script error or a breach of the content security policy."""
    page = await browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda said: problems.append(said.text) if "Content Security Policy" in said.text else None)
    yield page
    await page.close()
    assert not problems


@pytest.mark.parametrize(("theme", "width"), [("light", 1280), ("dark", 390)])
async def test_every_page_passes_axe_at_level_aa(browser: Any, address: str, axe: str, theme: str, width: int) -> None:
    context = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True, reduced_motion="reduce"
    )
    page = await context.new_page()
    found: dict[str, list[str]] = {}
    for name, path in PAGES.items():
        await page.goto(address + path)
        await page.evaluate(axe)
        found[name] = await page.evaluate(VIOLATIONS, STANDARDS)
    assert {name: problems for name, problems in found.items() if problems} == {}


async def test_no_page_is_wider_than_a_phone(browser: Any, address: str) -> None:
    page = await browser.new_page(viewport={"width": 390, "height": 844})
    wide: dict[str, int] = {}
    for name, path in PAGES.items():
        await page.goto(address + path)
        width = await page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[name] = width
    assert wide == {}


async def test_the_pages_read_and_act_without_scripts(browser: Any, address: str, issues: MadeUpIssues) -> None:
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{address}/issues")
    await page.click("text=Show more")
    assert await page.locator("tr[data-row]").count() > 0
    await page.goto(f"{address}/issues")
    await page.locator('input[name="id"]').first.check()
    await page.click('button[value="resolve"]')
    assert issues.done == [((1,), ResolveNow())]
    assert page.url == f"{address}/issues"
    await page.fill("#q", "ChunkLoad")
    await page.press("#q", "Enter")
    assert "q=ChunkLoad" in page.url


async def test_searching_changes_the_list_and_the_address_and_keeps_the_focus(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues")
    await tab.press("body", "/")
    await tab.keyboard.type("ChunkLoad")
    await tab.wait_for_url("**/issues?q=ChunkLoad")
    await expect(tab.locator("tr[data-row]")).to_have_count(3)
    assert await tab.evaluate("document.activeElement.id") == "q"
    await tab.go_back()
    await expect(tab.locator("tr[data-row]")).to_have_count(25)


async def test_a_filter_link_changes_the_text_in_the_search_field(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues")
    await tab.click("text=Environment ▾")
    await tab.click(".sheet >> text=staging")
    await expect(tab.locator("#q")).to_have_value("environment:staging")
    assert "environment%3Astaging" in tab.url


async def test_more_rows_are_added_in_place_and_can_be_selected(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues")
    await tab.click("#more a")
    await expect(tab.locator("tr[data-row]")).to_have_count(27)
    assert await tab.locator("#more").is_hidden()
    await tab.locator('input[name="id"]').last.check()
    assert await tab.locator("[data-picked]").inner_text() == "1 selected"


async def test_keys_move_select_resolve_and_ignore(tab: Any, address: str, issues: MadeUpIssues) -> None:
    await tab.goto(f"{address}/issues")
    first, second = issues.items[0].id, issues.items[1].id
    for key in ("j", "x", "j", "x"):
        await tab.keyboard.press(key)
    assert await tab.locator("[data-picked]").inner_text() == "2 selected"
    await tab.keyboard.press("e")
    await tab.wait_for_selector("#toast >> text=Resolved 2 issues.")
    assert issues.done[-1] == ((first, second), ResolveNow())
    await tab.keyboard.press("j")
    await tab.keyboard.press("i")
    await tab.wait_for_selector("#toast >> text=Ignored 1 issue.")
    assert isinstance(issues.done[-1][1], Ignore)
    await tab.keyboard.press("j")
    await tab.keyboard.press("Enter")
    await tab.wait_for_url("**/issues/*")


async def test_merging_the_selected_keeps_the_one_with_the_most_events(
    tab: Any, address: str, issues: MadeUpIssues
) -> None:
    await tab.goto(f"{address}/issues")
    await tab.locator('input[name="id"][value="2"]').check()
    await tab.locator('input[name="id"][value="1"]').check()
    await tab.click('button[value="merge"]')
    await tab.wait_for_selector("#toast >> text=Merged 1 into #1.")
    assert issues.merged == [(1, (2,))]


async def test_new_issues_are_announced_and_shown_when_asked(tab: Any, address: str, issues: MadeUpIssues) -> None:
    await tab.goto(f"{address}/issues")
    async with asyncio.timeout(20):
        while not issues.feed.listeners:
            await asyncio.sleep(0.05)
    issues.open_one("Error: brand new")
    await tab.wait_for_selector(".live button >> text=1 new issue")
    assert await tab.locator(".live").get_attribute("aria-live") == "polite"
    await tab.click(".live button")
    await tab.wait_for_selector("tr >> text=Error: brand new")


async def test_the_palette_goes_to_a_project_and_help_opens(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues")
    await tab.keyboard.press("?")
    assert await tab.locator("#help").is_visible()
    await tab.keyboard.press("Escape")
    await tab.keyboard.press("Control+k")
    await tab.keyboard.type("admin console issues")
    await tab.keyboard.press("Enter")
    await tab.wait_for_url("**/issues?project=admin")


async def test_brackets_step_through_the_events(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues/1")
    await tab.keyboard.press("[")
    await tab.wait_for_url("**/issues/1/events/" + "b" * 32)


async def test_what_an_event_says_never_becomes_markup(tab: Any, address: str) -> None:
    await tab.goto(f"{address}/issues?q=valid")
    assert await tab.locator("tr >> text=<script>alert").count() > 0
    await tab.goto(f"{address}/issues/1")
    assert await tab.locator("main script, main img, dd b").count() == 0
    links = await tab.eval_on_selector_all("main a[target]", "all => all.map(a => [a.protocol, a.rel])")
    assert links
    assert all(protocol in ("http:", "https:") and "noreferrer" in rel for protocol, rel in links)


async def test_a_viewer_sees_no_way_to_change_an_issue(browser: Any, issues: MadeUpIssues) -> None:
    with served(dashboard(VIEWER, issues, clock=SystemClock())) as url:
        page = await browser.new_page()
        await page.goto(f"{url}/issues")
        assert await page.locator('input[type="checkbox"]').count() == 0
        await page.goto(f"{url}/issues/1/grouping")
        assert await page.locator("main form").count() <= 1
        assert await page.locator("main button").count() == 0
