"""A real SMTP server in a thread that keeps what it receives, for tests of notifiers and of whole appliances.

Needs the `test` extra (aiosmtpd).
"""

from __future__ import annotations

import asyncio
import ssl
import threading
import warnings
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default as modern_policy
from types import TracebackType
from typing import Any, Final, Literal

from msgspec import Struct

START_SECONDS: Final = 10.0  # a thread and a socket: only a broken machine needs longer


class ReceivedMail(Struct, frozen=True, kw_only=True):
    """One accepted message with its envelope."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes
    tls: bool
    user: str  # who signed in; "" for nobody

    @property
    def message(self) -> EmailMessage:
        """The parsed message."""
        return BytesParser(policy=modern_policy).parsebytes(self.content)

    @property
    def subject(self) -> str:
        """Its decoded subject."""
        return str(self.message["subject"])

    def body(self, kind: Literal["plain", "html"] = "plain") -> str:
        """The decoded text of one of its parts; "" when it has none."""
        part = self.message.get_body((kind,))
        return str(part.get_content()) if part is not None else ""


class Mailbox:
    """Listens on a free loopback port while it is used as a context manager."""

    def __init__(
        self,
        *,
        security: Literal["starttls", "tls", "none"] = "none",
        certificate: ssl.SSLContext | None = None,
        users: dict[str, str] | None = None,
    ) -> None:
        """Say how it behaves; it starts at `with`.

        Args:
            security: what it speaks; with "starttls" it refuses mail in clear.
            certificate: a server-side context; needed for both kinds of TLS.
            users: name → password; when given, mail is refused before signing in.
        """
        if security != "none" and certificate is None:
            raise ValueError(f"security {security!r} needs a certificate")
        self.host: str = "127.0.0.1"
        self.port: int = 0
        self.received: list[ReceivedMail] = []
        self.replies: dict[str, str] = {}  # what to say instead of 250: by "MAIL", "DATA" or a recipient's address
        self.silent_at: str = ""  # "DATA": takes the message, never answers
        self._security = security
        self._certificate = certificate
        self._users = users
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="mailbox", daemon=True)
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Mailbox:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(START_SECONDS)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result(START_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_SECONDS)
        self._loop.close()

    async def _listen(self) -> asyncio.Server:
        from aiosmtpd.smtp import SMTP

        def protocol() -> asyncio.Protocol:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that signing in without TLS is unsafe is what some tests are about
                return SMTP(
                    self,
                    hostname="mailbox.test",
                    loop=self._loop,
                    tls_context=self._certificate if self._security == "starttls" else None,
                    require_starttls=self._security == "starttls",
                    auth_required=self._users is not None,
                    auth_require_tls=False,
                    authenticator=self._authenticate if self._users is not None else None,
                )

        context = self._certificate if self._security == "tls" else None
        return await self._loop.create_server(protocol, self.host, 0, ssl=context)

    async def _hang_up(self) -> None:
        if self._server is not None:
            self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        from aiosmtpd.smtp import AuthResult

        name, password = data.login.decode(), data.password.decode()
        good = self._users is not None and self._users.get(name) == password
        return AuthResult(success=good, handled=False, auth_data=name if good else None)

    # aiosmtpd calls these by name.

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """MAIL FROM."""
        if "MAIL" in self.replies:
            return self.replies["MAIL"]
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        """RCPT TO."""
        if address in self.replies:
            return self.replies[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        """The message."""
        if "DATA" in self.replies:
            return self.replies["DATA"]
        self.received.append(
            ReceivedMail(
                sender=envelope.mail_from,
                recipients=tuple(envelope.rcpt_tos),
                content=bytes(envelope.content),
                tls=self._security == "tls" or bool(session.ssl),
                user=str(session.auth_data or ""),
            )
        )
        if self.silent_at == "DATA":
            await asyncio.Event().wait()
        return "250 2.0.0 queued as mailbox-1"
