"""The pages about performance: what they show, where their figures lead, what they refuse."""

from __future__ import annotations

import html
import json
import re
from typing import Any
from urllib.parse import quote

import pytest
from litestar.testing import AsyncTestClient, TestClient

from appliance.accounts.access import Actor, NotFoundError, Role
from appliance.hookspecs import EventFilter, Page
from appliance.model import Batch
from appliance.performance.service import PerformanceService, Span
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import HOUR, NOW, measurement_row
from appliance.testing.visits import visits_dashboard

BASE = "/projects/shop-web/performance"
STRANGER = Actor(user_id=9, email="elsewhere@example.com", role=Role.MEMBER, project_ids=frozenset({2}))

Client = AsyncTestClient[Any]


async def text(client: Client, path: str, **headers: str) -> str:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


async def test_every_vital_stands_with_its_p75_and_its_distribution(client: Client) -> None:
    shown = await text(client, BASE)
    for name in ("LCP", "INP", "CLS", "FCP", "TTFB"):
        assert f"{BASE}/metric?metric={name}" in shown
    assert len(re.findall(r'aria-label="\d+\s%\sgood, \d+\s%\sneeds improvement, \d+\s%\spoor"', shown)) == 5
    assert "/products/:id" in shown
    assert "checkout/render" in shown


async def test_a_metric_shows_its_routes_elements_and_samples(client: Client) -> None:
    shown = await text(client, f"{BASE}/metric?metric=LCP")
    assert "Largest Contentful Paint (LCP)" in shown
    assert "good up to 2.5\u202fs" in shown
    assert "main > img.hero" in shown
    assert "/projects/shop-web/sessions/" in shown
    assert "loadState" in shown
    pages = await text(client, f"{BASE}/metric?metric=LCP&by=page")
    assert "https://shop.example/" in pages


async def test_samples_are_paged_and_chosen_by_rating(client: Client, store: MemoryStore) -> None:
    first = await text(client, f"{BASE}/metric?metric=LCP&rating=needs+improvement")
    values = re.findall(r'<b class="(\w*)" title="[\d.]+ millisecond"', first)
    assert set(values) == {"warn"}
    everything = await text(client, f"{BASE}/metric?metric=LCP")
    more = re.search(r'href="([^"]+cursor=[^"]+)"', everything)
    assert more
    rows = await text(client, f"{more[1]}&part=rows", **{"HX-Request": "true"})
    assert "<html" not in rows
    seen = re.findall(r'title="([\d.]+) millisecond"', everything)
    assert not set(re.findall(r'title="([\d.]+) millisecond"', rows)) & set(seen)


async def test_a_filter_changes_the_figures_and_stands_in_every_link(client: Client) -> None:
    shown = await text(client, f"{BASE}?route=/cart&period=30d")
    assert "route: /cart" in shown
    assert f"{BASE}/metric?period=30d&route=%2Fcart&metric=LCP" in shown
    nothing = await text(client, f"{BASE}?browser=Netscape")
    assert "Nothing was measured" in nothing
    assert "Clear the filters" in nothing


async def test_the_values_of_a_menu_come_by_themselves(client: Client) -> None:
    sheet = await text(client, f"{BASE}/values/route?metric=LCP", **{"HX-Request": "true"})
    assert "<html" not in sheet
    assert f"{BASE}/metric?metric=LCP&route=%2Fcart" in sheet
    assert (await client.get(f"{BASE}/values/nonsense")).status_code == 404


async def test_a_project_without_measurements_says_what_would_be_here(client: Client) -> None:
    shown = await text(client, "/projects/docs/performance")
    assert "Nothing was measured" in shown
    assert "/projects/docs/connect" in shown


@pytest.mark.parametrize(
    "query", ["metric=", "metric=" + "x" * 999, "metric=LCP&rating=nonsense", "metric=%00", "period=x&route=%ff"]
)
async def test_nonsense_in_the_address_is_no_error(client: Client, query: str) -> None:
    assert (await client.get(f"{BASE}/metric?{query}")).status_code == 200


async def test_a_cursor_that_is_not_ours_is_refused_in_words(client: Client) -> None:
    answer = await client.get(f"{BASE}/metric?metric=LCP&cursor=nonsense")
    assert answer.status_code == 400
    assert "first page" in answer.text


async def test_hostile_names_are_text(store: MemoryStore, client: Client) -> None:
    evil = '"><img src=x onerror=alert(1)>/../x'
    row = measurement_row(9_999, metric=evil, route=evil, element=evil, attributes=json.dumps({evil: evil}).encode())
    await store.write(Batch(batch_id=8, measurements=[row]))
    for path in (BASE, f"{BASE}/metric?metric={quote(evil, safe='')}"):
        answer = await client.get(path)
        assert answer.status_code == 200
        assert "<img src=x" not in answer.text
        assert "&lt;img src=x" in answer.text


async def test_the_api_sums_up_by_route(client: Client) -> None:
    answer = await client.get("/api/v1/projects/1/performance?metric=LCP&by_route=true&since=2027-01-01T00:00:00Z")
    items = answer.json()["items"]
    assert {item["route"] for item in items} >= {"/", "/cart"}
    assert all(item["url"] == "" and item["metric"] == "LCP" for item in items)
    one = await client.get("/api/v1/projects/1/performance?metric=LCP&route=/cart&since=2027-01-01T00:00:00Z")
    assert one.json()["items"][0]["samples"] == next(item["samples"] for item in items if item["route"] == "/cart")


async def test_the_api_lists_single_samples(client: Client) -> None:
    since = "since=2027-01-01T00:00:00Z"
    first = (await client.get(f"/api/v1/projects/1/measurements?{since}&metric=CLS&limit=5")).json()
    second = (
        await client.get(f"/api/v1/projects/1/measurements?{since}&metric=CLS&limit=5&cursor={first['next']}")
    ).json()
    assert {one["metric"] for one in first["items"]} == {"CLS"}
    assert not {one["id"] for one in first["items"]} & {one["id"] for one in second["items"]}
    one = first["items"][0]
    assert (one["unit"], one["attributes"]["loadState"]) == ("none", "complete")
    mine = (await client.get(f"/api/v1/projects/1/measurements?{since}&session={one['session_id']}&limit=200")).json()
    assert {sample["session_id"] for sample in mine["items"]} == {one["session_id"]}
    assert {sample["metric"] for sample in mine["items"]} >= {"CLS", "LCP", "INP"}


async def test_nobody_reads_the_measurements_of_a_foreign_project(store: MemoryStore) -> None:
    service = PerformanceService(store)
    where = EventFilter(project_ids=(1,), start=NOW - HOUR)
    for call in (
        service.overview(STRANGER, where, Span(end=NOW, bucket=HOUR)),
        service.metric(STRANGER, where, "LCP", Span(end=NOW, bucket=HOUR)),
        service.samples(STRANGER, where, "LCP", Page()),
        service.values(STRANGER, where, "route"),
        service.describe(STRANGER, where, "own"),
        service.summaries(STRANGER, where, (), limit=5),
    ):
        with pytest.raises(NotFoundError):
            await call


def test_a_page_of_a_project_that_is_not_there_is_not_found(store: MemoryStore) -> None:
    with TestClient(visits_dashboard(store)) as client:
        assert client.get("/projects/nowhere/performance").status_code == 404
