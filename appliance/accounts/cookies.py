"""The cookies of accounts: what they are called, how they are read, and how an answer sets them.

Under https they carry the `__Host-` prefix: no other host, sub-domain or plain-http answer can plant one.
Handlers only say what should be set; `send_cookies` (a `before_send` hook) puts it on whatever answer goes out.
"""

from __future__ import annotations

from typing import Any, Final, Literal, cast

from litestar.connection import ASGIConnection
from litestar.datastructures import Cookie, MutableScopeHeaders
from litestar.types import Message, Scope

from appliance.accounts.sessions import Opened
from appliance.accounts.sign_in import CHALLENGE_MINUTES
from appliance.accounts.tokens import is_secret

Connection = ASGIConnection[Any, Any, Any, Any]
Name = Literal["session", "visitor", "challenge"]
_WAITING: Final = "condev_cookies"  # key of scope["state"]


class Cookies:
    """Reads and sets the cookies of one site."""

    def __init__(self, site_url: str) -> None:
        """Args: site_url: https makes them Secure; plain http is for localhost."""
        self.secure = site_url.startswith("https://")
        self._prefix = "__Host-condev_" if self.secure else "condev_"

    def read(self, connection: Connection, name: Name) -> str:
        """The value; "" when there is none, or none that we could have set."""
        value = connection.cookies.get(self._prefix + name, "")
        return value if is_secret(value) else ""

    def sign_in(self, connection: Connection, opened: Opened) -> None:
        """Hand a new session over; what led to it is no longer needed."""
        self._set(connection, "session", opened.token, opened.seconds)
        self.forget(connection, "visitor")
        self.forget(connection, "challenge")

    def challenge(self, connection: Connection, secret: str) -> None:
        """Remember that the password was right, until the code comes."""
        self._set(connection, "challenge", secret, CHALLENGE_MINUTES * 60)

    def visitor(self, connection: Connection, value: str) -> None:
        """What the forms of somebody not signed in are bound to; ends with the browser."""
        self._set(connection, "visitor", value, None)

    def forget(self, connection: Connection, name: Name) -> None:
        """Delete a cookie, if the browser has it."""
        if self._prefix + name in connection.cookies:
            self._set(connection, name, "", 0)

    def _set(self, connection: Connection, name: Name, value: str, max_age: int | None) -> None:
        cookie = Cookie(
            key=self._prefix + name,
            value=value,
            path="/",
            max_age=max_age,
            httponly=True,
            secure=self.secure,
            samesite="lax",
        )
        waiting = cast("dict[str, Cookie]", connection.scope["state"].setdefault(_WAITING, {}))
        waiting[name] = cookie


async def send_cookies(message: Message, scope: Scope) -> None:
    """Litestar's `before_send` hook."""
    if message["type"] != "http.response.start":
        return
    waiting = cast("dict[str, Cookie]", scope["state"].get(_WAITING, {}))
    headers = MutableScopeHeaders.from_message(message)
    for cookie in waiting.values():
        headers.add("set-cookie", cookie.to_header(header=""))
