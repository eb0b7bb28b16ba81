"""Composes what an outbox entry stands for: gathers the facts, collects a digest, hands both to `compose`."""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.alerts.compose import DIGEST_LINES, RuleFacts, Site, compose_alert, compose_digest
from appliance.alerts.entries import Purpose, decode_body
from appliance.alerts.facts import (
    ProjectFacts,
    addresses,
    event_facts,
    issue_facts,
    project_facts,
    recipients_of,
)
from appliance.alerts.models import AlertModel, OutboxModel, RuleModel
from appliance.hookspecs import Clock, EventStore, IssueChange, Notification
from appliance.metadata.database import Database

UNREACHABLE: Final = 0  # a project id that no project has


class GoneError(Exception):
    """There is nothing to tell any more; the text says what went."""


class Messages:
    """Makes notifications of outbox entries that do not hold one yet."""

    def __init__(self, database: Database, store: EventStore, site: Site, clock: Clock, throttle_minutes: int) -> None:
        """Wire up."""
        self._database = database
        self._store = store
        self._site = site
        self._clock = clock
        self._throttle_minutes = throttle_minutes

    async def compose(self, entry: OutboxModel) -> Notification:
        """The message of an entry. Raises `GoneError` when its rule, project or alert is gone or switched off."""
        if entry.purpose == Purpose.DIGEST:
            return await self._digest(entry)
        async with self._database.read() as session:
            rule, project = await self._about(session, entry)
            alert = await session.get(AlertModel, decode_body(entry.body).alert_id)
            if alert is None:
                raise GoneError("The alert was deleted.")
            change = msgspec.json.decode(alert.change, type=IssueChange)
            issues = await issue_facts(session, [change.issue_id])
            recipients = await recipients_of(session, rule)
        event = await event_facts(self._store, change)
        return compose_alert(self._site, project, _facts(rule), change, issues.get(change.issue_id), event, recipients)

    async def _digest(self, entry: OutboxModel) -> Notification:
        changes, total = await self._collect(entry)
        async with self._database.read() as session:
            rule, project = await self._about(session, entry)
            issues = await issue_facts(session, [change.issue_id for change in changes])
            recipients = await recipients_of(session, rule)
        if not changes:
            raise GoneError("What this digest was to tell was deleted.")
        if total == 1:
            event = await event_facts(self._store, changes[0])
            issue = issues.get(changes[0].issue_id)
            return compose_alert(self._site, project, _facts(rule), changes[0], issue, event, recipients)
        return compose_digest(self._site, project, _facts(rule), changes, total, issues, recipients)

    async def _collect(self, entry: OutboxModel) -> tuple[list[IssueChange], int]:
        """Take the rule's waiting alerts into this digest and begin its next window; safe to repeat."""
        mine = AlertModel.outbox_id == entry.id
        async with self._database.write() as session:
            rule = await session.get(RuleModel, entry.rule_id or 0, with_for_update=True)
            waiting = update(AlertModel).where(AlertModel.rule_id == entry.rule_id, AlertModel.outbox_id.is_(None))
            await session.execute(waiting.values(outbox_id=entry.id), execution_options={"synchronize_session": False})
            if rule is not None:
                minutes = self._throttle_minutes if rule.throttle_minutes is None else rule.throttle_minutes
                rule.throttled_until = self._clock.now() + minutes * 60_000_000
            total = await session.scalar(select(func.count()).where(mine)) or 0
            first = select(AlertModel.change).where(mine).order_by(AlertModel.id).limit(DIGEST_LINES)
            texts = (await session.scalars(first)).all()
        return [msgspec.json.decode(text, type=IssueChange) for text in texts], total

    async def _about(self, session: AsyncSession, entry: OutboxModel) -> tuple[RuleModel, ProjectFacts]:
        rule = await session.get(RuleModel, entry.rule_id or 0)
        project = await project_facts(session, entry.project_id or UNREACHABLE)
        if project is None:
            raise GoneError("The project was deleted.")
        if rule is None:
            raise GoneError("The rule was deleted.")
        if not rule.enabled:
            raise GoneError("The rule was switched off.")
        return rule, project


def _facts(rule: RuleModel) -> RuleFacts:
    return RuleFacts(
        id=rule.id, name=rule.name, condition=rule.condition, own_recipients=bool(addresses(rule.recipients))
    )
