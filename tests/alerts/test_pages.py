"""The pages and the API of alerts, over HTTP."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from litestar import Litestar, Request
from litestar.di import Provide

from appliance.accounts.access import COMMAND_LINE, AccessError, Actor, Role
from appliance.accounts.guards import acting_user
from appliance.alerts.routes import routes
from appliance.hookspecs import DeliveryError
from appliance.projects.service import ProjectService
from appliance.web.errors import handle_refusal
from appliance.web.setup import WebPlugin

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import World

pytestmark = pytest.mark.parametrize("backend", ["sqlite"], indirect=True)

Site = Callable[..., Any]


@pytest.fixture
def site(world: World, tmp_path: Path) -> Site:
    """A client for somebody who is signed in already: sessions and CSRF are the accounts' to test."""

    @asynccontextmanager
    async def as_(actor: Actor) -> AsyncIterator[httpx.AsyncClient]:
        async def sign_in(request: Request[Any, Any, Any]) -> None:
            request.scope["user"] = actor

        projects = ProjectService(
            world.database, world.clock, "https://monitor.example.com", tmp_path / "admission.json"
        )
        app = Litestar(
            route_handlers=routes,
            plugins=[WebPlugin(world.clock)],
            before_request=sign_in,
            exception_handlers={AccessError: handle_refusal},
            dependencies={
                "actor": Provide(acting_user, sync_to_thread=False),
                "alerts": Provide(lambda: world.service, sync_to_thread=False),
                "projects": Provide(lambda: projects, sync_to_thread=False),
            },
            logging_config=None,
        )
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="https://monitor.example.com") as client:
            yield client

    return as_


OWNER = Actor(user_id=1, email="owner1@example.com", role=Role.OWNER, project_ids=None)


def member(*projects: int, role: Role = Role.MEMBER) -> Actor:
    return Actor(user_id=3, email="member3@example.com", role=role, project_ids=frozenset(projects))


async def test_every_page_is_there_before_anything_happened(site: Site, world: World) -> None:
    async with site(OWNER) as client:
        for path, says in [
            ("/alerts", "Nothing has fired yet"),
            ("/alerts/messages", "Nothing was sent yet"),
            ("/alerts/rules", "Regression"),
            ("/alerts/rules/1", "Only in these environments"),
            ("/alerts/rules/new?project=shop", "Create the rule"),
            ("/alerts/rules/new?project=shop&condition=regression", "When a resolved issue comes back."),
            ("/alerts/channels", "first that takes a message"),
        ]:
            answer = await client.get(path)
            assert answer.status_code == 200, answer.text
            assert says in answer.text
            assert not re.search(r"<script>|<style|\son\w+=|\sstyle=", answer.text), f"{path} breaks the CSP"


async def test_what_fired_and_each_attempt_are_shown_with_hostile_text_escaped(
    site: Site, world: World, outage: Callable[..., DeliveryError]
) -> None:
    world.first.always = outage("Refused.", reply="<img src=x onerror=alert(1)>")
    await world.changes(await world.issue(1, title="<script>alert(1)</script>"))
    await world.service.worker.drain()
    async with site(OWNER) as client:
        fired = await client.get("/alerts")
        messages = await client.get("/alerts/messages?project=shop&state=delivered")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in fired.text
    assert 'href="/issues/1"' in fired.text
    assert "&lt;img src=x onerror=alert(1)&gt;" in messages.text
    assert "250 taken" in messages.text
    for page in (fired.text, messages.text):
        assert "<script>alert" not in page
        assert "<img" not in page


async def test_missing_configuration_is_said_on_the_pages(site: Site, world: World) -> None:
    world.first.problem = world.second.problem = "Nothing is set."
    await world.open_issues()
    await world.service.worker.drain()
    async with site(OWNER) as client:
        page = (await client.get("/alerts")).text
        assert "is configured, so nothing can be sent" in page
        assert "1 message was not delivered." in page
        assert "not configured" in (await client.get("/alerts/channels")).text
        rules = (await client.get("/alerts/rules")).text
        assert rules.count(">cannot deliver<") == 2
        assert len(re.findall(r"<span>[^<]*is configured, so nothing can be sent", rules)) == 1  # once for all of them


async def test_a_rule_is_made_with_the_form_of_its_condition(site: Site, world: World) -> None:
    form = {
        "project": "shop", "condition": "new_issue", "name": "Fatal", "channel": "email",
        "recipients": "ann@example.com", "throttle_minutes": "10", "setting.level": "fatal",
        "setting.unhandled_only": "on",
    }  # fmt: skip
    async with site(member(world.project_id)) as client:
        answer = await client.post("/alerts/rules", data=form)
        assert (answer.status_code, answer.headers["location"]) == (303, "/alerts/rules?project=shop&done=saved")
        page = (await client.get("/alerts/rules/3")).text
    rule = await world.service.rules.get(COMMAND_LINE, 3)
    assert rule.settings == {"level": "fatal", "environment": "", "unhandled_only": "on"}
    assert re.search(r'<option value="fatal" selected>', page)
    assert re.search(r'name="setting.unhandled_only"[^>]* checked', page)


