"""Issues over the JSON API: shapes, filters, changes, and what a token may not see."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide

from appliance.accounts.access import AccessError, Actor, Role
from appliance.hookspecs import IssueChange
from appliance.issues.api import api_routes
from appliance.issues.service import IssueService
from appliance.issues.views import IssueActionError, IssueNotFoundError
from appliance.model import Event, EventRow, Kind
from appliance.pipeline.rows import payload_of
from appliance.web.errors import handle_missing, handle_refusal, handle_unprocessable

MEMBER = Actor(user_id=2, email="member@example.org", role=Role.MEMBER, project_ids=frozenset({1}))
VIEWER = Actor(user_id=3, email="viewer@example.org", role=Role.VIEWER, project_ids=frozenset({1}))

Happen = Callable[..., Awaitable[list[IssueChange]]]
MakeRow = Callable[..., EventRow]
Client = httpx.AsyncClient


class Acting:
    """Who the next request comes from; the guards that find this out are tried in tests/accounts."""

    actor = MEMBER


@pytest.fixture
def acting() -> Acting:
    return Acting()


@pytest.fixture
async def client(issues: IssueService, acting: Acting) -> AsyncIterator[Client]:
    app = Litestar(
        route_handlers=list(api_routes),
        dependencies={
            "actor": Provide(lambda: acting.actor, sync_to_thread=False),
            "issues": Provide(lambda: issues, sync_to_thread=False),
        },
        exception_handlers={
            IssueNotFoundError: handle_missing,
            IssueActionError: handle_unprocessable,
            AccessError: handle_refusal,
        },
        state=State({}),
        openapi_config=None,
    )
    # Litestar's own test client runs the application in a loop of its own, where a Postgres connection is no good.
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        yield client


async def test_the_list_has_the_shape_that_others_rely_on(client: Client, happen: Happen, event_row: MakeRow) -> None:
    await happen(*[event_row(n) for n in range(1, 4)])
    answer = await client.get("/api/v1/projects/1/issues", params={"limit": 2})
    body = answer.json()
    assert answer.status_code == 200
    assert set(body) == {"items", "next", "partial", "notes"}
    fields = {"id", "title", "state", "level", "event_count", "user_count", "first_seen", "last_seen", "grouping"}
    assert fields <= set(body["items"][0])
    assert body["items"][0]["first_seen"] == "2027-01-15T08:00:00.000Z"
    assert body["items"][0]["grouping"]["method"] == "stack"
    rest = (await client.get("/api/v1/projects/1/issues", params={"cursor": body["next"]})).json()
    assert (len(body["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)


async def test_filters_by_parameter_and_in_words(client: Client, happen: Happen, event_row: MakeRow) -> None:
    await happen(event_row(1, level="fatal"), event_row(2), event_row(3, environment="staging"))

    async def found(**params: Any) -> list[str]:
        answer = await client.get("/api/v1/projects/1/issues", params=params)
        return sorted(issue["title"][-1] for issue in answer.json()["items"])

    assert await found(level="fatal") == ["1"]
    assert await found(level=["fatal", "error"]) == ["1", "2", "3"]
    assert await found(environment="staging") == ["3"]
    assert await found(query="level:error environment:production") == ["2"]
    assert await found(query="number", state="resolved") == []
    assert await found(since="2027-01-15T08:00:00Z", sort="events") == ["1", "2", "3"]
    assert await found(until="2027-01-15T08:00:00Z") == []


@pytest.mark.parametrize("params", [{"cursor": "nonsense"}, {"query": "level:awful"}, {"since": "yesterday"}])
async def test_what_cannot_be_understood_is_said(client: Client, params: dict[str, str]) -> None:
    answer = await client.get("/api/v1/projects/1/issues", params=params)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) > 20


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 101}, {"sort": "colour"}, {"state": "lost"}])
async def test_parameters_out_of_bounds_are_refused(client: Client, params: dict[str, Any]) -> None:
    assert (await client.get("/api/v1/projects/1/issues", params=params)).status_code == 400


async def test_an_issue_with_its_history(client: Client, happen: Happen, event_row: MakeRow) -> None:
    changes = await happen(event_row(0xAB, release="1.0"))
    body = (await client.get(f"/api/v1/issues/{changes[0].issue_id}")).json()
    assert (body["event_count"], body["releases"][0]["release"]) == (1, "1.0")
    assert (body["hashes"][0]["hash"], body["activity"][0]["action"]) == ("00000000000000ab", "opened")


async def test_states_are_changed_with_patch(client: Client, happen: Happen, event_row: MakeRow) -> None:
    changes = await happen(event_row(1))
    path = f"/api/v1/issues/{changes[0].issue_id}"
    body = (await client.patch(path, json={"state": "resolved", "resolved_in": "2.0"})).json()
    assert (body["state"], body["resolved_in"], body["resolved_at"]) == ("resolved", "2.0", "2027-01-15T08:30:00.000Z")
    body = (await client.patch(path, json={"state": "ignored", "ignored_for_events": 9})).json()
    assert (body["state"], body["ignored_until_count"], body["resolved_in"]) == ("ignored", 10, "")
    body = (await client.patch(path, json={"state": "ignored", "ignored_until": "2027-02-01"})).json()
    assert body["ignored_until"] == "2027-02-01T00:00:00.000Z"
    body = (await client.patch(path, json={"state": "open"})).json()
    assert (body["state"], body["ignored_until"]) == ("open", None)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"state": "lost"}, 400), ({}, 400), ({"state": "open", "colour": "red"}, 400), ([], 400),
        ({"state": "open", "resolved_in": "1.0"}, 422), ({"state": "resolved", "ignored_for_events": 3}, 422),
        ({"state": "ignored", "ignored_until": "soon"}, 422),
        ({"state": "ignored", "ignored_until": "2020-01-01"}, 422),
    ],
)  # fmt: skip
async def test_a_change_that_makes_no_sense_changes_nothing(
    client: Client, happen: Happen, event_row: MakeRow, body: Any, status: int
) -> None:
    changes = await happen(event_row(1))
    path = f"/api/v1/issues/{changes[0].issue_id}"
    assert (await client.patch(path, json=body)).status_code == status
    assert (await client.get(path)).json()["state"] == "open"


async def test_events_of_an_issue_and_one_by_itself(client: Client, happen: Happen, event_row: MakeRow) -> None:
    rows = [event_row(1, browser=browser) for browser in ("Chrome", "Firefox", "Chrome")]
    rows[1].payload = payload_of(Event(id=rows[1].event_id, kind=Kind.ERROR, timestamp=rows[1].timestamp, message="hi"))
    changes = await happen(*rows)
    path = f"/api/v1/issues/{changes[0].issue_id}/events"
    page = (await client.get(path, params={"limit": 2})).json()
    rest = (await client.get(path, params={"cursor": page["next"]})).json()
    assert [event["id"] for event in page["items"] + rest["items"]] == [row.event_id for row in reversed(rows)]
    assert [event["id"] for event in (await client.get(path, params={"browser": "Firefox"})).json()["items"]] == [
        rows[1].event_id
    ]
    one = (await client.get(f"/api/v1/events/{rows[1].event_id}")).json()
    assert (one["previous"], one["next"]) == (rows[0].event_id, rows[2].event_id)
    assert (one["issue_id"], one["event"]["message"]) == (changes[0].issue_id, "hi")


async def test_merging_and_taking_apart(client: Client, happen: Happen, event_row: MakeRow) -> None:
    changes = await happen(event_row(1), event_row(2))
    target, source = (change.issue_id for change in changes)
    merged = await client.post(f"/api/v1/issues/{target}/merge", json={"issue_ids": [source]})
    assert (merged.status_code, merged.json()) == (200, {"issue_id": target, "merged": [source]})
    assert (await client.get(f"/api/v1/issues/{source}")).json()["id"] == target
    apart = await client.post(f"/api/v1/issues/{target}/unmerge", json={"hashes": ["0000000000000002"]})
    assert apart.json() == {"issue_id": target, "issues": [source]}
    assert (await client.post(f"/api/v1/issues/{target}/unmerge", json={"hashes": ["ZZ"]})).status_code == 400


async def test_what_is_not_theirs_is_not_found_on_any_path(client: Client, happen: Happen, event_row: MakeRow) -> None:
    row = event_row(1, project_id=2)
    changes = await happen(row, event_row(2))
    foreign, own = (change.issue_id for change in changes)
    answers = [
        await client.get("/api/v1/projects/2/issues"),
        await client.get("/api/v1/projects/999/issues"),
        await client.get(f"/api/v1/issues/{foreign}"),
        await client.get(f"/api/v1/issues/{foreign}/events"),
        await client.patch(f"/api/v1/issues/{foreign}", json={"state": "resolved"}),
        await client.post(f"/api/v1/issues/{own}/merge", json={"issue_ids": [foreign]}),
        await client.post(f"/api/v1/issues/{foreign}/unmerge", json={"hashes": ["0" * 16]}),
        await client.get(f"/api/v1/events/{row.event_id}"),
        await client.get("/api/v1/events/nonsense"),
    ]
    assert [answer.status_code for answer in answers] == [404] * len(answers)
    assert len({answer.json()["title"] for answer in answers}) == 1


async def test_a_viewers_token_changes_nothing(
    client: Client, acting: Acting, happen: Happen, event_row: MakeRow
) -> None:
    changes = await happen(event_row(1))
    acting.actor = VIEWER
    path = f"/api/v1/issues/{changes[0].issue_id}"
    assert (await client.patch(path, json={"state": "resolved"})).status_code == 403
    assert (await client.get(path)).json()["state"] == "open"
