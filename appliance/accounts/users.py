"""Users, as owners and admins manage them: invite, role, projects, disable, links to hand over.

At least one owner who can sign in always remains; only owners touch owners.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, Protocol

from msgspec import Struct
from sqlalchemy import delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import (
    Actor,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    Permission,
    Role,
)
from appliance.accounts.inputs import MAX_EMAIL, MAX_NAME, clean, email_key, email_problem
from appliance.accounts.links import IssuedLink, LinkPurpose, end_links, make_link
from appliance.accounts.models import LinkModel, ProjectMemberModel, UserModel
from appliance.accounts.passwords import PasswordHasher, password_problem
from appliance.accounts.sessions import close_all
from appliance.hookspecs import Clock
from appliance.metadata.database import Database
from appliance.projects.models import ProjectModel

NO_USER: Final = "There is no such user."
LAST_OWNER: Final = "This is the only owner who can sign in. Make somebody else an owner first."


class AccountMailer(Protocol):
    """Mails one-time links where mail works: the alerts' service."""

    def mail_problem(self) -> str:
        """Why mail could not be sent; "" when it could."""
        ...

    async def send_account_mail(
        self,
        session: AsyncSession,
        kind: Literal["invitation", "password_reset"],
        *,
        to: str,
        link: str,
        hours: int,
        by: str = "",
    ) -> None:
        """Put the mail into the outbox, in the transaction that made the link."""
        ...


class UserView(Struct, frozen=True, kw_only=True):
    """A user, as lists show it."""

    id: int
    email: str
    name: str
    role: Role
    projects: tuple[int, ...]  # membership; owners and admins see all without it
    two_factor: bool
    invited: bool  # has no password yet
    disabled: bool
    last_seen_at: int | None
    created_at: int


