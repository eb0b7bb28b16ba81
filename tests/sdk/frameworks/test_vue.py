"""A Vue application in a real browser: an error arrives with its components, its props when asked for, and the route."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

APP = Path(__file__).parent / "vue"
DEADLINE = 30


async def test_an_error_of_a_component_arrives_with_its_components_and_route(
    browser: Any, built: Callable[..., str], monitor: Any
) -> None:
    running, owner = monitor
    page = await browser.new_page()
    await page.goto(f"{built(APP)}?dsn={running.url}/v2/{owner.key}")
    await page.click("text=An order")
    await page.click("text=Forget the price")
    await expect(page.locator("#own")).to_have_text("own handler: no price in EUR")
    async with asyncio.timeout(DEADLINE):
        while not (found := running.get(f"/api/v1/projects/{owner.project_id}/issues", owner.token)["items"]):
            await asyncio.sleep(0.2)
    assert [issue["event_count"] for issue in found] == [1]
    summary = running.get(f"/api/v1/issues/{found[0]['id']}/events", owner.token)["items"][0]
    payload = running.get(f"/api/v1/events/{summary['id']}", owner.token)["event"]
    vue = payload["contexts"]["vue"]
    assert vue["component"] == "PriceTag"
    assert [line.strip() for line in vue["componentStack"].strip().splitlines()][:2] == ["at PriceTag", "at OrderPage"]
    assert vue["props"] == {"currency": "EUR", "lines": "[object Array]"}
    assert payload["transaction"] == "/orders/:id"
    assert payload["exceptions"][-1]["mechanism"] == "vue"
