"""Signing in: password, then a code where there is a second factor; forgotten passwords; taking up links.

Nothing here tells whether an account exists: the same work, the same words, the same throttling for one that does not.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import InvalidInputError, NotFoundError, Role
from appliance.accounts.inputs import MAX_NAME, clean, email_key
from appliance.accounts.links import LinkPurpose, end_links, find_link, make_link, use_link
from appliance.accounts.models import UserModel
from appliance.accounts.passwords import PasswordHasher, password_problem
from appliance.accounts.sessions import Opened, Sessions, actor_of, close_all
from appliance.accounts.throttle import ADDRESS_FACTOR, Throttle, account_key, address_key
from appliance.accounts.two_factor import use_code
from appliance.hookspecs import Clock
from appliance.metadata.database import Database

WRONG: Final = "The address or the password is wrong."
WRONG_CODE: Final = "This code is wrong, too old, or was used already. Wait for the next one in your app."
DISABLED: Final = "This account is disabled. Ask an owner or an admin."
CHALLENGE_MINUTES: Final = 10  # to find the phone


class Client(Struct, frozen=True, kw_only=True):
    """The browser that asks."""

    address: str
    user_agent: str = ""


class Challenge(Struct, frozen=True):
    """The password was right; `second_factor` wants this and a code."""

    secret: str


class Invited(Struct, frozen=True, kw_only=True):
    """Whose link it is, for the page that asks for a password."""

    email: str
    name: str
    role: Role


class SignIn:
    """The ways in."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        hasher: PasswordHasher,
        sessions: Sessions,
        throttle: Throttle,
        attempts: int,
    ) -> None:
        self._database = database
        self._clock = clock
        self._hasher = hasher
        self._sessions = sessions
        self._throttle = throttle
        self._attempts = attempts

    async def password(self, email: str, password: str, client: Client) -> Opened | Challenge:
        """The first step.

        Raises:
            InvalidInputError: wrong, unknown, invited but not here yet, or disabled: one answer for all.
            WaitError: too many attempts.
        """
        key = account_key(email_key(email))
        charge = await self._throttle.charge(self._limits(key, client))
        async with self._database.read() as session:
            user = await session.scalar(select(UserModel).where(UserModel.email_key == email_key(email)))
        stored = user.password_hash if user is not None and user.disabled_at is None else ""
        if not await self._hasher.matches(password, stored) or user is None:
            raise InvalidInputError({"": WRONG})
        now = self._clock.now()
        async with self._database.write() as session:
            still = await session.get(UserModel, user.id)
            if still is None or still.disabled_at is not None or still.password_hash != stored:
                raise InvalidInputError({"": WRONG})  # it changed while the hash was computed
            if still.totp_secret:
                secret = await make_link(
                    session, LinkPurpose.SECOND_FACTOR, still.id, minutes=CHALLENGE_MINUTES, now=now
                )
                answer: Opened | Challenge = Challenge(secret)
            else:
                answer = await self._open(session, still, client, now)
        # With a second factor to come, earlier failures stay: else a known password would buy endless codes.
        await self._throttle.forgive(charge, clear="" if isinstance(answer, Challenge) else key)
        return answer

    async def second_factor(self, secret: str, code: str, client: Client) -> Opened:
        """The second step.

        Raises:
            NotFoundError: the challenge is over; start again with the password.
            InvalidInputError: the code is wrong or was used.
            WaitError: too many attempts.
        """
        async with self._database.read() as session:
            link = await find_link(session, LinkPurpose.SECOND_FACTOR, secret, self._clock.now())
            user = await session.get(UserModel, link.user_id)
        key = account_key(user.email_key if user else "")
        charge = await self._throttle.charge(self._limits(key, client))
        now = self._clock.now()
        async with self._database.write() as session:
            user = await session.get(UserModel, link.user_id)
            if user is None or user.disabled_at is not None:
                raise NotFoundError("Sign in again.")
            if not user.totp_secret or await use_code(session, user, code, now):
                await use_link(session, LinkPurpose.SECOND_FACTOR, secret, now)
                opened = await self._open(session, user, client, now)
            else:
                raise InvalidInputError({"code": WRONG_CODE})
        await self._throttle.forgive(charge, clear=key)
        return opened

    async def invited(self, purpose: LinkPurpose, secret: str) -> Invited:
        """Whose invitation or reset link this is. Raises `NotFoundError` when it does not work."""
        async with self._database.read() as session:
            link = await find_link(session, purpose, secret, self._clock.now())
            user = await session.get(UserModel, link.user_id)
        if user is None or user.disabled_at is not None:
            raise NotFoundError(DISABLED)
        return Invited(email=user.email, name=user.name, role=Role(user.role))

    async def take_up(self, secret: str, name: str, password: str, client: Client) -> Opened:
        """Accept an invitation: choose a name and the first password, and be signed in.

        Raises:
            NotFoundError: the link does not work.
            InvalidInputError: the password cannot be one.
        """
        invited = await self.invited(LinkPurpose.INVITATION, secret)
        hashed = await self._checked_hash(password, invited.email)
        now = self._clock.now()
        async with self._database.write() as session:
            user = await self._user_of(session, LinkPurpose.INVITATION, secret, now)
            user.name, user.password_hash = clean(name, MAX_NAME), hashed
            await end_links(session, user.id)  # another invitation of theirs would set the password once more
            return await self._open(session, user, client, now, "user.joined")

    async def reset_password(self, secret: str, password: str) -> None:
        """Set a new password by a reset link; ends all sessions of that user, who then signs in.

        Raises:
            NotFoundError: the link does not work.
            InvalidInputError: the password cannot be one.
        """
        invited = await self.invited(LinkPurpose.RESET, secret)
        hashed = await self._checked_hash(password, invited.email)
        now = self._clock.now()
        async with self._database.write() as session:
            user = await self._user_of(session, LinkPurpose.RESET, secret, now)
            user.password_hash = hashed
            await close_all(session, user.id)
            await end_links(session, user.id)
            audit.record(session, await actor_of(session, user), "user.password_reset", now, target=user.email)
        await self._throttle.clear(account_key(user.email_key))

    async def _user_of(self, session: AsyncSession, purpose: LinkPurpose, secret: str, now: int) -> UserModel:
        user = await session.get(UserModel, await use_link(session, purpose, secret, now))
        if user is None or user.disabled_at is not None:
            raise NotFoundError(DISABLED)
        return user

    async def _open(
        self, session: AsyncSession, user: UserModel, client: Client, now: int, action: str = "user.signed_in"
    ) -> Opened:
        actor = await actor_of(session, user)
        audit.record(session, actor, action, now, target=user.email, detail=f"from {clean(client.address, 64)}")
        return await self._sessions.open(session, user.id, address=client.address, user_agent=client.user_agent)

    def _limits(self, key: str, client: Client) -> list[tuple[str, int]]:
        return [(key, self._attempts), (address_key(client.address), self._attempts * ADDRESS_FACTOR)]

    async def _checked_hash(self, password: str, email: str) -> str:
        problem = password_problem(password, email)
        if problem:
            raise InvalidInputError({"password": problem})
        return await self._hasher.hash(password)
