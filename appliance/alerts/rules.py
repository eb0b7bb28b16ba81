"""Rules as people edit them: list, create, change, switch, delete, try out. The actor is checked at each call."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import msgspec
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, InvalidInputError, NotFoundError, Permission
from appliance.alerts.channels import Channels
from appliance.alerts.compose import Site, compose_test
from appliance.alerts.entries import TEST_KEY, Body, Purpose, add_entry, require_test_budget
from appliance.alerts.evaluate import rule_settings
from appliance.alerts.facts import addresses, malformed_addresses, recipients_of
from appliance.alerts.models import RuleModel
from appliance.alerts.schemas import ConditionItem, RuleDraft, RuleItem, bounded_id
from appliance.hookspecs import Clock, FormField, Rule
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel

MAX_RULES: Final = 100  # of one project; each is asked about each change
MAX_THROTTLE_MINUTES: Final = 7 * 24 * 60
MAX_SETTING: Final = 500  # characters of one field
NOT_FOUND: Final = "There is no such rule, or it belongs to a project that you are not a member of."


class Rules:
    """The rules of projects."""

    def __init__(
        self, database: Database, clock: Clock, conditions: Mapping[str, Rule], channels: Channels, site: Site
    ) -> None:
        """Wire up."""
        self._database = database
        self._clock = clock
        self._conditions = conditions
        self._channels = channels
        self._site = site

    def conditions(self) -> list[ConditionItem]:
        """What rules may wait for, by label."""
        items = [
            ConditionItem(name=rule.name, label=rule.label, help=rule.help, form=rule.form)
            for rule in self._conditions.values()
        ]
        return sorted(items, key=lambda item: item.label)

    async def project_id(self, actor: Actor, slug: str) -> int:
        """The id behind a slug. Raises `NotFoundError`."""
        query = select(ProjectModel.id).where(ProjectModel.slug == slug, ProjectModel.deleted_at.is_(None))
        async with self._database.read() as session:
            found = await session.scalar(query)
        if found is None:
            raise NotFoundError("There is no such project, or you are not a member of it.")
        actor.require_project(found, Permission.ALERTS_READ)
        return found

    async def list(self, actor: Actor, project_id: int) -> list[RuleItem]:
        """The rules of one project, oldest first."""
        actor.require_project(project_id, Permission.ALERTS_READ)
        query = select(RuleModel).where(RuleModel.project_id == project_id).order_by(RuleModel.id)
        async with self._database.read() as session:
            return [self._item(rule) for rule in await session.scalars(query)]

    async def get(self, actor: Actor, rule_id: int) -> RuleItem:
        """One rule. Raises `NotFoundError`."""
        async with self._database.read() as session:
            return self._item(await _find(session, actor, rule_id, Permission.ALERTS_READ))

    async def create(self, actor: Actor, project_id: int, draft: RuleDraft) -> int:
        """Add a rule; its id. Raises `InvalidInputError`."""
        actor.require_project(project_id, Permission.ALERTS_WRITE)
        values = self._checked(draft)
        async with self._database.write() as session:
            have = await session.scalar(select(func.count()).where(RuleModel.project_id == project_id)) or 0
            if have >= MAX_RULES:
                raise InvalidInputError({"name": f"A project has at most {MAX_RULES} rules: delete one first."})
            rule = RuleModel(project_id=project_id, created_at=self._clock.now(), **values)
            session.add(rule)
            await session.flush()
            return rule.id

    async def update(self, actor: Actor, rule_id: int, draft: RuleDraft) -> None:
        """Change a rule. Raises `InvalidInputError`, `NotFoundError`."""
        values = self._checked(draft)
        async with self._database.write() as session:
            rule = await _find(session, actor, rule_id, Permission.ALERTS_WRITE)
            for name, value in values.items():
                setattr(rule, name, value)

    async def switch(self, actor: Actor, rule_id: int, enabled: bool) -> RuleItem:
        """Switch a rule on or off. What it still had to tell goes when it is off."""
        async with self._database.write() as session:
            rule = await _find(session, actor, rule_id, Permission.ALERTS_WRITE)
            rule.enabled = enabled
            return self._item(rule)

    async def delete(self, actor: Actor, rule_id: int) -> RuleItem:
        """Remove a rule; its alerts stay in the log. Returns what it was."""
        async with self._database.write() as session:
            rule = await _find(session, actor, rule_id, Permission.ALERTS_WRITE)
            item = self._item(rule)
            await session.delete(rule)
            return item

    async def test(self, actor: Actor, rule_id: int) -> int | None:
        """Put a test message to the rule's recipients into the outbox; its number in the log. Raises `WaitError`."""
        async with self._database.write() as session:
            rule = await _find(session, actor, rule_id, Permission.ALERTS_WRITE)
            now = self._clock.now()
            await require_test_budget(session, rule.project_id, now)
            recipients = await recipients_of(session, rule)
            why = f"{actor.name or actor.email} tries the rule {rule.name}."
            notification = compose_test(self._site, rule.channel, recipients, at=now, why=why)
            return await add_entry(
                session,
                Purpose.NOTIFICATION,
                f"{TEST_KEY}{notification.id}",
                Body(notification=notification),
                now,
                channel=rule.channel,
                rule_id=rule.id,
                project_id=rule.project_id,
            )

    def _item(self, rule: RuleModel) -> RuleItem:
        condition = self._conditions.get(rule.condition)
        problem = "" if condition else f"No plugin brings its condition, {rule.condition}: it never fires."
        return RuleItem(
            id=rule.id,
            project_id=rule.project_id,
            name=rule.name,
            condition=rule.condition,
            condition_label=condition.label if condition else rule.condition,
            settings=rule_settings(rule),
            channel=rule.channel,
            recipients=list(addresses(rule.recipients)),
            throttle_minutes=rule.throttle_minutes,
            enabled=rule.enabled,
            problem=problem or self._channels.problem(rule.channel),
        )

    def _checked(self, draft: RuleDraft) -> dict[str, object]:
        """The columns of a draft. Raises `InvalidInputError` with everything that is wrong."""
        errors: dict[str, str] = {}
        name = " ".join(draft.name.split())
        if not 1 <= len(name) <= 120:
            errors["name"] = "Give it a name, at most 120 characters."
        condition = self._conditions.get(draft.condition)
        if condition is None:
            errors["condition"] = "Choose what to wait for."
        if draft.channel not in self._channels.chains:
            errors["channel"] = "Choose one of the channels in config.toml."
        if wrong := malformed_addresses(draft.recipients):
            errors["recipients"] = f"Not a mail address: {', '.join(wrong)[:200]}"
        minutes = _minutes(draft.throttle_minutes, errors)
        settings = _settings(condition, draft.settings, errors) if condition else {}
        if errors:
            raise InvalidInputError(errors)
        return {
            "name": name,
            "condition": draft.condition,
            "settings": msgspec.json.encode(settings).decode(),
            "channel": draft.channel,
            "recipients": "\n".join(addresses(draft.recipients)),
            "throttle_minutes": minutes,
        }


