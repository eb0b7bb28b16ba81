"""API tokens: bearer secrets of a user for `/api/v1`, shown once, bounded by scopes and by the user's role of now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import func, select, update

from appliance.accounts import audit
from appliance.accounts.access import (
    COMMAND_LINE,
    SCOPE_PERMISSIONS,
    Actor,
    InvalidInputError,
    NotFoundError,
    Permission,
)
from appliance.accounts.inputs import MAX_NAME, clean
from appliance.accounts.models import ApiTokenModel, UserModel
from appliance.accounts.sessions import TOUCH_EVERY, actor_of
from appliance.accounts.tokens import PREFIX_SHOWN, hash_secret, is_api_token, new_api_token
from appliance.hookspecs import Clock
from appliance.metadata.database import Database

MAX_PER_USER: Final = 100  # live ones; more is a script that makes one a run
DAY: Final = 86_400_000_000  # µs
MAX_DAYS: Final = 3_660  # ten years: beyond it "never" is meant


class TokenView(Struct, frozen=True, kw_only=True):
    """A token, as lists show it: never the secret."""

    id: int
    user_id: int
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: int
    last_used_at: int | None
    expires_at: int | None


class ApiTokens:
    """The tokens of users."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def create(
        self, actor: Actor, name: str, scopes: Sequence[str], *, days: int | None = None, user_id: int | None = None
    ) -> str:
        """Make one.

        Args:
            actor: who; a person makes their own, the command line anybody's.
            name: what it is for.
            scopes: of `SCOPE_PERMISSIONS`.
            days: how long it works; None: until revoked.
            user_id: whose, when it is not the actor's.

        Returns:
            The token; it cannot be shown again.

        Raises:
            InvalidInputError: no name, an unknown scope, too many tokens.
        """
        owner = self._owner(actor, user_id)
        name, now = clean(name, MAX_NAME), self._clock.now()
        errors: dict[str, str] = {}
        if not name:
            errors["name"] = "Say what it is for, so that you know later which one to revoke."
        unknown = sorted(set(scopes) - set(SCOPE_PERMISSIONS))
        if unknown:
            errors["scopes"] = f"There is no scope {unknown[0]!r}. There are: {', '.join(SCOPE_PERMISSIONS)}."
        elif not scopes:
            errors["scopes"] = "Choose at least one scope: a token without any can do nothing."
        if days is not None and not 0 < days <= MAX_DAYS:
            errors["days"] = f"Use 1 to {MAX_DAYS} days, or leave it to work until it is revoked."
        if errors:
            raise InvalidInputError(errors)
        token = new_api_token()
        async with self._database.write() as session:
            user = await session.get(UserModel, owner)
            if user is None or user.disabled_at is not None:
                raise NotFoundError("There is no such user, or it is disabled.")
            live = select(func.count()).where(ApiTokenModel.user_id == owner, ApiTokenModel.revoked_at.is_(None))
            if (await session.scalar(live) or 0) >= MAX_PER_USER:
                raise InvalidInputError({"": f"There are {MAX_PER_USER} tokens already. Revoke one that is not used."})
            session.add(
                ApiTokenModel(
                    token_hash=hash_secret(token),
                    prefix=token[:PREFIX_SHOWN],
                    user_id=owner,
                    name=name,
                    scopes=" ".join(scope for scope in SCOPE_PERMISSIONS if scope in scopes),
                    created_at=now,
                    expires_at=now + days * DAY if days is not None else None,
                )
            )
            audit.record(session, actor, "token.created", now, target=user.email, detail=name)
        return token

    async def list(self, actor: Actor, user_id: int | None = None) -> list[TokenView]:
        """The live tokens of the actor (the command line: of a user), the newest first."""
        owner = self._owner(actor, user_id)
        async with self._database.read() as session:
            rows = await session.scalars(
                select(ApiTokenModel)
                .where(ApiTokenModel.user_id == owner, ApiTokenModel.revoked_at.is_(None))
                .order_by(ApiTokenModel.id.desc())
            )
            return [_view(row) for row in rows]

    async def revoke(self, actor: Actor, token_id: int, user_id: int | None = None) -> None:
        """End one. Raises `NotFoundError` when it is not the actor's or already ended."""
        owner, now = self._owner(actor, user_id), self._clock.now()
        async with self._database.write() as session:
            names = await session.scalars(
                update(ApiTokenModel)
                .where(
                    ApiTokenModel.id == token_id,
                    ApiTokenModel.user_id == owner,
                    ApiTokenModel.revoked_at.is_(None),
                )
                .values(revoked_at=now)
                .returning(ApiTokenModel.name)
            )
            name = names.one_or_none()
            if name is None:
                raise NotFoundError("This token has already been revoked.")
            audit.record(session, actor, "token.revoked", now, target=actor.email, detail=name)

    async def actor(self, token: str) -> Actor | None:
        """Who a bearer is; None when the token is unknown, revoked or expired, or its user was disabled."""
        if not is_api_token(token):
            return None
        now = self._clock.now()
        async with self._database.read() as session:
            found = await session.execute(
                select(ApiTokenModel, UserModel)
                .join(UserModel, UserModel.id == ApiTokenModel.user_id)
                .where(
                    ApiTokenModel.token_hash == hash_secret(token),
                    ApiTokenModel.revoked_at.is_(None),
                    (ApiTokenModel.expires_at.is_(None)) | (ApiTokenModel.expires_at > now),
                    UserModel.disabled_at.is_(None),
                )
            )
            row = found.one_or_none()
            if row is None:
                return None
            bearer, user = row
            actor = await actor_of(session, user, scopes=frozenset(bearer.scopes.split()))
        if (bearer.last_used_at or 0) < now - TOUCH_EVERY:
            async with self._database.write() as session:
                await session.execute(
                    update(ApiTokenModel).where(ApiTokenModel.id == bearer.id).values(last_used_at=now)
                )
        return actor

    def _owner(self, actor: Actor, user_id: int | None) -> int:
        actor.require(Permission.ACCOUNT)
        if user_id is None or user_id == actor.user_id:
            return actor.user_id
        if actor is not COMMAND_LINE:
            raise NotFoundError("A token is made and revoked by the person it belongs to.")
        return user_id


def _view(row: ApiTokenModel) -> TokenView:
    return TokenView(
        id=row.id,
        user_id=row.user_id,
        name=row.name,
        prefix=row.prefix,
        scopes=tuple(row.scopes.split()),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
    )
