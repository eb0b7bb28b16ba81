"""What was not kept: by reason and kind, in words; who may see it."""

from __future__ import annotations

import html
from typing import Any

import pytest
from litestar.testing import AsyncTestClient

from appliance.accounts.access import Actor, NotFoundError, Role
from appliance.hookspecs import EventFilter
from appliance.outcomes.service import OutcomeService
from appliance.testing.reference_store import MemoryStore

BASE = "/projects/shop-web/outcomes"
STRANGER = Actor(user_id=9, email="elsewhere@example.com", role=Role.MEMBER, project_ids=frozenset({2}))

Client = AsyncTestClient[Any]


async def text(client: Client, path: str) -> str:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return html.unescape(answer.text)


async def test_what_sdks_dropped_stands_beside_what_the_appliance_dropped(client: Client) -> None:
    shown = await text(client, BASE)
    assert "By the SDK, in browsers" in shown
    assert "sampling left it out" in shown
    assert "3,201" in shown
    assert "By the appliance" in shown
    assert "rate limited" in shown
    assert "never heard of" in shown


async def test_a_project_that_lost_nothing_says_so(client: Client) -> None:
    assert "Everything was kept" in await text(client, "/projects/docs/outcomes")


async def test_the_api_sums_them_up(client: Client) -> None:
    answer = (await client.get("/api/v1/projects/1/outcomes?since=2027-01-01T00:00:00Z")).json()
    assert answer["next"] is None
    assert {"source": "client", "reason": "flood", "category": "error", "quantity": 412} in answer["items"]
    assert (
        await client.get("/api/v1/projects/1/outcomes?since=2027-01-14T23:00:00Z&until=2027-01-14T23:30:00Z")
    ).json()["items"] == []


async def test_nobody_reads_the_drops_of_a_foreign_project(store: MemoryStore) -> None:
    with pytest.raises(NotFoundError):
        await OutcomeService(store).totals(STRANGER, EventFilter(project_ids=(1,)))
