"""The first run: exactly one owner is created, by `condev init` or by a link that only the log shows."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts import audit
from appliance.accounts.access import ForbiddenError, InvalidInputError, Role
from appliance.accounts.inputs import MAX_EMAIL, MAX_NAME, clean, email_key, email_problem
from appliance.accounts.links import LinkGoneError, LinkPurpose, find_link, make_link, use_link
from appliance.accounts.models import LinkModel, UserModel
from appliance.accounts.passwords import PasswordHasher, password_problem
from appliance.accounts.sessions import actor_of
from appliance.accounts.users import lock_owners
from appliance.hookspecs import Clock
from appliance.metadata.database import Database


class Setup:
    """Creates the owner, once."""

    def __init__(
        self, database: Database, clock: Clock, hasher: PasswordHasher, site_url: str, link_hours: int
    ) -> None:
        self._database = database
        self._clock = clock
        self._hasher = hasher
        self._site_url = site_url.rstrip("/")
        self._hours = link_hours

    async def needed(self) -> bool:
        """Whether there is no owner yet."""
        async with self._database.read() as session:
            return not await _has_owner(session)

    async def new_link(self) -> str:
        """The address of the set-up page, for the log at start; ends the one of an earlier start.

        Returns:
            "" when there is an owner.
        """
        async with self._database.write() as session:
            await lock_owners(session)
            if await _has_owner(session):
                await _end_links(session)
                return ""
            secret = await make_link(session, LinkPurpose.SETUP, None, minutes=self._hours * 60, now=self._clock.now())
            return f"{self._site_url}/setup/{secret}"

    async def check_link(self, secret: str) -> None:
        """Raise `NotFoundError` when this set-up link does not work (any more)."""
        async with self._database.read() as session:
            await find_link(session, LinkPurpose.SETUP, secret, self._clock.now())
            if await _has_owner(session):
                raise LinkGoneError(LinkPurpose.SETUP)

    async def create_owner(self, email: str, password: str, name: str = "", secret: str | None = None) -> int:
        """Create the owner; of several at once one wins.

        Args:
            email: of the owner.
            password: chosen by them.
            name: as others will see it.
            secret: of the set-up link; None on the command line, which needs none.

        Returns:
            The user's id.

        Raises:
            NotFoundError: the link does not work.
            ForbiddenError: there is an owner already.
            InvalidInputError: the address or the password cannot be used.
        """
        if secret is not None:
            await self.check_link(secret)  # before any hashing: a stranger's guess costs nothing
        email = clean(email, MAX_EMAIL + 1)
        errors = {"email": email_problem(email), "password": password_problem(password, email)}
        errors = {field: problem for field, problem in errors.items() if problem}
        if errors:
            raise InvalidInputError(errors)
        hashed = await self._hasher.hash(password)
        now = self._clock.now()
        async with self._database.write() as session:
            await lock_owners(session)
            if await _has_owner(session):
                raise ForbiddenError("There is an owner already: sign in, or use `condev user create`.")
            if secret is not None:
                await use_link(session, LinkPurpose.SETUP, secret, now)
            if await session.scalar(select(UserModel.id).where(UserModel.email_key == email_key(email))):
                raise InvalidInputError({"email": "There is a user with this address already."})
            user = UserModel(
                email=email,
                email_key=email_key(email),
                name=clean(name, MAX_NAME),
                role=Role.OWNER,
                password_hash=hashed,
                created_at=now,
            )
            session.add(user)
            await session.flush()
            await _end_links(session)
            audit.record(session, await actor_of(session, user), "owner.created", now, target=email)
            return user.id


async def _has_owner(session: AsyncSession) -> bool:
    return await session.scalar(select(UserModel.id).where(UserModel.role == Role.OWNER).limit(1)) is not None


async def _end_links(session: AsyncSession) -> None:
    await session.execute(delete(LinkModel).where(LinkModel.purpose == LinkPurpose.SETUP, LinkModel.used_at.is_(None)))