async def _find(session: AsyncSession, actor: Actor, rule_id: int, permission: Permission) -> RuleModel:
    rule = await session.get(RuleModel, bounded_id(rule_id))
    if rule is None or not actor.sees(rule.project_id):
        raise NotFoundError(NOT_FOUND)
    project = await session.get(ProjectModel, rule.project_id)
    if project is None or project.deleted_at is not None:
        raise NotFoundError(NOT_FOUND)
    actor.require(permission)
    return rule


def _minutes(text: str, errors: dict[str, str]) -> int | None:
    if not text.strip():
        return None
    if text.strip().isascii() and text.strip().isdecimal() and int(text[:9]) <= MAX_THROTTLE_MINUTES:
        return int(text)
    errors["throttle_minutes"] = f"A number of minutes from 0 to {MAX_THROTTLE_MINUTES}, or nothing."
    return None


def _settings(condition: Rule, given: Mapping[str, str], errors: dict[str, str]) -> dict[str, str]:
    """The settings that the rule's form has, checked; anything else is left out."""
    settings: dict[str, str] = {}
    for item in condition.form.fields:
        value = given.get(item.name, "" if item.type == "checkbox" else item.default).strip()
        if error := _complaint(item, value):
            errors[f"setting.{item.name}"] = error
        settings[item.name] = value
    return settings


def _complaint(item: FormField, value: str) -> str:
    """What is wrong with one field's value, in words; "" when nothing is."""
    if not value:
        return "This is needed." if item.required else ""
    wrong = ""
    if len(value) > MAX_SETTING:
        wrong = f"At most {MAX_SETTING} characters."
    elif item.type == "select" and value not in {key for key, _ in item.choices}:
        wrong = "Choose one of the list."
    elif item.type == "email_list" and malformed_addresses(value):
        wrong = f"Not a mail address: {', '.join(malformed_addresses(value))}"
    elif item.type in {"number", "duration"}:
        wrong = _out_of_range(item, value)
    return wrong


def _out_of_range(item: FormField, value: str) -> str:
    try:
        number = float(value)
    except ValueError:
        return "A number is needed."
    low = -math.inf if item.minimum is None else item.minimum
    high = math.inf if item.maximum is None else item.maximum
    return "" if low <= number <= high else f"A number from {low:g} to {high:g} is needed."