async def test_a_wrong_form_comes_back_with_what_was_typed(site: Site, world: World) -> None:
    form = {"condition": "new_issue", "name": "", "channel": "email", "recipients": "nobody", "throttle_minutes": "x"}
    async with site(OWNER) as client:
        answer = await client.post("/alerts/rules/1", data=form)
    assert answer.status_code == 422
    assert "Give it a name" in answer.text
    assert "Not a mail address: nobody" in answer.text
    assert ">nobody</textarea>" in answer.text


async def test_a_rule_can_be_switched_tried_and_deleted(site: Site, world: World) -> None:
    async with site(OWNER) as client:
        await client.post("/alerts/rules/1/enabled", data={"enabled": ""})
        assert not (await world.service.rules.get(COMMAND_LINE, 1)).enabled
        answer = await client.post("/alerts/rules/1/test")
        assert answer.headers["location"] == "/alerts/messages?project=shop&done=tested"
        await world.service.worker.drain()
        assert [mail.kind for mail in world.first.sent] == ["test"]
        await client.post("/alerts/rules/1/delete")
        assert (await client.get("/alerts/rules/1")).status_code == 404
        answer = await client.post("/alerts/channels/email/test")
        assert answer.status_code == 303
        await world.service.worker.drain()
        assert world.first.sent[-1].recipients == ("owner1@example.com",)


async def test_the_address_in_mails_leads_to_the_projects_rules(site: Site, world: World) -> None:
    async with site(OWNER) as client:
        answer = await client.get("/projects/shop/alerts")
        assert (answer.status_code, answer.headers["location"]) == (302, "/alerts/rules?project=shop")
        assert (await client.get("/projects/nothing/alerts")).status_code == 404


async def test_strangers_and_viewers_get_no_further_than_they_may(site: Site, world: World) -> None:
    await world.open_issues()
    await world.service.worker.drain()
    async with site(member(99)) as client:
        for path in (
            "/alerts/rules/1",
            "/alerts?project=shop",
            "/alerts/messages?project=shop",
            "/alerts/rules?project=shop",
        ):
            assert (await client.get(path)).status_code == 404
        assert "TypeError" not in (await client.get("/alerts")).text
        for path in ("/alerts/rules/1", "/alerts/rules/1/delete", "/alerts/rules/1/test", "/alerts/messages/2/retry"):
            answer = await client.post(path, data={"name": "x", "condition": "new_issue", "channel": "email"})
            assert answer.status_code == 404, path
        assert (await client.get(f"/api/v1/alerts?project={world.project_id}")).status_code == 404
        assert (await client.get("/api/v1/deliveries")).json() == {"items": [], "next": None}
    async with site(member(world.project_id, role=Role.VIEWER)) as client:
        page = (await client.get("/alerts/rules/1")).text
        assert "Save" not in page
        assert "Delete" not in page
        assert (await client.post("/alerts/rules/1/delete")).status_code == 403
        assert (await client.post("/alerts/channels/email/test")).status_code == 403


async def test_more_rows_come_by_themselves_for_htmx(site: Site, world: World) -> None:
    await world.open_issues(60)
    await world.service.worker.drain()
    async with site(OWNER) as client:
        first = (await client.get("/alerts")).text
        match = re.search(r'hx-get="(/alerts\?cursor=\d+)"', first)
        assert match
        rows = (await client.get(match[1] + "&part=rows", headers={"HX-Request": "true"})).text
    assert first.count("<tr data-row>") == 50
    assert rows.count("<tr data-row>") == 10
    assert "<html" not in rows
    assert 'hx-swap-oob="true"' in rows


async def test_the_api_lists_alerts_and_deliveries(site: Site, world: World) -> None:
    await world.open_issues(2)
    await world.service.worker.drain()
    async with site(OWNER) as client:
        alerts = (await client.get(f"/api/v1/alerts?project={world.project_id}&limit=1")).json()
        rest = (await client.get(f"/api/v1/alerts?limit=1&cursor={alerts['next']}")).json()
        deliveries = (await client.get("/api/v1/deliveries?ok=true")).json()
        for wrong in ("limit=0", "limit=1000", "cursor=x", "project=x", f"project={10**30}", "ok=maybe"):
            assert 400 <= (await client.get(f"/api/v1/deliveries?{wrong}")).status_code < 500, wrong
    assert alerts["items"] == [
        {
            "id": 2, "project_id": world.project_id, "rule_id": 1, "rule": "New issue", "issue_id": 2,
            "change": "opened",
            "title": "TypeError: 2", "level": "error", "at": "2027-01-15T08:00:00.000Z", "message_id": None,
            "state": "collecting",
        }
    ]  # fmt: skip
    assert rest["items"][0]["state"] == "delivered"
    assert rest["next"] is None
    (delivery,) = deliveries["items"]
    assert (delivery["notifier"], delivery["ok"], delivery["reply"]) == ("resend", True, "250 taken")
    assert delivery["recipients"] == ["owner1@example.com", "admin2@example.com", "member3@example.com"]
