"""Where a recording ends by itself, and what becomes of its last part: in Chromium, against the running appliance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest
from playwright.async_api import Browser

from tests.browser.pages.serving import HERE, World, until, world
from tests.browser.sdk.test_replay import recording, stored

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

ALWAYS: Final = {"replay": {"maskText": False}, "sampleRates": {"replay": 1}}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("replay-limits") / "site") as made:
        for name in ("recorded-busy.html", "recorded-large.html"):
            made.served[name] = (HERE / "recorded.html").read_text("utf-8")
            made.options[name] = ALWAYS
        yield made


async def test_a_page_that_is_busy_is_recorded_no_longer_which_is_told(browser: Browser, site: World) -> None:
    page = await (await browser.new_context()).new_page()
    await page.goto(site.page("recorded-busy.html"))
    await recording(page)
    assert await page.evaluate("condev.replayId")
    # Seven tenths of each second are one task, as in a page that a recorder makes slower still.
    await page.evaluate(
        "setInterval(() => { for (const end = performance.now() + 700; performance.now() < end; ); }, 1000)"
    )
    await page.wait_for_function("!condev.replayId", timeout=90_000)
    await page.close()

    def told() -> list[dict[str, Any]]:
        return [one for one in site.get("outcomes")["items"] if one["reason"] == "page_slow"]

    (outcome,) = await until(told, lambda: site.get("outcomes")["items"])
    assert (outcome["category"], outcome["source"], outcome["quantity"]) == ("replay", "client", 1)


async def test_a_last_segment_too_large_for_a_closing_tab_comes_with_the_next_page(
    browser: Browser, site: World
) -> None:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(site.page("recorded-large.html"))
    await recording(page)
    replay_id = await page.evaluate("condev.replayId")
    await until(lambda: stored(site, replay_id), lambda: "the first segment")
    # More than the 64 KiB that a browser sends for a page that goes; nobody waits for it to be compressed.
    await page.evaluate("""() => {
      const line = document.createElement("p");
      const word = () => Math.random().toString(36).slice(2, 12);
      line.textContent = `${Array.from({ length: 15000 }, word).join(" ")} the-last-words`;
      document.body.append(line);
      return new Promise((done) => setTimeout(done, 200));
    }""")
    await page.close()
    assert "the-last-words" not in stored(site, replay_id)
    page = await context.new_page()
    await page.goto(site.page("shows/sparse.html"))
    await until(lambda: "the-last-words" in stored(site, replay_id) or None, lambda: "the last segment")
    await context.close()
