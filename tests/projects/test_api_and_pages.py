"""Projects over HTTP: the JSON API's shapes and paging, and the pages from creating to the first event."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from appliance.accounts.access import COMMAND_LINE, SCOPE_PERMISSIONS
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel
from appliance.testing.accounts import PASSWORD, AccountApp, Browser
from appliance.testing.clock import FakeClock
from appliance.testing.databases import temporary_database


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    async with temporary_database("sqlite", tmp_path) as database:
        yield database


@pytest.fixture
async def site(sqlite: Database, clock: FakeClock, tmp_path: Path) -> AsyncIterator[AccountApp]:
    made = AccountApp(sqlite, clock, tmp_path)
    await made.accounts.setup.create_owner("ada@example.com", PASSWORD)
    yield made
    made.accounts.close()


@pytest.fixture
async def api(site: AccountApp) -> AsyncIterator[httpx.AsyncClient]:
    ada = await site.accounts.users.find(COMMAND_LINE, "ada@example.com")
    token = await site.accounts.tokens.create(COMMAND_LINE, "test", list(SCOPE_PERMISSIONS), user_id=ada.id)
    async with site.browser() as browser:
        browser.http.headers["Authorization"] = f"Bearer {token}"
        yield browser.http


@pytest.fixture
async def browser(site: AccountApp) -> AsyncIterator[Browser]:
    async with site.browser() as made:
        await made.sign_in("ada@example.com")
        yield made


async def test_a_project_is_created_read_and_listed(api: httpx.AsyncClient) -> None:
    made = await api.post("/api/v1/projects", json={"name": "Web shop"})
    assert made.status_code == 201
    body = made.json()
    assert body["dsn"] == f"http://{body['key']}@127.0.0.1:8000/{body['id']}"
    assert body["condev_dsn"] == f"http://127.0.0.1:8000/tracking/{body['key']}"
    assert (body["slug"], body["name"], body["event_count"], body["first_event_at"]) == (
        "web-shop",
        "Web shop",
        0,
        None,
    )
    assert (await api.get(f"/api/v1/projects/{body['id']}")).json() == body
    assert (await api.get("/api/v1/projects")).json() == {"items": [body], "next": None}


async def test_the_list_is_paged(api: httpx.AsyncClient) -> None:
    for number in range(5):
        await api.post("/api/v1/projects", json={"name": f"Project {9 - number}"})
    seen: list[int] = []
    cursor: str | None = None
    pages = 0
    while True:
        query = {"limit": "2"} if cursor is None else {"limit": "2", "cursor": cursor}
        page = (await api.get("/api/v1/projects", params=query)).json()
        seen += [item["id"] for item in page["items"]]
        pages += 1
        cursor = page["next"]
        if cursor is None:
            break
    assert (seen, pages) == ([1, 2, 3, 4, 5], 3)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 121},
        {"name": 1},
        {"name": "x", "owner": True},
        {"name": "x", "slug": "Bad"},
        [],
    ],
)
async def test_a_bad_body_is_refused_with_a_reason(api: httpx.AsyncClient, body: object) -> None:
    answer = await api.post("/api/v1/projects", json=body)
    assert answer.status_code in (400, 422)
    assert answer.json()["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "cursor=x", "cursor=-1", "cursor=" + "1" * 30])
async def test_a_bad_query_is_refused(api: httpx.AsyncClient, query: str) -> None:
    assert (await api.get(f"/api/v1/projects?{query}")).status_code in (400, 422)


@pytest.mark.parametrize("project_id", ["999", "0", "-1", "x", "9" * 30])
async def test_a_project_that_is_not_there(api: httpx.AsyncClient, project_id: str) -> None:
    assert (await api.get(f"/api/v1/projects/{project_id}")).status_code in (400, 404)


async def test_from_creating_to_the_first_event(browser: Browser, sqlite: Database, clock: FakeClock) -> None:
    assert "No projects yet" in (await browser.get("/projects")).text
    made = await browser.submit("/projects/new", {"name": "Web shop"}, "/projects")
    assert made.headers["location"] == "/projects/web-shop/connect"
    page = await browser.get("/projects/web-shop/connect")
    assert "@sentry/browser" in page.text
    assert "Waiting for the first event" in page.text
    assert 'hx-get="/projects/web-shop/waiting"' in page.text
    async with sqlite.write() as session:
        row = await session.get(ProjectModel, 1)
        assert row is not None
        row.first_event_at = row.last_event_at = clock.now()
        row.event_count = 1
    part = await browser.get("/projects/web-shop/waiting", **{"HX-Request": "true"})
    assert "It works." in part.text
    keys = (await browser.get("/projects/web-shop/keys")).text
    for address in ("/v2/", "/tracking/"):  # of our SDK, and of the earlier one
        assert re.search(rf"<code data-copied>http://127\.0\.0\.1:8000{address}[0-9a-f]{{32}}</code>", keys)
    assert "hx-get" not in part.text  # it stops asking
    assert "<html" not in part.text


async def test_a_form_with_an_error_loses_nothing(browser: Browser) -> None:
    await browser.submit("/projects/new", {"name": "Web shop"}, "/projects")
    wrong = await browser.submit(
        "/projects/web-shop/settings",
        {"name": "Renamed", "allowed_origins": "shop.example.com", "requests_per_second": "5", "settings": "{"},
    )
    assert wrong.status_code == 422
    for kept in ('value="Renamed"', ">shop.example.com</textarea>", 'value="5"', ">{</textarea>"):
        assert kept in wrong.text
    assert "needs a scheme" in wrong.text
    assert "checked" not in wrong.text  # replay was switched off in what was sent
    assert "Web shop" in (await browser.get("/projects")).text


async def test_a_name_that_is_markup_stays_text(browser: Browser) -> None:
    await browser.submit("/projects/new", {"name": "<b onclick=x>Shop</b>"}, "/projects")
    for path in ("/projects", "/projects/b-onclick-x-shop-b/connect", "/projects/b-onclick-x-shop-b/settings"):
        page = await browser.get(path)
        assert page.status_code == 200
        assert "<b onclick" not in page.text


async def test_deleting_asks_for_the_name_and_says_so(browser: Browser) -> None:
    await browser.submit("/projects/new", {"name": "Web shop"}, "/projects")
    wrong = await browser.submit("/projects/web-shop/settings", {"confirm": "no"}, "/projects/web-shop/delete")
    assert wrong.status_code == 422
    assert "Type web-shop to delete it." in wrong.text
    done = await browser.post("/projects/web-shop/delete", {"confirm": "web-shop"})
    assert done.headers["location"] == "/projects?done=deleted"
    assert (await browser.get("/projects/web-shop/settings")).status_code == 404
