"""Figures of the System page that are sums over the metadata: totals, drops by days, deliveries."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, case, func, select

from appliance.alerts.entries import State
from appliance.alerts.log import TOLD
from appliance.alerts.models import DeliveryModel, OutboxModel, RuleModel
from appliance.metadata.database import Database
from appliance.model import MICROSECONDS
from appliance.pipeline.models import DropCountModel, PipelineCountModel
from appliance.projects.models import ProjectModel
from appliance.system.schemas import DropLine, NotifierState, Undelivered

DAY: Final = 86_400 * MICROSECONDS
MAX_LINES: Final = 100  # of drops: reasons come from SDKs, too


async def totals(database: Database) -> dict[str, int]:
    """Counts for life, by name."""
    async with database.read() as session:
        rows = await session.execute(select(PipelineCountModel.name, PipelineCountModel.quantity))
        return {row.name: row.quantity for row in rows}


async def drop_lines(database: Database, now: int) -> list[DropLine]:
    """What was not kept in the last 30 days, the most of this week first."""
    today = now // DAY
    quantity = func.coalesce(func.sum(DropCountModel.quantity), 0)

    def since(days: int) -> ColumnElement[int]:
        recent = case((DropCountModel.day > today - days, DropCountModel.quantity), else_=0)
        return func.coalesce(func.sum(recent), 0)

    query = (
        select(DropCountModel.source, DropCountModel.reason, since(1), since(7), quantity)
        .where(DropCountModel.day > today - 30)
        .group_by(DropCountModel.source, DropCountModel.reason)
        .order_by(quantity.desc())
        .limit(MAX_LINES)
    )
    async with database.read() as session:
        rows = (await session.execute(query)).all()
    lines = [DropLine(source=r[0], reason=r[1], today=int(r[2]), week=int(r[3]), month=int(r[4])) for r in rows]
    return sorted(lines, key=lambda line: (-line.week, -line.month, line.source, line.reason))


async def dropped_by_reason(database: Database, *, by_clients: bool) -> dict[str, int]:
    """Sums of everything that is still counted (90 days), by reason."""
    mine = DropCountModel.source == "client" if by_clients else DropCountModel.source != "client"
    query = (
        select(DropCountModel.reason, func.sum(DropCountModel.quantity))
        .where(mine)
        .group_by(DropCountModel.reason)
        .order_by(DropCountModel.reason)
        .limit(1_000)
    )
    async with database.read() as session:
        return {row[0]: int(row[1]) for row in await session.execute(query)}


async def notifier_states(database: Database, now: int) -> list[NotifierState]:
    """What each notifier did in the last day."""
    recent = DeliveryModel.started_at > now - DAY
    counts = (
        select(
            DeliveryModel.notifier, DeliveryModel.ok, DeliveryModel.skipped, func.count(), func.max(DeliveryModel.id)
        )
        .where(recent)
        .group_by(DeliveryModel.notifier, DeliveryModel.ok, DeliveryModel.skipped)
    )
    async with database.read() as session:
        rows = (await session.execute(counts)).all()
        newest: dict[str, int] = {}
        for row in rows:
            newest[row[0]] = max(newest.get(row[0], 0), row[4])
        replies = await session.execute(
            select(DeliveryModel.id, DeliveryModel.reply).where(DeliveryModel.id.in_(newest.values()))
        )
        reply_of = {row.id: row.reply for row in replies}
    states: list[NotifierState] = []
    for name in sorted(newest):
        of = [row for row in rows if row[0] == name]
        states.append(
            NotifierState(
                notifier=name,
                delivered=sum(row[3] for row in of if row[1]),
                failed=sum(row[3] for row in of if not row[1] and not row[2]),
                skipped=sum(row[3] for row in of if not row[1] and row[2]),
                last_reply=reply_of.get(newest[name], "")[:300],
            )
        )
    return states


async def undelivered(database: Database) -> Undelivered:
    """Messages that reached nobody, and how many enabled rules count on each channel."""
    told = OutboxModel.purpose.in_(TOLD)
    late = (OutboxModel.state == State.WAITING, OutboxModel.attempts > 0, OutboxModel.last_error != "")
    by_channel = (
        select(RuleModel.channel, func.count())
        .join(ProjectModel, ProjectModel.id == RuleModel.project_id)
        .where(RuleModel.enabled, ProjectModel.deleted_at.is_(None))
        .group_by(RuleModel.channel)
    )
    async with database.read() as session:
        return Undelivered(
            failed=await session.scalar(select(func.count()).where(told, OutboxModel.state == State.FAILED)) or 0,
            late=await session.scalar(select(func.count()).where(told, *late)) or 0,
            rules={row[0]: row[1] for row in await session.execute(by_channel)},
        )
