"""Passwords: what is accepted as one, and hashing that cannot take the machine down.

bcrypt over base64(SHA-256(password)): bcrypt alone reads 72 bytes and stops at a NUL. Hashing runs in two threads, with
a short queue; what does not fit is refused in words, so that a flood of sign-ins cannot starve the event loop.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

import bcrypt

from appliance.accounts.access import WaitError

MIN_PASSWORD: Final = 8  # characters: the floor of NIST SP 800-63B; longer is the person's choice
MAX_PASSWORD: Final = 256  # characters: more than any manager makes, little enough to normalise and hash
AT_ONCE: Final = 2  # hashes at a time: each holds a core for a quarter of a second
WAITING: Final = 16  # more than these would wait over two seconds: better told to try again
ROUNDS: Final = 12  # 2^12: about 0.25 s on a small VPS
DIGEST: Final = 31  # characters of a bcrypt hash behind its salt

T = TypeVar("T")
V = TypeVar("V")

# Those that any list of leaked passwords starts with and that are long enough to pass the length check.
_COMMON_WORDS: Final = """
password password1 password12 password123 passw0rd 12345678 123456789 1234567890 87654321 11111111 00000000
qwertyui qwertyuiop qwerty123 1q2w3e4r 1qaz2wsx iloveyou sunshine princess football baseball superman trustno1
letmein1 welcome1 admin123 administrator changeme changeme123 abcd1234 abc12345 aaaaaaaa
"""
_COMMON: Final = frozenset(_COMMON_WORDS.split())


def password_problem(password: str, email: str) -> str:
    """Why this cannot be a password, in a sentence; "" when it can."""
    if len(password) < MIN_PASSWORD:
        return f"Use at least {MIN_PASSWORD} characters. A few words in a row are easier to remember than signs."
    if len(password) > MAX_PASSWORD:
        return f"Use at most {MAX_PASSWORD} characters."
    plain = password.casefold()
    if plain in _COMMON or len(set(plain)) < 3:
        return "This one is among the first that anybody tries. Choose another."
    if plain in (email.casefold(), email.casefold().partition("@")[0]):
        return "Choose something else than your address."
    return ""


class PasswordHasher:
    """Hashes and checks passwords, at most two at a time."""

    def __init__(self, rounds: int = ROUNDS) -> None:
        """Args: rounds: bcrypt's cost; tests use the least, 4."""
        self._rounds = rounds
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bcrypt")
        self._pending = 0
        # Compared with when there is no account, so that this path costs what the other does. Made up: a real hash
        # would take a quarter of a second at each start of the appliance and of every verb about accounts.
        self._dummy = bcrypt.gensalt(rounds).decode() + "." * DIGEST

    async def hash(self, password: str) -> str:
        """What is stored. Raises `WaitError` when too many wait."""
        return await self._run(_hash, password, self._rounds)

    async def matches(self, password: str, stored: str) -> bool:
        """Whether it is the password; "" as `stored` costs the same and never is.

        Raises:
            WaitError: too many wait.
        """
        ok = await self._run(_matches, password[: MAX_PASSWORD + 1], stored or self._dummy)
        return ok and bool(stored)

    async def _run(self, function: Callable[[str, V], T], password: str, other: V) -> T:
        if self._pending >= AT_ONCE + WAITING:
            raise WaitError(
                "Too many people are signing in right now. Try again in a few seconds.", retry_after=3, status=503
            )
        self._pending += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, function, password, other)
        finally:
            self._pending -= 1

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _prepared(password: str) -> bytes:
    # NFKC: the same password typed on another keyboard or system is the same bytes.
    return base64.b64encode(
        hashlib.sha256(unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")).digest()
    )


def _hash(password: str, rounds: int) -> str:
    return bcrypt.hashpw(_prepared(password), bcrypt.gensalt(rounds)).decode()


def _matches(password: str, stored: str) -> bool:
    return bcrypt.checkpw(_prepared(password), stored.encode())