class Users:
    """The table of users, for those who manage it."""

    def __init__(
        self, database: Database, clock: Clock, hasher: PasswordHasher, site_url: str, link_hours: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._hasher = hasher
        self._site_url = site_url.rstrip("/")
        self._hours = link_hours
        self.mailer: AccountMailer | None = None  # set once alerts are up; the command line has none

    async def list(self, actor: Actor) -> list[UserView]:
        """Everybody, by address."""
        actor.require(Permission.USERS_MANAGE)
        async with self._database.read() as session:
            users = (await session.scalars(select(UserModel).order_by(UserModel.email_key))).all()
            members: dict[int, list[int]] = {}
            for member in await session.scalars(select(ProjectMemberModel)):
                members.setdefault(member.user_id, []).append(member.project_id)
        return [_view(user, members.get(user.id, ())) for user in users]

    async def find(self, actor: Actor, email: str) -> UserView:
        """By address. Raises `NotFoundError`."""
        for user in await self.list(actor):
            if email_key(user.email) == email_key(email):
                return user
        raise NotFoundError(f"There is no user {clean(email, MAX_EMAIL)}. `condev user list` shows all.")

    async def create(self, actor: Actor, email: str, role: Role, password: str, name: str = "") -> int:
        """Make a user who can sign in at once.

        Raises:
            InvalidInputError: the address or password cannot be used, or the address is taken.
        """
        problem = password_problem(password, email)
        errors = {"password": problem} if problem else {}
        email = self._checked_email(email, errors)
        hashed = await self._hasher.hash(password)
        async with self._database.write() as session:
            return (await self._add(session, actor, email, role, name, hashed, (), "user.created")).id

    async def invite(self, actor: Actor, email: str, role: Role, project_ids: Iterable[int]) -> IssuedLink:
        """Make a user without a password, and the link by which they choose one.

        Args:
            actor: who invites.
            email: whom.
            role: what they will be.
            project_ids: which projects a member or viewer will see.

        Raises:
            InvalidInputError: the address cannot be used or is taken.
        """
        email = self._checked_email(email, {})
        async with self._database.write() as session:
            user = await self._add(session, actor, email, role, "", "", project_ids, "user.invited")
            return await self._issue(session, actor, user, LinkPurpose.INVITATION)

    async def issue_link(self, actor: Actor, user_id: int) -> IssuedLink:
        """A new invitation for who has no password yet, else a password reset; earlier links end."""
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            if user.disabled_at is not None:
                raise InvalidInputError({"": "This account is disabled. Enable it first."})
            purpose = LinkPurpose.RESET if user.password_hash else LinkPurpose.INVITATION
            audit.record(session, actor, f"user.{purpose}_link", self._clock.now(), target=user.email)
            return await self._issue(session, actor, user, purpose)

    async def forgotten(self, email: str) -> None:
        """Mail a reset link to that address if it is a user's and mail works; tells the caller nothing.

        Links that were handed over go on working: anybody may ask for this, for anybody.
        """
        if self.mailer is None or self.mailer.mail_problem():
            return
        async with self._database.write() as session:
            user = await session.scalar(select(UserModel).where(UserModel.email_key == email_key(email)))
            if user is not None and user.disabled_at is None:
                purpose = LinkPurpose.RESET if user.password_hash else LinkPurpose.INVITATION
                await self._issue(session, None, user, purpose, asked=True)
                audit.record(session, None, "user.forgot_password", self._clock.now(), target=user.email)

    async def set_role(self, actor: Actor, user_id: int, role: Role) -> None:
        """Give a user another role; their sessions end. Raises `InvalidInputError` for the last owner."""
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            if Role(user.role) == role:
                return
            if role == Role.OWNER:
                actor.require(Permission.OWNERS_MANAGE)
            await self._keep_an_owner(session, user)
            audit.record(
                session, actor, "user.role", self._clock.now(), target=user.email, detail=f"{user.role} → {role}"
            )
            user.role = role
            await close_all(session, user.id)

    async def set_disabled(self, actor: Actor, user_id: int, disabled: bool) -> None:
        """Lock a user out, or let them in again. Tokens and sessions of a disabled user do not work."""
        now = self._clock.now()
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            if user.id == actor.user_id:
                raise InvalidInputError({"": "You cannot disable yourself. Ask another owner or admin."})
            if disabled:
                await self._keep_an_owner(session, user)
                await close_all(session, user.id)
                await session.execute(
                    delete(LinkModel).where(LinkModel.user_id == user.id, LinkModel.used_at.is_(None))
                )
            user.disabled_at = now if disabled else None
            audit.record(session, actor, "user.disabled" if disabled else "user.enabled", now, target=user.email)

    async def set_password(self, actor: Actor, user_id: int, password: str) -> None:
        """Set a password for somebody (the command line); their sessions end."""
        async with self._database.read() as session:
            email = (await self._changeable(session, actor, user_id)).email
        problem = password_problem(password, email)
        if problem:
            raise InvalidInputError({"password": problem})
        hashed = await self._hasher.hash(password)
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            user.password_hash = hashed
            await close_all(session, user.id)
            await end_links(session, user.id)
            audit.record(session, actor, "user.password_set", self._clock.now(), target=user.email)

    async def remove_two_factor(self, actor: Actor, user_id: int) -> None:
        """For who lost their phone: the password alone is enough again."""
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            user.totp_secret = ""
            await close_all(session, user.id)
            audit.record(session, actor, "user.two_factor_removed", self._clock.now(), target=user.email)

    async def set_projects(self, actor: Actor, user_id: int, project_ids: Iterable[int]) -> None:
        """Which projects a member or viewer sees."""
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            await session.execute(delete(ProjectMemberModel).where(ProjectMemberModel.user_id == user.id))
            await self._join(session, user.id, project_ids)
            audit.record(session, actor, "user.projects", self._clock.now(), target=user.email)

    async def set_member(self, actor: Actor, project_id: int, user_id: int, member: bool) -> None:
        """Let a user see one project, or no longer."""
        actor.require_project(project_id, Permission.PROJECTS_MANAGE)
        async with self._database.write() as session:
            user = await self._changeable(session, actor, user_id)
            project = await session.get(ProjectModel, project_id)
            if project is None or project.deleted_at is not None:
                raise NotFoundError("There is no such project.")
            await session.execute(
                delete(ProjectMemberModel).where(
                    ProjectMemberModel.user_id == user.id, ProjectMemberModel.project_id == project_id
                )
            )
            if member:
                await self._join(session, user.id, (project_id,))
            action = "project.member_added" if member else "project.member_removed"
            audit.record(session, actor, action, self._clock.now(), target=project.slug, detail=user.email)

    async def _add(
        self,
        session: AsyncSession,
        actor: Actor,
        email: str,
        role: Role,
        name: str,
        password_hash: str,
        project_ids: Iterable[int],
        action: str,
    ) -> UserModel:
        actor.require(Permission.OWNERS_MANAGE if role == Role.OWNER else Permission.USERS_MANAGE)
        now = self._clock.now()
        if await session.scalar(select(UserModel.id).where(UserModel.email_key == email_key(email))):
            raise InvalidInputError({"email": "There is a user with this address already."})
        user = UserModel(
            email=email,
            email_key=email_key(email),
            name=clean(name, MAX_NAME),
            role=role,
            password_hash=password_hash,
            created_at=now,
        )
        session.add(user)
        await session.flush()
        await self._join(session, user.id, project_ids)
        audit.record(session, actor, action, now, target=email, detail=role)
        return user

    async def _join(self, session: AsyncSession, user_id: int, project_ids: Iterable[int]) -> None:
        known = await session.scalars(
            select(ProjectModel.id).where(ProjectModel.id.in_(set(project_ids)), ProjectModel.deleted_at.is_(None))
        )
        now = self._clock.now()
        session.add_all(ProjectMemberModel(user_id=user_id, project_id=id_, added_at=now) for id_ in known)

    async def _changeable(self, session: AsyncSession, actor: Actor, user_id: int) -> UserModel:
        actor.require(Permission.USERS_MANAGE)
        user = await session.get(UserModel, user_id)
        if user is None:
            raise NotFoundError(NO_USER)
        if user.role == Role.OWNER and not actor.may(Permission.OWNERS_MANAGE):
            raise ForbiddenError("Only an owner changes an owner's account.")
        return user

    async def _keep_an_owner(self, session: AsyncSession, user: UserModel) -> None:
        if user.role != Role.OWNER:
            return
        await lock_owners(session)
        others = select(func.count()).where(
            UserModel.role == Role.OWNER,
            UserModel.id != user.id,
            UserModel.disabled_at.is_(None),
            UserModel.password_hash != "",
        )
        if not await session.scalar(others):
            raise InvalidInputError({"": LAST_OWNER})

    async def _issue(
        self,
        session: AsyncSession,
        actor: Actor | None,
        user: UserModel,
        purpose: LinkPurpose,
        *,
        asked: bool = False,
    ) -> IssuedLink:
        by, now = actor.user_id or None if actor else None, self._clock.now()
        secret = await make_link(session, purpose, user.id, minutes=self._hours * 60, now=now, by=by, asked=asked)
        url = f"{self._site_url}/{purpose}/{secret}"
        problem = "Mail is not set up." if self.mailer is None else self.mailer.mail_problem()
        if self.mailer is not None and not problem:
            await self.mailer.send_account_mail(
                session,
                "invitation" if purpose is LinkPurpose.INVITATION else "password_reset",
                to=user.email,
                link=url,
                hours=self._hours,
                by=(actor.name or actor.email) if actor else "",
            )
        return IssuedLink(url=url, hours=self._hours, mailed=not problem, mail_problem=problem)

    def _checked_email(self, email: str, errors: dict[str, str]) -> str:
        email = clean(email, MAX_EMAIL + 1)
        problem = email_problem(email)
        if problem:
            errors["email"] = problem
        if errors:
            raise InvalidInputError(errors)
        return email


async def lock_owners(session: AsyncSession) -> None:
    """Make whoever counts owners wait for each other. SQLite's write transactions do that anyway."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(text("SELECT pg_advisory_xact_lock(hashtext('condev.owners'))"))


def _view(user: UserModel, projects: Iterable[int]) -> UserView:
    return UserView(
        id=user.id,
        email=user.email,
        name=user.name,
        role=Role(user.role),
        projects=tuple(sorted(projects)),
        two_factor=bool(user.totp_secret),
        invited=not user.password_hash,
        disabled=user.disabled_at is not None,
        last_seen_at=user.last_seen_at,
        created_at=user.created_at,
    )
