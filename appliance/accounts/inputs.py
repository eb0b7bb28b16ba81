"""What people type into account and project forms: trimmed, bounded, and refused in words."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

MAX_EMAIL: Final = 254  # RFC 5321's path, and the column
MAX_NAME: Final = 120  # the column
_UNPRINTABLE: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_EMAIL: Final = re.compile(r"[^@\s\"<>(),;:\\\[\]]{1,64}@[^@\s\"<>(),;:\\]{1,189}")


def clean(text: str, limit: int) -> str:
    """One line without control characters (Postgres takes no NUL, mail no CR or LF), trimmed, cut at `limit`."""
    kept = "".join(" " if unicodedata.category(sign) in _UNPRINTABLE else sign for sign in text[: limit * 4])
    return " ".join(kept.split())[:limit]


def email_problem(email: str) -> str:
    """Why this is no mail address, in a sentence; "" when it looks like one."""
    if not email:
        return "Enter a mail address."
    if len(email) > MAX_EMAIL or _EMAIL.fullmatch(email) is None:
        return "This is not a mail address: it looks like name@example.com."
    return ""


def email_key(email: str) -> str:
    """The same address however it is typed."""
    return unicodedata.normalize("NFKC", clean(email, MAX_EMAIL)).casefold()[:MAX_EMAIL]
