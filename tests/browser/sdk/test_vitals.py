"""Web vitals and the page's work in Chromium against the running appliance: what is stored is what was measured.

The page runs the `web-vitals` library beside the SDK, and keeps what that says; the two must agree, whatever ends the
page. What is stored is read from the API: one page, one metric, one sample.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.pages.serving import HERE, World, until, world

pytestmark = [pytest.mark.browser, pytest.mark.timeout(240)]

LIBRARY = HERE.parents[2] / "sdk" / "node_modules" / "web-vitals" / "dist" / "web-vitals.iife.js"
VITALS = {"CLS", "INP", "LCP", "FCP", "TTFB"}
ROUNDING = {"CLS": 0.0001}  # the others: a tenth of a millisecond


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    if not LIBRARY.exists():
        pytest.skip("the SDK's packages are not installed")
    with world(tmp_path_factory.mktemp("vitals")) as made:
        made.served["vitals/web-vitals.js"] = LIBRARY.read_text("utf-8")
        yield made


@pytest.fixture
async def context(browser: Browser) -> BrowserContext:
    return await browser.new_context(viewport={"width": 1000, "height": 700})


async def shop(context: BrowserContext, pages: World, name: str) -> Page:
    """The page that shifts, under a name of its own, with the vitals chunk at work."""
    pages.served[f"vitals/{name}"] = (HERE / "vitals" / "shifts.html").read_text("utf-8")
    page = await context.new_page()
    await page.goto(pages.page(f"vitals/{name}"))
    await page.wait_for_function("window.condevChunks?.vitals")
    await page.wait_for_timeout(300)  # the browser hands over what it kept
    return page


async def use(page: Page) -> None:
    """Shifts, then a slow click, then shifts again: the last ones shortly before the page ends."""
    await page.evaluate("shift(60)")
    await page.wait_for_timeout(1200)  # another session window of layout shifts
    await page.click("#buy")
    await page.wait_for_timeout(800)  # shifts right after a click do not count
    await page.evaluate("shift(120)")
    await page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def stored(pages: World, name: str) -> dict[str, dict[str, Any]]:
    """Metric → its figures, of one page."""
    items = pages.get("performance?by_url=true&limit=200")["items"]
    return {one["metric"]: one for one in items if one["url"].endswith(f"/vitals/{name}")}


def interaction(pages: World, name: str) -> dict[str, Any] | None:
    """The INP of a page, once it is there."""
    return stored(pages, name).get("INP")


async def agreed(context: BrowserContext, pages: World, name: str) -> dict[str, Any]:
    """What is stored of a page, once it is what the library said there."""
    door = await context.new_page()
    await door.goto(pages.page("vitals/web-vitals.js"))
    text = await door.evaluate(f"localStorage.getItem('/vitals/{name}')")
    said = {metric: list(values.values()) for metric, values in json.loads(text).items()}

    def differing() -> list[str]:
        found = stored(pages, name)
        return [
            f"{metric}: {values} by the library, {found.get(metric)} stored"
            for metric, values in said.items()
            if metric not in found
            or found[metric]["samples"] != 1
            or abs(found[metric]["p50"] - values[-1]) > ROUNDING.get(metric, 0.1)
        ]

    assert set(said) == VITALS
    await until(lambda: not differing(), differing)
    return stored(pages, name)


async def test_vitals_are_what_the_library_says_when_the_tab_is_closed(context: BrowserContext, pages: World) -> None:
    page = await shop(context, pages, "closed.html")
    await use(page)
    await page.close(run_before_unload=True)
    found = await agreed(context, pages, "closed.html")
    assert found["CLS"]["p50"] > 0.01  # the earlier SDK lost this one
    assert found["INP"]["p50"] >= 180
    assert found["load"]["p50"] > 0


async def test_vitals_are_what_the_library_says_when_another_page_follows(
    context: BrowserContext, pages: World
) -> None:
    page = await shop(context, pages, "followed.html")
    await use(page)
    await page.goto("about:blank")
    await agreed(context, pages, "followed.html")


async def test_a_later_value_takes_the_place_of_what_was_sent_when_the_page_was_hidden(
    context: BrowserContext, pages: World
) -> None:
    page = await shop(context, pages, "hidden.html")
    await page.evaluate("shift(40)")
    await page.wait_for_timeout(300)
    await page.evaluate(
        """() => {
          Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
          document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
        }"""
    )
    first = await until(lambda: stored(pages, "hidden.html").get("CLS"), lambda: "the first value")
    await page.evaluate(
        """() => {
          delete document.visibilityState;
          document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
        }"""
    )
    await use(page)
    await page.close(run_before_unload=True)
    last = (await agreed(context, pages, "hidden.html"))["CLS"]
    assert (first["samples"], last["samples"]) == (1, 1)
    assert last["p50"] > first["p50"]


async def test_each_soft_navigation_has_values_of_its_own_route(context: BrowserContext, pages: World) -> None:
    page = await shop(context, pages, "soft.html")
    await use(page)
    await page.click("#next")
    await page.wait_for_timeout(1500)
    await page.click("#more")
    await page.wait_for_timeout(300)
    await page.close(run_before_unload=True)
    first, second = [
        await until(partial(interaction, pages, name), partial(stored, pages, name))
        for name in ("soft.html", "second-page")
    ]
    assert (first["samples"], second["samples"]) == (1, 1)
    assert first["p50"] >= 180  # of "Buy", where "Next" was quicker
    assert second["p50"] >= 130  # of "More"


async def test_frames_resources_marks_and_loading_are_stored(context: BrowserContext, pages: World) -> None:
    pages.options["vitals/work.html"] = {
        "performance": {"jank": True, "marks": ["shop."], "slowResource": 300},
        "release": "work@1",
    }
    page = await context.new_page()
    slow = "<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>"

    async def answer(route: Any) -> None:
        await page.wait_for_timeout(600)
        await route.fulfill(content_type="image/svg+xml", body=slow)

    await page.route("**/slow.svg", answer)
    await page.goto(pages.page("vitals/work.html"))
    await page.wait_for_function("window.condevChunks?.idle")
    await page.wait_for_timeout(1500)  # the window of frames after load is over
    await page.click("#search")
    await page.wait_for_function("heavy.left < 0")
    await page.wait_for_timeout(200)
    await page.close(run_before_unload=True)
    wanted = {"load", "long_frame", "low_fps", "jank", "resource_slow", "shop.search", "shop.ready"}
    await until(lambda: wanted <= set(stored(pages, "work.html")), lambda: wanted - set(stored(pages, "work.html")))
    found = stored(pages, "work.html")
    assert "framework-internal" not in found
    assert found["long_frame"]["samples"] == 1
    assert found["long_frame"]["p50"] >= 130
    assert found["low_fps"]["p50"] < 40
    assert found["jank"]["p50"] >= 100
    assert found["resource_slow"]["p50"] >= 600
    assert found["shop.search"]["p50"] >= 60
