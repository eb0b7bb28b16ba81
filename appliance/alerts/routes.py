"""Routes of alerts: what fired, what was sent and how, the channels, and the JSON API. Rules: `rule_routes.py`."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from litestar import get, post
from litestar.response import Response, Template

from appliance.accounts.access import Actor, Permission, requires
from appliance.accounts.forms import AnyRequest, Handlers
from appliance.alerts import rule_routes
from appliance.alerts.deps import (
    Acting,
    Alerts,
    Cursor,
    Flag,
    Id,
    Limit,
    MessageState,
    Number,
    PathText,
    Projects,
    Slug,
    Text,
)
from appliance.alerts.schemas import (
    MESSAGE_STATES,
    AlertBody,
    AlertPage,
    DeliveryBody,
    DeliveryPage,
)
from appliance.web.formats import iso
from appliance.web.pages import page, redirect

READ: Final = requires(Permission.ALERTS_READ)
WRITE: Final = requires(Permission.ALERTS_WRITE)


@get("/alerts", opt=READ, include_in_schema=False)
async def alerts_page(
    request: AnyRequest,
    actor: Acting,
    alerts: Alerts,
    projects: Projects,
    project: Slug = "",
    cursor: Cursor = "",
    part: Text = "",
) -> Template:
    """What fired, newest first."""
    project_id = await alerts.rules.project_id(actor, project) if project else None
    found = await alerts.log.alerts(actor, project_id=project_id, limit=50, cursor=cursor)
    return page(
        request,
        "alerts/fired.html",
        fragment="rows" if part == "rows" else "main",
        part=part,
        projects=await projects.list(actor),
        project=project,
        alerts=found.items,
        more_href=_more("/alerts", found.next, project=project),
        problems=_problems(alerts, actor),
        failed=await alerts.log.failed_count(actor),
    )


@get("/alerts/messages", opt=READ, include_in_schema=False)
async def messages_page(
    request: AnyRequest,
    actor: Acting,
    alerts: Alerts,
    projects: Projects,
    project: Slug = "",
    message_state: MessageState = "",
    cursor: Cursor = "",
    part: Text = "",
    done: Text = "",
) -> Template:
    """What was sent to whom, with each attempt."""
    shown = message_state if message_state in MESSAGE_STATES else ""
    project_id = await alerts.rules.project_id(actor, project) if project else None
    found = await alerts.log.messages(actor, project_id=project_id, state=shown, limit=25, cursor=cursor)
    return page(
        request,
        "alerts/messages.html",
        fragment="rows" if part == "rows" else "main",
        part=part,
        projects=await projects.list(actor),
        project=project,
        states=MESSAGE_STATES,
        state=shown,
        messages=found.items,
        more_href=_more("/alerts/messages", found.next, project=project, state=shown),
        problems=_problems(alerts, actor),
        done=done if done in {"tested", "retried", "discarded"} else "",
    )


@post("/alerts/messages/{message_id:int}/retry", opt=WRITE, include_in_schema=False)
async def retry_message(request: AnyRequest, actor: Acting, alerts: Alerts, message_id: Id) -> Response[Any]:
    """Try a failed message again."""
    await alerts.log.retry(actor, message_id)
    alerts.worker.poke()
    return redirect(request, "/alerts/messages?done=retried")


@post("/alerts/messages/{message_id:int}/discard", opt=WRITE, include_in_schema=False)
async def discard_message(request: AnyRequest, actor: Acting, alerts: Alerts, message_id: Id) -> Response[Any]:
    """Give a message up."""
    await alerts.log.discard(actor, message_id)
    return redirect(request, "/alerts/messages?done=discarded")


@get("/alerts/channels", opt=READ, include_in_schema=False)
async def channels_page(request: AnyRequest, actor: Acting, alerts: Alerts) -> Template:
    """Which channels there are, and how their notifiers fare."""
    return page(request, "alerts/channels.html", channels=alerts.channels(actor))


@post("/alerts/channels/{channel:str}/test", opt=requires(Permission.SYSTEM_WRITE), include_in_schema=False)
async def test_channel(request: AnyRequest, actor: Acting, alerts: Alerts, channel: PathText) -> Response[Any]:
    """Send a test message to oneself."""
    await alerts.test_channel(actor, channel)
    alerts.worker.poke()
    return redirect(request, "/alerts/messages?done=tested")


@get("/api/v1/alerts", opt=READ, tags=["alerts"], summary="List alerts")
async def list_alerts(
    actor: Acting,
    alerts: Alerts,
    project: Number = None,
    issue: Number = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> AlertPage:
    """Firings of rules, newest first; of one project or issue."""
    found = await alerts.log.alerts(actor, project_id=project, issue_id=issue, limit=limit, cursor=cursor)
    items = [msgspec.convert(_with_iso(item), AlertBody) for item in found.items]
    return AlertPage(items=items, next=found.next)


@get("/api/v1/deliveries", opt=READ, tags=["alerts"], summary="List attempts to deliver")
async def list_deliveries(
    actor: Acting,
    alerts: Alerts,
    project: Number = None,
    notifier: Text = "",
    ok: Flag = None,
    limit: Limit = 50,
    cursor: Cursor = "",
) -> DeliveryPage:
    """Attempts to deliver, newest first; those that skipped a notifier included."""
    found = await alerts.log.deliveries(actor, project_id=project, notifier=notifier, ok=ok, limit=limit, cursor=cursor)
    items = [msgspec.convert(_with_iso(item), DeliveryBody) for item in found.items]
    return DeliveryPage(items=items, next=found.next)


def _with_iso(item: Any) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.structs.asdict(item)
    return {**values, "at": iso(values["at"])}


def _more(path: str, cursor: str | None, **filters: str) -> str:
    if cursor is None:
        return ""
    chosen = {name: value for name, value in filters.items() if value}
    return f"{path}?{urlencode({**chosen, 'cursor': cursor})}"


def _problems(alerts: Alerts, actor: Actor) -> list[str]:
    return [channel.problem for channel in alerts.channels(actor) if channel.problem]


routes: Handlers = [
    alerts_page,
    messages_page,
    retry_message,
    discard_message,
    channels_page,
    test_channel,
    list_alerts,
    list_deliveries,
    rule_routes.project_rules,
    rule_routes.rules_page,
    rule_routes.new_rule_page,
    rule_routes.create_rule,
    rule_routes.rule_page,
    rule_routes.change_rule,
    rule_routes.switch_rule,
    rule_routes.delete_rule,
    rule_routes.test_rule,
]
