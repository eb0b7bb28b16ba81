"""The example page for Sentry's SDK in a real browser, with each major version: every button reports what it says.

The page of our own SDK is driven by tests/browser/sdk/test_example.py.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response, post

from appliance.testing.dashboard import served
from appliance.web.example import ExampleConfig, example_router
from appliance.web.live import LiveStreams

pytestmark = pytest.mark.browser

PUBLIC = {"public": True}
EXAMPLE = Path(__file__).parents[2] / "examples" / "vanilla" / "public"  # what the build takes over as it is
# Button → what the report must say, and how many there are.
EXPECTED = {
    "typeError": ("undefined", 1),
    "rejection": ("Suggestions are not available", 1),
    "chain": ("Payment of 42 failed", 1),
    "recursion": ("Maximum call stack", 1),
    "timer": ("The offer has ended", 1),
    "notAnError": ("cart is locked", 1),
    "handled": ("JSON", 1),
    "sameAgain": ("Stock service is busy", 25),
    "numbers": ("was rejected after", 3),
    "fingerprint": ("supplier-timeout", 1),
    "message": ("The cart was emptied", 1),
    "warning": ("Price list is older", 1),
    "network": ("answered 404", 1),
    "resource": ("picture did not load", 1),
    "long": ("A very long message", 1),
    "hostile": ("onerror=alert", 1),
}


class Taken:
    """In the place of ingest: keeps the event items of what arrives."""

    def __init__(self, folder: Path) -> None:
        self.events: list[str] = []
        self._dsn = ""

        @post("/api/1/envelope", opt=PUBLIC, status_code=200)
        async def envelope(request: Request[Any, Any, Any]) -> Response[dict[str, str]]:
            lines = (await request.body()).decode().split("\n")
            for head, body in zip(lines[1::2], lines[2::2], strict=False):
                if json.loads(head).get("type") == "event":
                    self.events.append(body)
            return Response({}, headers={"Access-Control-Allow-Origin": "*"})

        self.app = Litestar(
            [example_router(lambda: ExampleConfig(dsn=self._dsn), PUBLIC, folder), envelope],
            openapi_config=None,
            logging_config=None,
        )
        self.app.state["live"] = LiveStreams()

    def reports_to(self, address: str) -> None:
        """Once the port is known."""
        self._dsn = address.replace("http://", "http://" + "a" * 32 + "@") + "/1"


@pytest.fixture(params=[8, 10, 11])
def example(request: pytest.FixtureRequest, tmp_path: Path, sdk_bundle: Callable[[int], Path]) -> Iterator[Any]:
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder)
    (folder / "index.html").write_text("")  # our own SDK's page, of which this is the neighbour
    (folder / "sentry" / "vendor").mkdir(exist_ok=True)
    shutil.copyfile(sdk_bundle(request.param), folder / "sentry" / "vendor" / "sentry.js")
    taken = Taken(folder)
    with served(taken.app) as address:
        taken.reports_to(address)
        yield taken, f"{address}/example/sentry/"


async def test_every_button_reports_what_it_says(browser: Any, example: Any) -> None:
    taken, address = example
    page = await browser.new_page()
    for cause, (words, count) in EXPECTED.items():
        taken.events.clear()
        await page.goto(address)
        await page.wait_for_selector("html[data-ready]")
        await page.click(f'[data-cause="{cause}"]')
        for _ in range(1000):
            if len(taken.events) >= count:
                break
            await asyncio.sleep(0.02)
        assert len(taken.events) == count, cause
        assert all(words in event for event in taken.events), (cause, taken.events)


async def test_the_next_release_comes_from_the_address(browser: Any, example: Any) -> None:
    taken, address = example
    page = await browser.new_page()
    await page.goto(address)
    await page.wait_for_selector("html[data-ready]")
    await page.click('[data-cause="release"]')
    await page.wait_for_url("**release=example-shop*")
    await page.wait_for_selector("html[data-ready]")
    await page.click('[data-cause="release"]')
    async with asyncio.timeout(20):
        while not taken.events:
            await asyncio.sleep(0.02)
    assert json.loads(taken.events[0])["release"] == "example-shop@1.1.0"
