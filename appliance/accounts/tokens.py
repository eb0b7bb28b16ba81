"""Secrets that the appliance hands out: how they are made, stored and compared. Only their SHA-256 is ever stored."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from typing import Final

API_TOKEN_PREFIX: Final = "cdm_"  # noqa: S105 - public on purpose: scanners of leaked secrets know one by it
PREFIX_SHOWN: Final = 12  # characters of an API token that lists show: 8 random ones tell tokens apart, 35 stay secret
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_CSRF_SALT_BYTES: Final = 16


def new_secret() -> str:
    """256 random bits as 43 URL-safe characters: for session cookies and one-time links."""
    return secrets.token_urlsafe(32)


def new_api_token() -> str:
    """A bearer token."""
    return API_TOKEN_PREFIX + new_secret()


def hash_secret(secret: str) -> bytes:
    """What is stored. One round is enough for 256 random bits; look-ups by it leak no usable timing."""
    return hashlib.sha256(secret.encode()).digest()


def is_secret(text: str) -> bool:
    """Whether this could be one of `new_secret`: anything else is not looked up."""
    return _SECRET.fullmatch(text) is not None


def is_api_token(text: str) -> bool:
    """Whether this could be one of `new_api_token`."""
    return text.startswith(API_TOKEN_PREFIX) and is_secret(text[len(API_TOKEN_PREFIX) :])


def new_csrf_token(cookie: str) -> str:
    """A token for the forms of one page, bound to the cookie it came with.

    Salted, so that it differs in each answer and compression of the page tells nothing about it (BREACH).

    Args:
        cookie: the session's token, or the visitor cookie's value before signing in.
    """
    salt = secrets.token_bytes(_CSRF_SALT_BYTES)
    return base64.urlsafe_b64encode(salt + _csrf_mac(cookie, salt)).decode().rstrip("=")


def csrf_token_is_valid(token: str, cookie: str) -> bool:
    """Whether the token was made for this cookie."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except ValueError:
        return False
    salt, mac = raw[:_CSRF_SALT_BYTES], raw[_CSRF_SALT_BYTES:]
    return len(salt) == _CSRF_SALT_BYTES and hmac.compare_digest(mac, _csrf_mac(cookie, salt))


def _csrf_mac(cookie: str, salt: bytes) -> bytes:
    return hmac.digest(cookie.encode(), b"condev csrf\0" + salt, "sha256")
