"""One-time links and challenges: set-up, invitation, password reset, second factor.

All functions work in the caller's transaction.

Looking at a link's page does not use it up (mail scanners open links); sending its form does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.access import NotFoundError
from appliance.accounts.models import LinkModel
from appliance.accounts.tokens import hash_secret, is_secret, new_secret

MINUTE: Final = 60_000_000  # µs
KEEP_USED: Final = 30 * 24 * 60 * MINUTE  # for whoever asks why a link no longer works
ASKED: Final = -1  # in place of who made it: somebody who was not signed in


class LinkPurpose(StrEnum):
    """What a link lets its bearer do."""

    SETUP = "setup"  # create the owner, while there is none
    INVITATION = "invitation"  # choose the first password
    RESET = "reset"  # choose a new one
    SECOND_FACTOR = "second_factor"  # the password was right; a code is still to come


GONE: Final = "This link has been used, has expired, or was replaced by a newer one. {next_step}"
NEXT_STEP: Final = {
    LinkPurpose.SETUP: "Sign in if there is an owner; if not, start the appliance again: its log has a new link.",
    LinkPurpose.INVITATION: "Sign in if you chose a password with it; if not, ask whoever invited you for a new one.",
    LinkPurpose.RESET: "Ask for a new one.",
    LinkPurpose.SECOND_FACTOR: "Sign in again.",
}


class LinkGoneError(NotFoundError):
    """The link does not work (any more)."""

    def __init__(self, purpose: LinkPurpose) -> None:
        super().__init__(GONE.format(next_step=NEXT_STEP[purpose]))


class IssuedLink(Struct, frozen=True, kw_only=True):
    """A new link, for the one who may hand it over."""

    url: str
    hours: int  # how long it works
    mailed: bool
    mail_problem: str = ""  # why it was not mailed


async def make_link(
    session: AsyncSession,
    purpose: LinkPurpose,
    user_id: int | None,
    *,
    minutes: int,
    now: int,
    by: int | None = None,
    asked: bool = False,
) -> str:
    """Make a link and end the earlier ones of that user and purpose.

    Args:
        session: a write session.
        purpose: what it is for.
        user_id: whom it is for; None for the set-up link.
        minutes: how long it works.
        now: µs.
        by: who made it; None: nobody in particular.
        asked: a stranger asked for it, under "forgot password": it ends only others like it, never one that a person
            handed over and whose bearer would find it dead.

    Returns:
        The secret; only its hash is stored.
    """
    earlier = [LinkModel.purpose == purpose, LinkModel.user_id == user_id, LinkModel.used_at.is_(None)]
    if asked:
        by = ASKED
        earlier.append(LinkModel.created_by == ASKED)
    await session.execute(delete(LinkModel).where(*earlier))
    secret = new_secret()
    session.add(
        LinkModel(
            secret_hash=hash_secret(secret),
            purpose=purpose,
            user_id=user_id,
            created_at=now,
            expires_at=now + minutes * MINUTE,
            created_by=by,
        )
    )
    await session.flush()
    return secret


async def find_link(session: AsyncSession, purpose: LinkPurpose, secret: str, now: int) -> LinkModel:
    """A link that works now, without using it up. Raises `LinkGoneError` when it does not."""
    found: LinkModel | None = None
    if is_secret(secret):
        found = await session.scalar(
            select(LinkModel).where(
                LinkModel.secret_hash == hash_secret(secret),
                LinkModel.purpose == purpose,
                LinkModel.used_at.is_(None),
                LinkModel.expires_at > now,
            )
        )
    if found is None:
        raise LinkGoneError(purpose)
    return found


async def use_link(session: AsyncSession, purpose: LinkPurpose, secret: str, now: int) -> int | None:
    """Use a link up, in the transaction that does what it is for; of two at once one wins.

    Returns:
        The user it is for; None for the set-up link.

    Raises:
        LinkGoneError: it does not work (any more).
    """
    link = await find_link(session, purpose, secret, now)
    used = await session.scalars(
        update(LinkModel)
        .where(LinkModel.id == link.id, LinkModel.used_at.is_(None))
        .values(used_at=now)
        .returning(LinkModel.id)
    )
    if used.one_or_none() is None:
        raise LinkGoneError(purpose)
    return link.user_id


async def end_links(session: AsyncSession, user_id: int) -> None:
    """End what is over when there is a new password: invitations, reset links, and sign-ins that wait for a code."""
    await session.execute(
        delete(LinkModel).where(
            LinkModel.user_id == user_id,
            LinkModel.purpose.in_((LinkPurpose.INVITATION, LinkPurpose.RESET, LinkPurpose.SECOND_FACTOR)),
            LinkModel.used_at.is_(None),
        )
    )


async def prune_links(session: AsyncSession, now: int) -> None:
    """Remove those that expired, and used ones after a month."""
    await session.execute(
        delete(LinkModel).where(
            ((LinkModel.expires_at <= now) & LinkModel.used_at.is_(None)) | (LinkModel.used_at <= now - KEEP_USED)
        )
    )
