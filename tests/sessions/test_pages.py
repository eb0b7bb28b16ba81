"""The pages about sessions: the list, one session with its page views, gaps and events; who may see them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from appliance.accounts.access import Actor, NotFoundError, Role
from appliance.hookspecs import EventFilter, Page
from appliance.model import Batch
from appliance.sessions.service import SessionService
from appliance.testing.dashboard import MadeUpIssues
from appliance.testing.reference_store import MemoryStore
from appliance.testing.rows import (
    HOUR,
    NOW,
    SECOND,
    event_row,
    hex_id,
    measurement_row,
    page_view_row,
    replay_segment_row,
    session_row,
)

BASE = "/projects/shop-web/sessions"
STRANGER = Actor(user_id=9, email="elsewhere@example.com", role=Role.MEMBER, project_ids=frozenset({2}))
MINE = hex_id(1)

Client = AsyncTestClient[Any]


async def text(client: Client, path: str, **headers: str) -> str:
    answer = await client.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


@pytest.fixture
async def visit(store: MemoryStore) -> str:
    """A session in project 3: two page views, the second with a gap, an error in each; its id."""
    here: dict[str, Any] = {"project_id": 3, "session_id": MINE, "received_at": NOW}
    first, second = hex_id(21), hex_id(22)
    at = NOW - HOUR // 2
    await store.write(
        Batch(
            batch_id=99,
            sessions=[
                session_row(1, started=at, timestamp=at + 1, status="ok", **here),
                session_row(2, started=at, timestamp=at + 90 * SECOND, status="crashed", errors=2,
                            user_id="ada", **here),
            ],
            page_views=[
                page_view_row(
                    3, page_view_id=second, timestamp=at + 60 * SECOND, route="/cart", url="https://s.example/cart",
                    last_sequence=41, sequences=list(range(1, 39)), envelope_id=hex_id(31), **here,
                ),
                page_view_row(
                    4, page_view_id=first, timestamp=at, route="/", url="javascript:alert(1)", title="<b>Shop</b>",
                    last_sequence=2, sequences=[1, 2], envelope_id=hex_id(32), **here,
                ),
            ],
            events=[
                event_row(5, page_view_id=first, timestamp=at + SECOND, title="An <i>error</i>",
                          replay_id=hex_id(3), **here),
                event_row(6, page_view_id=hex_id(77), timestamp=at + 2 * SECOND, group_hash=7, title="Stray", **here),
            ],
            measurements=[
                measurement_row(7, page_view_id=second, timestamp=at + 61 * SECOND, value=5_000.0,
                                rating="poor", **here),
                measurement_row(8, page_view_id=second, metric="long_task", value=80.0, rating="",
                                timestamp=at, **here),
            ],
            replay_segments=[
                replay_segment_row(9, replay_id=hex_id(4), started=at, timestamp=at + 5 * SECOND, **here),
                replay_segment_row(10, replay_id=hex_id(5), started=at, timestamp=at + 5 * SECOND,
                                   **here | {"session_id": hex_id(2)}),
            ],
        )
    )  # fmt: skip
    return MINE


async def test_the_list_shows_who_visited_what_and_how_it_ended(client: Client) -> None:
    shown = await text(client, BASE)
    assert len(re.findall("<tr data-row>", shown)) > 10
    assert "crashed" in shown
    assert "3 reports never arrived" in shown
    assert "Reports that never arrived" in shown


async def test_sessions_of_a_user_a_route_a_release(client: Client) -> None:
    everything = await text(client, f"{BASE}?period=7d")
    user = re.search(r'\?period=7d&user=(u-\d+)"', everything)
    assert user
    mine = await text(client, f"{BASE}?period=7d&user={user[1]}")
    assert set(re.findall(r'title="(u-\d+): sessions', mine)) == {user[1]}
    assert f"user: {user[1]}" in mine
    crashed = await text(client, f"{BASE}?period=7d&status=crashed")
    rows = crashed.partition('id="rows"')[2].partition("</table>")[0]
    assert set(re.findall(r'<span class="tag \w*">(\w+)</span>', rows)) == {"crashed"}
    nothing = await text(client, f"{BASE}?release=none")
    assert "No session matches" in nothing


async def test_more_sessions_follow_by_cursor(client: Client, store: MemoryStore) -> None:
    rows = [
        session_row(100 + n, session_id=hex_id(100 + n), started=NOW - n * SECOND, timestamp=NOW, received_at=NOW)
        for n in range(60)
    ]
    await store.write(Batch(batch_id=55, sessions=rows))
    first = await text(client, f"{BASE}?period=1h")
    more = re.search(r'href="([^"]+cursor=[^"]+)"', first)
    assert more
    rest = await text(client, f"{more[1]}&part=rows", **{"HX-Request": "true"})
    assert "<html" not in rest
    linked = [set(re.findall(rf'{BASE}/([0-9a-f]+)"', part)) for part in (first, rest)]
    assert len(linked[0]) == 50
    assert not linked[0] & linked[1]
    assert hex_id(159) in linked[1]


async def test_a_session_shows_its_page_views_in_order_with_what_happened_in_each(client: Client, visit: str) -> None:
    answer = await client.get(f"/projects/docs/sessions/{visit}")
    assert answer.status_code == 200
    assert "<b>Shop</b>" not in answer.text
    assert 'href="javascript:' not in answer.text
    shown = html.unescape(answer.text)
    assert (
        shown.index(f'id="v-{hex_id(21)}"')
        < shown.index(f'id="v-{hex_id(22)}"')
        < shown.index("Outside of any page view")
    )
    assert "3 of 41 reports never arrived" in shown
    assert "2 reports, all arrived" in shown
    assert "3 of 43 reports never arrived" in shown  # of the session
    assert f"/issues/1/events/{hex_id(6)}" in shown
    assert f"/replays/{hex_id(3)}" in shown  # by its error
    assert f"/replays/{hex_id(4)}" in shown  # by its segments alone
    assert re.search(rf">▶ Watch {hex_id(4)[:8]}</a>\s*<span [^>]*>5\u202fs from 0\u202fs on</span>", shown)
    assert f"/replays/{hex_id(5)}" not in shown
    assert "5\u202fs" in shown
    assert "poor" in shown
    assert "long task" in shown
    assert "Stray" in shown
    assert "crashed" in shown
    assert "ada" in shown


async def test_a_session_of_another_project_is_not_found(client: Client, visit: str) -> None:
    assert (await client.get(f"{BASE}/{visit}")).status_code == 404
    assert (await client.get(f"{BASE}/nothing")).status_code == 404
    assert (await client.get(f"/api/v1/projects/1/sessions/{visit}")).status_code == 404


async def test_the_api_tells_of_sessions_and_their_page_views(client: Client, visit: str) -> None:
    since = "since=2027-01-01T00:00:00Z"
    listed = (await client.get(f"/api/v1/projects/3/sessions?{since}")).json()
    one = (await client.get(f"/api/v1/projects/3/sessions/{visit}")).json()
    assert listed == {"items": [one], "next": None}
    assert (one["status"], one["errors"], one["user_id"], one["page_views"], one["missing"]) == (
        "crashed",
        2,
        "ada",
        2,
        3,
    )
    views = (await client.get(f"/api/v1/projects/3/page-views?{since}&session={visit}")).json()["items"]
    assert [(view["route"], view["captured"], view["arrived"], view["missing"]) for view in views] == [
        ("/cart", 41, 38, 3),
        ("/", 2, 2, 0),
    ]
    page = (await client.get(f"/api/v1/projects/3/page-views?{since}&limit=1")).json()
    assert len(page["items"]) == 1
    assert page["next"]


async def test_nobody_reads_the_sessions_of_a_foreign_project(store: MemoryStore) -> None:
    service = SessionService(store, MadeUpIssues(NOW))
    where = EventFilter(project_ids=(1,), start=NOW - HOUR)
    for call in (
        service.list(STRANGER, where, Page()),
        service.page_views(STRANGER, where, Page()),
        service.counts(STRANGER, where),
        service.get(STRANGER, 1, hex_id(5000)),
        service.detail(STRANGER, 1, hex_id(5000), NOW),
        service.values(STRANGER, where, "route"),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_what_a_visit_that_goes_on_has_not_sent_yet_is_not_called_lost(
    client: Client, store: MemoryStore
) -> None:
    here: dict[str, Any] = {"project_id": 3, "session_id": hex_id(2), "received_at": NOW}
    view = page_view_row(1, timestamp=NOW - SECOND, last_sequence=9, sequences=[1, 2], envelope_id=hex_id(4), **here)
    going_on = session_row(2, started=NOW - SECOND, timestamp=NOW, **here)
    await store.write(Batch(batch_id=77, sessions=[going_on], page_views=[view]))
    for path in ("/projects/docs/sessions", f"/projects/docs/sessions/{hex_id(2)}"):
        shown = await text(client, path)
        assert "not arrived yet" in shown
        assert "never arrived" not in shown.replace("Reports that never arrived", "")
