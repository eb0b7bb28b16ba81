"""Pages of rules: the list of a project, the form that a condition's plugin describes, and what its buttons do."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

from litestar import get, post
from litestar.response import Redirect, Response, Template

from appliance.accounts.access import InvalidInputError, Permission, requires
from appliance.accounts.forms import AnyRequest, errors_of, form_values
from appliance.alerts.deps import Acting, Alerts, Id, PathText, Projects, Slug, Text
from appliance.alerts.schemas import ConditionItem, RuleDraft, RuleItem
from appliance.projects.schemas import ProjectView
from appliance.web.pages import page, redirect

READ: Final = requires(Permission.ALERTS_READ)
WRITE: Final = requires(Permission.ALERTS_WRITE)
SETTING: Final = "setting."  # what the fields of a condition's own form are called in ours


@get("/projects/{slug:str}/alerts", opt=READ, include_in_schema=False)
async def project_rules(actor: Acting, alerts: Alerts, slug: PathText) -> Redirect:
    """Where mails lead: the rules of one project."""
    await alerts.rules.project_id(actor, slug)
    return Redirect(f"/alerts/rules?project={slug}", status_code=302)


@get("/alerts/rules", opt=READ, include_in_schema=False)
async def rules_page(
    request: AnyRequest,
    actor: Acting,
    alerts: Alerts,
    projects: Projects,
    project: Slug = "",
    done: Text = "",
) -> Template:
    """The rules of one project; the first one's when none is named."""
    all_projects = await projects.list(actor)
    chosen = await projects.by_slug(actor, project) if project else next(iter(all_projects), None)
    return page(
        request,
        "alerts/rules.html",
        projects=all_projects,
        project=chosen,
        rules=await alerts.rules.list(actor, chosen.id) if chosen else [],
        default_minutes=alerts.default_throttle_minutes,
        done=done if done in {"saved", "deleted", "tested"} else "",
    )


@get("/alerts/rules/new", opt=WRITE, include_in_schema=False)
async def new_rule_page(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, project: Slug = "", condition: Text = ""
) -> Template | Response[Any]:
    """The form of a new rule, of the condition that was chosen; first the project, when none is named."""
    if not project:
        return redirect(request, "/alerts/rules")
    chosen = await projects.by_slug(actor, project)
    conditions = alerts.rules.conditions()
    known = next((item for item in conditions if item.name == condition), conditions[0] if conditions else None)
    draft = RuleDraft(
        name=known.label if known else "",
        condition=known.name if known else "",
        settings={item.name: item.default for item in known.form.fields} if known else {},
    )
    return _form(request, actor, alerts, chosen, draft)


@post("/alerts/rules", opt=WRITE, include_in_schema=False)
async def create_rule(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects
) -> Response[Any] | Template:
    """Add it."""
    values = await form_values(request)
    project = await projects.by_slug(actor, values.get("project", ""))
    draft = _draft(values)
    try:
        await alerts.rules.create(actor, project.id, draft)
    except InvalidInputError as error:
        return _form(request, actor, alerts, project, draft, error=error)
    return redirect(request, f"/alerts/rules?project={project.slug}&done=saved")


@get("/alerts/rules/{rule_id:int}", opt=READ, include_in_schema=False)
async def rule_page(request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, rule_id: Id) -> Template:
    """One rule, to change."""
    rule = await alerts.rules.get(actor, rule_id)
    project = await projects.get(actor, rule.project_id)
    draft = RuleDraft(
        name=rule.name,
        condition=rule.condition,
        channel=rule.channel,
        recipients="\n".join(rule.recipients),
        throttle_minutes="" if rule.throttle_minutes is None else str(rule.throttle_minutes),
        settings=rule.settings,
    )
    return _form(request, actor, alerts, project, draft, rule=rule)


@post("/alerts/rules/{rule_id:int}", opt=WRITE, include_in_schema=False)
async def change_rule(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, rule_id: Id
) -> Response[Any] | Template:
    """Save it."""
    rule = await alerts.rules.get(actor, rule_id)
    project = await projects.get(actor, rule.project_id)
    draft = _draft(await form_values(request))
    try:
        await alerts.rules.update(actor, rule_id, draft)
    except InvalidInputError as error:
        return _form(request, actor, alerts, project, draft, rule=rule, error=error)
    return redirect(request, f"/alerts/rules?project={project.slug}&done=saved")


@post("/alerts/rules/{rule_id:int}/enabled", opt=WRITE, include_in_schema=False)
async def switch_rule(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, rule_id: Id
) -> Response[Any]:
    """Switch it on or off."""
    rule = await alerts.rules.switch(actor, rule_id, (await form_values(request)).get("enabled") == "on")
    return await _back(request, actor, projects, rule, "saved")


@post("/alerts/rules/{rule_id:int}/delete", opt=WRITE, include_in_schema=False)
async def delete_rule(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, rule_id: Id
) -> Response[Any]:
    """Remove it."""
    rule = await alerts.rules.delete(actor, rule_id)
    return await _back(request, actor, projects, rule, "deleted")


@post("/alerts/rules/{rule_id:int}/test", opt=WRITE, include_in_schema=False)
async def test_rule(
    request: AnyRequest, actor: Acting, alerts: Alerts, projects: Projects, rule_id: Id
) -> Response[Any]:
    """Send a test message to whom it tells."""
    await alerts.rules.test(actor, rule_id)
    alerts.worker.poke()
    rule = await alerts.rules.get(actor, rule_id)
    project = await projects.get(actor, rule.project_id)
    return redirect(request, f"/alerts/messages?project={project.slug}&done=tested")


async def _back(request: AnyRequest, actor: Acting, projects: Projects, rule: RuleItem, done: str) -> Response[Any]:
    project = await projects.get(actor, rule.project_id)
    return redirect(request, f"/alerts/rules?project={project.slug}&done={done}")


def _draft(values: dict[str, str]) -> RuleDraft:
    settings = {name.removeprefix(SETTING): value for name, value in values.items() if name.startswith(SETTING)}
    return RuleDraft(
        name=values.get("name", ""),
        condition=values.get("condition", ""),
        channel=values.get("channel", ""),
        recipients=values.get("recipients", ""),
        throttle_minutes=values.get("throttle_minutes", ""),
        settings=settings,
    )


def _form(
    request: AnyRequest,
    actor: Acting,
    alerts: Alerts,
    project: ProjectView,
    draft: RuleDraft,
    *,
    rule: RuleItem | None = None,
    error: InvalidInputError | None = None,
) -> Template:
    conditions = alerts.rules.conditions()
    condition: ConditionItem | None = next((item for item in conditions if item.name == draft.condition), None)
    return page(
        request,
        "alerts/rule.html",
        status=error.status if error else 200,
        project=project,
        rule=rule,
        draft=draft,
        conditions=conditions,
        condition=condition,
        channels=[(item.name, item.name) for item in alerts.channels(actor)],
        default_minutes=alerts.default_throttle_minutes,
        errors=defaultdict(str, errors_of(error) if error else {}),  # templates ask for each field's
    )
