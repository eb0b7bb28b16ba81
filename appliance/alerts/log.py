"""What was told to whom: alerts, messages with each attempt, deliveries. Read by their projects' people alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

import msgspec
from sqlalchemy import Select, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, ForbiddenError, InvalidInputError, NotFoundError, Permission
from appliance.alerts.entries import Purpose, State, decode_body
from appliance.alerts.models import AlertModel, DeliveryModel, OutboxModel, RuleModel
from appliance.alerts.schemas import MAX_PAGE, AlertItem, DeliveryItem, Listing, MessageItem, bounded_id
from appliance.hookspecs import Clock, IssueChange
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel

TOLD: Final = (Purpose.ALERT, Purpose.DIGEST, Purpose.NOTIFICATION)  # the purposes that deliver something
PRUNE_ROWS: Final = 2_000  # of one write transaction
Rows = TypeVar("Rows", bound=Select[*tuple[Any, ...]])


class AlertLog:
    """Lists, newest first, with cursors."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Wire up."""
        self._database = database
        self._clock = clock

    async def alerts(
        self,
        actor: Actor,
        *,
        project_id: int | None = None,
        issue_id: int | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Listing[AlertItem]:
        """Firings of rules."""
        actor.require(Permission.ALERTS_READ)
        query = (
            select(AlertModel, RuleModel.name, ProjectModel.slug, OutboxModel.state)
            .join(ProjectModel, ProjectModel.id == AlertModel.project_id)
            .outerjoin(RuleModel, RuleModel.id == AlertModel.rule_id)
            .outerjoin(OutboxModel, OutboxModel.id == AlertModel.outbox_id)
            .where(ProjectModel.deleted_at.is_(None))
        )
        if issue_id is not None:
            query = query.where(AlertModel.issue_id == bounded_id(issue_id))
        query = _visible(query, AlertModel.project_id, actor, project_id)
        rows, following = await self._page(query, AlertModel.id, limit, cursor)
        return Listing(items=[_alert(*row) for row in rows], next=following)

    async def deliveries(
        self,
        actor: Actor,
        *,
        project_id: int | None = None,
        notifier: str = "",
        ok: bool | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> Listing[DeliveryItem]:
        """Attempts to deliver, skipped ones included."""
        actor.require(Permission.ALERTS_READ)
        query = _visible(select(DeliveryModel), DeliveryModel.project_id, actor, project_id)
        if notifier:
            query = query.where(DeliveryModel.notifier == notifier)
        if ok is not None:
            query = query.where(DeliveryModel.ok == ok)
        rows, following = await self._page(query, DeliveryModel.id, limit, cursor)
        return Listing(items=[_delivery(row[0]) for row in rows], next=following)

    async def messages(
        self, actor: Actor, *, project_id: int | None = None, state: str = "", limit: int = 25, cursor: str = ""
    ) -> Listing[MessageItem]:
        """Messages of the outbox, each with its attempts."""
        actor.require(Permission.ALERTS_READ)
        query = (
            select(OutboxModel, RuleModel.name, ProjectModel.slug)
            .outerjoin(RuleModel, RuleModel.id == OutboxModel.rule_id)
            .outerjoin(ProjectModel, ProjectModel.id == OutboxModel.project_id)
            .where(OutboxModel.purpose.in_(TOLD))
        )
        if state:
            query = query.where(OutboxModel.state == state)
        query = _visible(query, OutboxModel.project_id, actor, project_id)
        rows, following = await self._page(query, OutboxModel.id, limit, cursor)
        attempts = await self._attempts([row[0].id for row in rows])
        items = [_message(entry, rule, slug, attempts.get(entry.id, [])) for entry, rule, slug in rows]
        return Listing(items=items, next=following)

    async def failed_count(self, actor: Actor) -> int:
        """How many messages of the actor's projects were given up."""
        failed = select(func.count()).where(OutboxModel.state == State.FAILED, OutboxModel.purpose.in_(TOLD))
        async with self._database.read() as session:
            return await session.scalar(_visible(failed, OutboxModel.project_id, actor, None)) or 0

    async def retry(self, actor: Actor, message_id: int) -> None:
        """Try a failed message again from the start. Raises `NotFoundError`, `ForbiddenError`."""
        now = self._clock.now()
        async with self._database.write() as session:
            entry = await _find(session, actor, message_id)
            if entry.state != State.FAILED or decode_body(entry.body).secret:
                raise ForbiddenError("Only a failed message can be tried again, and none with a one-time link.")
            entry.state, entry.attempts, entry.next_at, entry.finished_at = State.WAITING, 0, now, None
            entry.created_at = now  # its two days begin again

    async def discard(self, actor: Actor, message_id: int) -> None:
        """Give a failed or waiting message up. Raises `NotFoundError`, `ForbiddenError`."""
        async with self._database.write() as session:
            entry = await _find(session, actor, message_id)
            if entry.state not in {State.FAILED, State.WAITING}:
                raise ForbiddenError("It is being sent, or finished: there is nothing to give up.")
            entry.state, entry.finished_at = State.DISCARDED, self._clock.now()
            if decode_body(entry.body).secret:
                entry.body = "{}"
            if entry.purpose == Purpose.DIGEST:  # or the next firing would wait for a digest that never comes
                waiting = (AlertModel.rule_id == entry.rule_id, AlertModel.outbox_id.is_(None))
                await session.execute(update(AlertModel).where(*waiting).values(outbox_id=entry.id))

    async def prune(self, days: int) -> int:
        """Forget what was finished so many days ago; how many rows went. In short transactions."""
        before = self._clock.now() - days * 86_400_000_000
        finished = select(OutboxModel.id).where(OutboxModel.finished_at < before).limit(PRUNE_ROWS)
        told = select(AlertModel.id).where(AlertModel.at < before, AlertModel.outbox_id.is_not(None)).limit(PRUNE_ROWS)
        gone = 0
        for table, old in ((OutboxModel, finished), (AlertModel, told)):
            while True:
                async with self._database.write() as session:
                    ids = (await session.scalars(old)).all()
                    if ids:
                        await session.execute(delete(table).where(table.id.in_(ids)))
                if not ids:
                    break
                gone += len(ids)
        return gone

    async def _page(
        self, query: Select[*tuple[Any, ...]], key: Any, limit: int, cursor: str
    ) -> tuple[Sequence[Any], str | None]:
        limit = min(max(limit, 1), MAX_PAGE)
        if cursor:
            query = query.where(key < _id_of(cursor))
        async with self._database.read() as session:
            rows = (await session.execute(query.order_by(key.desc()).limit(limit + 1))).all()
        shown = rows[:limit]
        return shown, str(shown[-1][0].id) if len(rows) > limit else None

    async def _attempts(self, message_ids: Sequence[int]) -> dict[int, list[DeliveryItem]]:
        query = select(DeliveryModel).where(DeliveryModel.outbox_id.in_(message_ids)).order_by(DeliveryModel.id)
        found: dict[int, list[DeliveryItem]] = {}
        async with self._database.read() as session:
            for row in await session.scalars(query):
                found.setdefault(row.outbox_id, []).append(_delivery(row))
        return found


def _visible(query: Rows, column: Any, actor: Actor, project_id: int | None) -> Rows:
    """The actor's projects alone; what belongs to no project is for those who may see the system."""
    if project_id is not None:
        actor.require_project(project_id, Permission.ALERTS_READ)
        return query.where(column == bounded_id(project_id))
    if actor.project_ids is not None:
        return query.where(column.in_(actor.project_ids))
    return query if actor.may(Permission.SYSTEM_READ) else query.where(column.is_not(None))


def _id_of(cursor: str) -> int:
    if cursor.isascii() and cursor.isdecimal() and len(cursor) <= 18:
        return int(cursor)
    raise InvalidInputError({"cursor": "This cursor is none of ours: take the one of the answer before."})


async def _find(session: AsyncSession, actor: Actor, message_id: int) -> OutboxModel:
    entry = await session.get(OutboxModel, bounded_id(message_id))
    gone = NotFoundError("There is no such message, or it belongs to a project that you are not a member of.")
    if entry is None or entry.purpose not in TOLD:
        raise gone
    if entry.project_id is None:
        if actor.project_ids is not None:
            raise gone
        actor.require(Permission.SYSTEM_WRITE)
    else:
        actor.require_project(entry.project_id, Permission.ALERTS_WRITE)
    return entry


def _alert(alert: AlertModel, rule: str | None, slug: str, state: str | None) -> AlertItem:
    change = msgspec.json.decode(alert.change, type=IssueChange)
    return AlertItem(
        id=alert.id,
        project_id=alert.project_id,
        project_slug=slug,
        rule_id=alert.rule_id,
        rule=rule or "",
        issue_id=alert.issue_id,
        change=change.change,
        title=change.title,
        level=change.level,
        at=alert.at,
        message_id=alert.outbox_id,
        state=state or ("collecting" if alert.outbox_id is None else "delivered"),
    )


def _delivery(row: DeliveryModel) -> DeliveryItem:
    return DeliveryItem(
        id=row.id,
        message_id=row.outbox_id,
        project_id=row.project_id,
        channel=row.channel,
        notifier=row.notifier,
        attempt=row.attempt,
        at=row.started_at,
        seconds=row.seconds,
        ok=row.ok,
        skipped=row.skipped,
        reply=row.reply,
        provider_id=row.provider_id,
        subject=row.subject,
        recipients=row.recipients.splitlines(),
    )


def _message(entry: OutboxModel, rule: str | None, slug: str | None, deliveries: list[DeliveryItem]) -> MessageItem:
    body = decode_body(entry.body)
    notification = body.notification
    last = deliveries[-1] if deliveries else None
    finished = entry.state not in {State.WAITING, State.SENDING}
    collecting = "A digest, still collecting" if entry.purpose == Purpose.DIGEST else "Not written yet"
    subject = notification.subject if notification else last.subject if last else collecting
    recipients = list(notification.recipients) if notification else last.recipients if last else []
    return MessageItem(
        id=entry.id,
        project_id=entry.project_id,
        project_slug=slug or "",
        purpose=entry.purpose,
        channel=entry.channel,
        rule=rule or "",
        subject=subject,
        recipients=recipients,
        state=entry.state,
        attempts=entry.attempts,
        created_at=entry.created_at,
        next_at=None if finished else entry.next_at,
        finished_at=entry.finished_at,
        error=entry.last_error,
        retryable=entry.state == State.FAILED and not body.secret,
        deliveries=deliveries,
    )
