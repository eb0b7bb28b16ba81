"""The audit log: who changed what in accounts, projects and settings; written in the transaction of the change."""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import Actor, Permission
from appliance.accounts.models import AuditModel
from appliance.metadata.database import Database

KEEP: Final = 365 * 86_400_000_000  # µs: a year, the span that reviews ask for


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One change, as pages show it."""

    at: int
    actor: str
    action: str
    target: str
    detail: str


def record(
    session: AsyncSession, actor: Actor | None, action: str, now: int, *, target: str = "", detail: str = ""
) -> None:
    """Add a row to the caller's transaction.

    Args:
        session: the write session of the change.
        actor: who; None when nobody was signed in yet.
        action: noun and verb: "user.invited".
        now: µs.
        target: what was changed: an address, a slug.
        detail: in what way; no secrets.
    """
    session.add(
        AuditModel(
            at=now,
            user_id=actor.user_id or None if actor else None,
            actor=actor.email if actor else "",
            action=action,
            target=target[:254],
            detail=detail[:2_000],
        )
    )


async def recent(database: Database, actor: Actor, limit: int = 50) -> list[AuditEntry]:
    """The latest changes, newest first; for those who manage users."""
    actor.require(Permission.USERS_MANAGE)
    async with database.read() as session:
        rows = await session.scalars(select(AuditModel).order_by(AuditModel.id.desc()).limit(limit))
        return [
            AuditEntry(at=row.at, actor=row.actor, action=row.action, target=row.target, detail=row.detail)
            for row in rows
        ]


async def prune(session: AsyncSession, now: int) -> None:
    """Remove rows older than a year, in the caller's transaction."""
    await session.execute(delete(AuditModel).where(AuditModel.at < now - KEEP))
