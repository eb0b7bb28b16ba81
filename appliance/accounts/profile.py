"""One's own account: name, time zone, password, second factor."""

from __future__ import annotations

import zoneinfo
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import Actor, InvalidInputError, NotSignedInError, Permission
from appliance.accounts.inputs import MAX_NAME, clean
from appliance.accounts.links import end_links
from appliance.accounts.models import UserModel
from appliance.accounts.passwords import PasswordHasher, password_problem
from appliance.accounts.sessions import Opened, Sessions, close_all
from appliance.accounts.sign_in import Client
from appliance.accounts.throttle import Throttle, account_key
from appliance.accounts.two_factor import is_totp_secret, matching_step, use_code
from appliance.hookspecs import Clock
from appliance.metadata.database import Database

NOT_CURRENT: Final = "This is not your current password."


class Profile:
    """What a person may change about themselves."""

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

    async def has_two_factor(self, actor: Actor) -> bool:
        """Whether signing in asks for a code."""
        async with self._database.read() as session:
            return bool((await _own(session, actor)).totp_secret)

    async def update(self, actor: Actor, name: str, timezone: str) -> None:
        """Set name and time zone ("" = the browser's). Raises `InvalidInputError` for a zone that is none."""
        if timezone and timezone not in zoneinfo.available_timezones():
            raise InvalidInputError({"timezone": "Choose one from the list, like Europe/Berlin, or leave it empty."})
        async with self._database.write() as session:
            user = await _own(session, actor)
            user.name, user.timezone = clean(name, MAX_NAME), timezone

    async def change_password(self, actor: Actor, current: str, new: str, client: Client) -> Opened:
        """Change one's password: every session ends, this browser gets a new one.

        Raises:
            InvalidInputError: the current one is wrong, or the new one cannot be one.
        """
        problem = password_problem(new, actor.email)
        if problem:
            raise InvalidInputError({"new_password": problem})
        await self._confirm(actor, current, "current_password")
        hashed = await self._hasher.hash(new)
        async with self._database.write() as session:
            user = await _own(session, actor)
            user.password_hash = hashed
            return await self._renew(session, actor, client, "user.password_changed")

    async def enable_two_factor(self, actor: Actor, secret: str, code: str, current: str, client: Client) -> Opened:
        """Ask for a code at each sign-in from now on.

        Args:
            actor: who.
            secret: what their app was given.
            code: what it shows: proof that it works.
            current: the password: a borrowed browser must not lock its owner out.
            client: the browser, which gets a new session.
        """
        now = self._clock.now()
        if not is_totp_secret(secret):
            raise InvalidInputError({"": "This page is out of date. Start again."})
        if matching_step(secret, code, now, 0) is None:
            raise InvalidInputError({"code": "This is not what the app should show. Check the phone's clock."})
        await self._confirm(actor, current, "current_password")
        async with self._database.write() as session:
            user = await _own(session, actor)
            user.totp_secret, user.totp_last_step = secret, 0
            await session.flush()
            if not await use_code(session, user, code, self._clock.now()):
                raise InvalidInputError({"code": "This code has run out meanwhile. Type the one shown now."})
            return await self._renew(session, actor, client, "user.two_factor_added")

    async def disable_two_factor(self, actor: Actor, current: str, client: Client) -> Opened:
        """The password alone is enough again."""
        await self._confirm(actor, current, "current_password")
        async with self._database.write() as session:
            user = await _own(session, actor)
            user.totp_secret = ""
            return await self._renew(session, actor, client, "user.two_factor_removed")

    async def _confirm(self, actor: Actor, password: str, field: str) -> None:
        """A stolen session must not be a way to guess the password: throttled as sign-ins are."""
        async with self._database.read() as session:
            user = await _own(session, actor)
        charge = await self._throttle.charge([(account_key(user.email_key), self._attempts)])
        if not await self._hasher.matches(password, user.password_hash):
            raise InvalidInputError({field: NOT_CURRENT})
        await self._throttle.forgive(charge)

    async def _renew(self, session: AsyncSession, actor: Actor, client: Client, action: str) -> Opened:
        await close_all(session, actor.user_id)
        await end_links(session, actor.user_id)
        audit.record(session, actor, action, self._clock.now(), target=actor.email)
        return await self._sessions.open(session, actor.user_id, address=client.address, user_agent=client.user_agent)


async def _own(session: AsyncSession, actor: Actor) -> UserModel:
    actor.require(Permission.ACCOUNT)
    user = await session.get(UserModel, actor.user_id)
    if user is None or user.disabled_at is not None:
        raise NotSignedInError("Sign in again.")
    return user
