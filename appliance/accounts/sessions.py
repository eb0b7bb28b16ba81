"""Signed-in browsers: opened at sign-in, found by their cookie, listed, revoked, expired.

A token is only ever made here, never taken from a request, so a session cannot be fixed by whoever planted a cookie.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import Actor, NotFoundError, Permission, Role
from appliance.accounts.inputs import clean
from appliance.accounts.models import ProjectMemberModel, UserModel, UserSessionModel
from appliance.accounts.tokens import hash_secret, is_secret, new_secret
from appliance.hookspecs import Clock
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel

HOUR: Final = 3_600_000_000  # µs
IDLE_HOURS: Final = 96  # a long weekend; the absolute end is `accounts.session_days`
TOUCH_EVERY: Final = 5 * 60 * 1_000_000  # µs between two writes of last_seen_at: a page view is not worth an fsync
MAX_PER_USER: Final = 50  # then the oldest goes: a script that signs in must not fill the table

# Asked before every page, so put together once.
_LIVE: Final = (
    select(UserSessionModel, UserModel)
    .join(UserModel, UserModel.id == UserSessionModel.user_id)
    .where(
        UserSessionModel.token_hash == bindparam("token_hash"),
        UserSessionModel.expires_at > bindparam("now"),
        UserSessionModel.last_seen_at > bindparam("used_since"),
        UserModel.disabled_at.is_(None),
    )
)


class Opened(Struct, frozen=True):
    """A new session: what goes into the cookie, once."""

    token: str
    seconds: int  # until it ends at the latest


class SessionView(Struct, frozen=True, kw_only=True):
    """A session, as its user sees it."""

    id: int
    created_at: int
    last_seen_at: int
    address: str
    user_agent: str
    browser: str  # in two words
    current: bool


class Sessions:
    """The table of signed-in browsers."""

    def __init__(self, database: Database, clock: Clock, session_days: int) -> None:
        self._database = database
        self._clock = clock
        self._days = session_days

    async def open(self, session: AsyncSession, user_id: int, *, address: str, user_agent: str) -> Opened:
        """Sign a browser in, in the caller's write transaction.

        Args:
            session: a write session.
            user_id: whose password (and second factor) was right.
            address: of the client, for the list of sessions.
            user_agent: likewise.
        """
        now = self._clock.now()
        kept = select(UserSessionModel.id).where(UserSessionModel.user_id == user_id)
        newest = kept.order_by(UserSessionModel.last_seen_at.desc()).limit(MAX_PER_USER - 1)
        await session.execute(
            delete(UserSessionModel).where(
                UserSessionModel.user_id == user_id, UserSessionModel.id.not_in(newest.scalar_subquery())
            )
        )
        token = new_secret()
        session.add(
            UserSessionModel(
                token_hash=hash_secret(token),
                user_id=user_id,
                created_at=now,
                last_seen_at=now,
                expires_at=now + self._days * 24 * HOUR,
                address=clean(address, 64),
                user_agent=clean(user_agent, 300),
            )
        )
        await session.execute(update(UserModel).where(UserModel.id == user_id).values(last_seen_at=now))
        await session.flush()
        return Opened(token, self._days * 24 * 3600)

    async def actor(self, token: str) -> Actor | None:
        """Who this cookie is; None when the session is unknown or has ended, or the user was disabled."""
        if not is_secret(token):
            return None
        now = self._clock.now()
        async with self._database.read() as session:
            asked = {"token_hash": hash_secret(token), "now": now, "used_since": now - IDLE_HOURS * HOUR}
            row = (await session.execute(_LIVE, asked)).one_or_none()
            if row is None:
                return None
            browser, user = row
            actor = await actor_of(session, user, session_id=browser.id)
        if browser.last_seen_at < now - TOUCH_EVERY:
            await self._touch(browser.id, user.id, now)
        return actor

    async def _touch(self, session_id: int, user_id: int, now: int) -> None:
        async with self._database.write() as session:
            await session.execute(
                update(UserSessionModel).where(UserSessionModel.id == session_id).values(last_seen_at=now)
            )
            await session.execute(update(UserModel).where(UserModel.id == user_id).values(last_seen_at=now))

    async def close(self, token: str) -> None:
        """Sign this browser out."""
        async with self._database.write() as session:
            await session.execute(delete(UserSessionModel).where(UserSessionModel.token_hash == hash_secret(token)))

    async def list(self, actor: Actor) -> list[SessionView]:
        """One's own live sessions, the latest first."""
        actor.require(Permission.ACCOUNT)
        now = self._clock.now()
        async with self._database.read() as session:
            rows = await session.scalars(
                select(UserSessionModel)
                .where(
                    UserSessionModel.user_id == actor.user_id,
                    UserSessionModel.expires_at > now,
                    UserSessionModel.last_seen_at > now - IDLE_HOURS * HOUR,
                )
                .order_by(UserSessionModel.last_seen_at.desc(), UserSessionModel.id.desc())
            )
            return [
                SessionView(
                    id=row.id,
                    created_at=row.created_at,
                    last_seen_at=row.last_seen_at,
                    address=row.address,
                    user_agent=row.user_agent,
                    browser=browser_name(row.user_agent),
                    current=row.id == actor.session_id,
                )
                for row in rows
            ]

    async def revoke(self, actor: Actor, session_id: int) -> None:
        """End one of one's own sessions. Raises `NotFoundError` when it is not one."""
        actor.require(Permission.ACCOUNT)
        async with self._database.write() as session:
            gone = await session.scalars(
                delete(UserSessionModel)
                .where(UserSessionModel.id == session_id, UserSessionModel.user_id == actor.user_id)
                .returning(UserSessionModel.id)
            )
            if gone.one_or_none() is None:
                raise NotFoundError("This session has already ended.")
            audit.record(session, actor, "session.revoked", self._clock.now(), target=actor.email)

    async def revoke_others(self, actor: Actor) -> None:
        """End all of one's own sessions but this one."""
        actor.require(Permission.ACCOUNT)
        async with self._database.write() as session:
            await close_all(session, actor.user_id, but=actor.session_id)
            audit.record(session, actor, "session.revoked", self._clock.now(), target=actor.email, detail="all others")

    async def prune(self) -> None:
        """Remove those that have ended."""
        now = self._clock.now()
        async with self._database.write() as session:
            await session.execute(
                delete(UserSessionModel).where(
                    (UserSessionModel.expires_at <= now) | (UserSessionModel.last_seen_at <= now - IDLE_HOURS * HOUR)
                )
            )


