"""From changed issues to alerts: asks the rules, outside any transaction, then writes what fired.

A rule's first firing is a message at once and closes its window; the others of that window wait for one digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.typing import FilteringBoundLogger

from appliance.alerts.entries import Body, Purpose, add_entry
from appliance.alerts.models import AlertModel, RuleModel
from appliance.hookspecs import IssueChange, Rule
from appliance.projects.models import ProjectModel

log = cast("FilteringBoundLogger", structlog.get_logger(__name__))


class Firing(Struct, frozen=True, kw_only=True):
    """A rule and the changes that it fired on, in their order."""

    rule_id: int
    changes: tuple[IssueChange, ...]


async def enabled_rules(session: AsyncSession, project_id: int) -> Sequence[RuleModel]:
    """The rules of a project that is not deleted."""
    query = (
        select(RuleModel)
        .join(ProjectModel, ProjectModel.id == RuleModel.project_id)
        .where(RuleModel.project_id == project_id, RuleModel.enabled, ProjectModel.deleted_at.is_(None))
        .order_by(RuleModel.id)
    )
    return (await session.scalars(query)).all()


def evaluate(
    rows: Sequence[RuleModel], conditions: Mapping[str, Rule], changes: Sequence[IssueChange]
) -> tuple[list[Firing], list[str]]:
    """Ask each rule about each change.

    Returns:
        What fired, and one sentence for each rule that could not be asked: it costs the other rules nothing.
    """
    fired: list[Firing] = []
    problems: list[str] = []
    for row in rows:
        condition = conditions.get(row.condition)
        if condition is None:
            problems.append(f'Rule "{row.name}": no plugin brings the condition {row.condition!r}.')
            continue
        try:
            settings = rule_settings(row)
            matched = tuple(change for change in changes if condition.applies(change, settings))
        except Exception as error:
            problems.append(f'Rule "{row.name}": {row.condition} failed: {type(error).__name__}: {error}.')
            log.warning("rule failed", rule_id=row.id, condition=row.condition, exc_info=error)
            continue
        if matched:
            fired.append(Firing(rule_id=row.id, changes=matched))
    return fired, problems


async def record_firings(session: AsyncSession, fired: Sequence[Firing], throttle_minutes: int, now: int) -> None:
    """Write alerts, the first as a message and the rest for a digest. In the transaction that ends the evaluation.

    Args:
        session: a write session.
        fired: what `evaluate` found.
        throttle_minutes: of the appliance, for rules without their own; 0 = every firing is a message.
        now: µs.
    """
    for firing in fired:
        # Two workers on Postgres must not both find the window open.
        rule = await session.get(RuleModel, firing.rule_id, with_for_update=True)
        if rule is not None and rule.enabled:
            await _record(session, rule, firing.changes, throttle_minutes, now)


async def _record(
    session: AsyncSession, rule: RuleModel, changes: Sequence[IssueChange], throttle_minutes: int, now: int
) -> None:
    minutes = throttle_minutes if rule.throttle_minutes is None else rule.throttle_minutes
    until = rule.throttled_until or 0
    waiting_query = select(AlertModel.id).where(AlertModel.rule_id == rule.id, AlertModel.outbox_id.is_(None)).limit(1)
    held_back = now < until or (await session.scalar(waiting_query)) is not None
    alerts = [
        AlertModel(
            rule_id=rule.id,
            project_id=rule.project_id,
            issue_id=change.issue_id,
            change=msgspec.json.encode(change).decode(),
            at=now,
        )
        for change in changes
    ]
    session.add_all(alerts)
    await session.flush()
    at_once = [] if held_back else alerts if minutes <= 0 else alerts[:1]
    for alert in at_once:
        alert.outbox_id = await add_entry(
            session,
            Purpose.ALERT,
            f"alert:{alert.id}",
            Body(alert_id=alert.id),
            now,
            channel=rule.channel,
            rule_id=rule.id,
            project_id=rule.project_id,
        )
    if at_once and minutes > 0:
        rule.throttled_until = until = now + minutes * 60_000_000
    if len(at_once) < len(alerts):
        await add_entry(
            session,
            Purpose.DIGEST,
            f"digest:{rule.id}:{until}",  # one for each window: those that come later join it
            Body(),
            now,
            channel=rule.channel,
            rule_id=rule.id,
            project_id=rule.project_id,
            due=max(until, now),
        )
    await session.flush()


def rule_settings(rule: RuleModel) -> dict[str, str]:
    """A rule's settings by the names of its form's fields."""
    return msgspec.json.decode(rule.settings, type=dict[str, str])
