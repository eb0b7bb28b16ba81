"""The second factor: time-based codes (RFC 6238), each of which works once."""

from __future__ import annotations

import hmac
import re
from typing import Final

import pyotp
from pyotp.totp import TOTP
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession

from appliance.accounts.models import UserModel

STEP: Final = 30_000_000  # µs: what every authenticator app uses
DRIFT: Final = 1  # steps either way: clocks of phones are off by seconds, people type slowly
_SECRET: Final = re.compile(r"[A-Z2-7]{32}")
_CODE: Final = re.compile(r"[0-9]{6}")


def new_totp_secret() -> str:
    """160 random bits in base 32."""
    return pyotp.random_base32(32)


def is_totp_secret(text: str) -> bool:
    """Whether this could be one of `new_totp_secret`."""
    return _SECRET.fullmatch(text) is not None


def totp_uri(secret: str, email: str, issuer: str) -> str:
    """What an authenticator app reads from a QR code."""
    return TOTP(secret).provisioning_uri(name=email, issuer_name=issuer)


def matching_step(secret: str, code: str, now: int, after: int) -> int | None:
    """The time step that a code is of.

    Args:
        secret: base 32.
        code: as typed; spaces are ignored.
        now: µs.
        after: the last step whose code was used: that one and earlier ones no longer count.

    Returns:
        The step, or None when the code is wrong, too old or used.
    """
    code = "".join(code.split())
    if _CODE.fullmatch(code) is None:
        return None
    totp = TOTP(secret)
    for step in range(now // STEP - DRIFT, now // STEP + DRIFT + 1):
        if hmac.compare_digest(totp.generate_otp(step), code) and step > after:
            return step
    return None


async def use_code(session: AsyncSession, user: UserModel, code: str, now: int) -> bool:
    """Use a code up in the caller's write transaction; of two at once one wins.

    Returns:
        Whether it was right and not used before.
    """
    step = matching_step(user.totp_secret, code, now, user.totp_last_step)
    if step is None:
        return False
    used = await session.scalars(
        update(UserModel)
        .where(UserModel.id == user.id, UserModel.totp_last_step < step)
        .values(totp_last_step=step)
        .returning(UserModel.id)
    )
    return used.one_or_none() is not None