def browser_name(user_agent: str) -> str:
    """Browser and system in two words, to know one's own devices by: "Firefox, Windows"."""
    # In this order: Edge and Opera also say Chrome, Chrome also says Safari, Android also says Linux.
    browsers = {"Edg": "Edge", "OPR/": "Opera", "Firefox/": "Firefox", "Chrome/": "Chrome", "Safari/": "Safari"}
    systems = {
        "Windows": "Windows",
        "Android": "Android",
        "iPhone": "iPhone",
        "iPad": "iPad",
        "Mac OS X": "macOS",
        "Linux": "Linux",
    }
    found = [next((name for sign, name in kind.items() if sign in user_agent), "") for kind in (browsers, systems)]
    return ", ".join(name for name in found if name) or user_agent[:40] or "Unknown browser"


async def close_all(session: AsyncSession, user_id: int, *, but: int | None = None) -> None:
    """End a user's sessions in the caller's transaction: at a new password, a new role, when disabled."""
    statement = delete(UserSessionModel).where(UserSessionModel.user_id == user_id)
    await session.execute(statement if but is None else statement.where(UserSessionModel.id != but))


async def actor_of(
    session: AsyncSession, user: UserModel, *, session_id: int | None = None, scopes: frozenset[str] | None = None
) -> Actor:
    """The acting user as services see it, with the projects it sees now."""
    role = Role(user.role)
    project_ids: frozenset[int] | None = None
    if role in (Role.MEMBER, Role.VIEWER):
        rows = await session.scalars(
            select(ProjectMemberModel.project_id)
            .join(ProjectModel, ProjectModel.id == ProjectMemberModel.project_id)
            .where(ProjectMemberModel.user_id == user.id, ProjectModel.deleted_at.is_(None))
        )
        project_ids = frozenset(rows)
    return Actor(
        user_id=user.id,
        email=user.email,
        role=role,
        project_ids=project_ids,
        scopes=scopes,
        session_id=session_id,
        name=user.name,
        timezone=user.timezone,
    )
