"""Delivers mail through an SMTP server: STARTTLS, TLS from the start, or plain; certificates are verified.

The `emails` package writes the MIME message; the conversation is held with the standard library's client, in a thread,
because `emails` would neither verify certificates nor say at which step it failed.
"""

from __future__ import annotations

import asyncio
import re
import smtplib
import socket
import ssl
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from email.utils import parseaddr
from typing import Final, Literal

from msgspec import Struct

from appliance.hookspecs import (
    CheckStep,
    DeliveryError,
    Notification,
    Notifier,
    PluginContext,
    PluginInfo,
    Receipt,
    Secret,
    hookimpl,
)

Report = Callable[[str, str], None]  # (step, detail)

PORTS: Final = {"starttls": 587, "tls": 465, "none": 25}  # what each kind of security usually listens on
MAX_RECIPIENTS: Final = 100  # what RFC 5321 makes every server accept
MAX_REPLY: Final = 500


class SmtpConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.smtp]`."""

    host: str = ""
    port: int | None = None  # None: 587 for starttls, 465 for tls, 25 for none
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str = ""
    password: Secret | None = None
    timeout: float = 20.0  # seconds for the whole conversation; the host allows 30
    verify_tls: bool = True
    ca_file: str = ""  # a further authority to trust, as a PEM file


class _Mail(Struct, frozen=True):
    """What is sent: the envelope and the message."""

    sender: str
    recipients: tuple[str, ...]
    content: bytes


class SmtpNotifier(Notifier):
    """Sends one mail per notification, over a connection of its own."""

    name = "smtp"

    def __init__(self, context: PluginContext) -> None:
        """Args: context: ours, with an `SmtpConfig`."""
        self._context = context
        self._config: SmtpConfig = context.config

    def configured(self) -> str:
        """See `Notifier.configured`."""
        if not self._config.host:
            return "SMTP needs [plugins.smtp] host."
        if self._config.username and not self._config.password:
            return "[plugins.smtp] has a username and no password."
        return ""

    async def deliver(self, notification: Notification) -> Receipt:
        """See `Notifier.deliver`."""
        return await self._converse(notification, _ignore)

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        """See `Notifier.check`."""
        config = self._config
        if problem := self.configured():
            return [CheckStep(name="config", ok=False, detail=problem, mend=_mend("config", config))]
        detail = f"{config.host}:{_port(config)}, security {config.security}, from {self._context.mail_from}"
        steps = [CheckStep(name="config", ok=True, detail=detail)]
        clock = self._context.clock
        since = clock.monotonic()

        def report(name: str, detail: str) -> None:
            nonlocal since
            now = clock.monotonic()
            steps.append(CheckStep(name=name, ok=True, detail=detail, seconds=now - since))
            since = now

        try:
            await self._converse(notification, report)
        except DeliveryError as error:
            detail = f"{error} It said: {error.reply}" if error.reply else str(error)
            name, seconds = error.stage or "accept", clock.monotonic() - since
            steps.append(CheckStep(name=name, ok=False, detail=detail, mend=_mend(name, config), seconds=seconds))
        return steps

    async def _converse(self, notification: Notification | None, report: Report) -> Receipt:
        if problem := self.configured():
            raise DeliveryError(problem, retryable=False, stage="config")
        mail = self._mail(notification) if notification is not None else None
        conversation = _Conversation(self._config, _helo_name(self._context.mail_from), report)
        try:
            async with asyncio.timeout(self._config.timeout + 1):  # the sockets' own deadline comes first
                reply = await asyncio.to_thread(conversation.run, mail)
        except TimeoutError as error:
            raise conversation.failure(error) from error
        finally:
            conversation.abort()  # a thread that still waits for the server ends now
        return Receipt(reply=reply)

    def _mail(self, notification: Notification) -> _Mail:
        # 160 ms and a DNS library: only where mail is sent
        from emails.exc import BadHeaderError
        from emails.message import Message

        if not notification.recipients:
            raise DeliveryError("There is no address to send to.", retryable=False, stage="accept", about_message=True)
        recipients = notification.recipients[:MAX_RECIPIENTS]
        name, sender = _sender(self._context.mail_from)
        message = Message(
            subject=" ".join(notification.subject.splitlines()),
            mail_from=(name, sender),
            mail_to=[(None, recipient) for recipient in recipients],
            message_id=_message_id(notification.id, sender),
            date=self._context.clock.now() / 1_000_000,
            headers={"Auto-Submitted": "auto-generated", "X-Condev-Kind": re.sub(r"[^\w-]", "_", notification.kind)},
            html=notification.html or None,
            text=notification.text,
        )
        try:
            envelope = tuple(_ascii(recipient) for recipient in recipients)
            return _Mail(sender=_ascii(sender), recipients=envelope, content=message.as_bytes())
        except (ValueError, BadHeaderError) as error:
            text = f"This message cannot be written as mail: {error}."
            raise DeliveryError(text, retryable=False, stage="accept", about_message=True) from error


class _Conversation:
    """One SMTP session, from name look-up to QUIT; blocking. Remembers how far it came."""

    def __init__(self, config: SmtpConfig, helo: str, report: Report) -> None:
        self._config = config
        self._helo = helo
        self._report = report
        self._deadline = time.monotonic() + config.timeout
        self._client: smtplib.SMTP | None = None
        self._stage = "dns"
        self._content_sent = False

    def run(self, mail: _Mail | None) -> str:
        """Hold the conversation; without a mail, up to signing in. Returns the server's last words."""
        try:
            with self._at("dns"):
                self._resolve()
            client = self._connect()
            if self._config.security == "starttls":
                with self._at("tls"):
                    self._start_tls(client)
            with self._at("auth"):
                self._sign_in(client)
            if mail is None:
                reply = "ready"
            else:
                with self._at("accept"):
                    reply = self._hand_over(client, mail)
            with suppress(smtplib.SMTPException, OSError):  # it was accepted: how the server says goodbye is nothing
                client.quit()
            return reply
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the connection, from whichever thread."""
        client = self._client
        if client is not None:
            with suppress(OSError):
                client.close()

    @contextmanager
    def _at(self, stage: str) -> Generator[None, None, None]:
        self._stage = stage
        client = self._client
        if client is not None and client.sock is not None:
            client.sock.settimeout(self._left())
        try:
            yield
        except (OSError, smtplib.SMTPException, UnicodeError) as error:
            raise self.failure(error) from error

    def _left(self) -> float:
        return max(self._deadline - time.monotonic(), 0.1)

    def _resolve(self) -> None:
        found = socket.getaddrinfo(self._config.host, _port(self._config), type=socket.SOCK_STREAM)
        self._report("dns", f"{self._config.host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}")

    def _connect(self) -> smtplib.SMTP:
        host, port = self._config.host, _port(self._config)
        with self._at("connect"):
            if self._config.security == "tls":
                context = _tls_context(self._config)
                client: smtplib.SMTP = smtplib.SMTP_SSL(
                    host, port, local_hostname=self._helo, timeout=self._left(), context=context
                )
            else:
                client = smtplib.SMTP(host, port, local_hostname=self._helo, timeout=self._left())
            self._client = client
            client.ehlo_or_helo_if_needed()
        self._report("connect", f"{host}:{port}: {_text(client.ehlo_resp or client.helo_resp).partition(' ')[0]}")
        if self._config.security == "tls":
            self._report("tls", self._tls_detail(client))
        return client

    def _start_tls(self, client: smtplib.SMTP) -> None:
        if not client.has_extn("starttls"):
            raise smtplib.SMTPNotSupportedError("it offers no STARTTLS")
        client.starttls(context=_tls_context(self._config))
        client.ehlo()
        self._report("tls", self._tls_detail(client))

    def _tls_detail(self, client: smtplib.SMTP) -> str:
        checked = "certificate valid" if self._config.verify_tls else "certificate not checked (verify_tls = false)"
        return f"{client.sock.version()}, {checked}" if isinstance(client.sock, ssl.SSLSocket) else checked

    def _sign_in(self, client: smtplib.SMTP) -> None:
        config = self._config
        if not config.username or config.password is None:
            self._report("auth", "none asked for: no username is set")
            return
        client.login(config.username, config.password.reveal())
        clear = " (in clear: the connection is not encrypted)" if config.security == "none" else ""
        self._report("auth", f"signed in as {config.username}{clear}")

    def _hand_over(self, client: smtplib.SMTP, mail: _Mail) -> str:
        options = [f"size={len(mail.content)}"] if client.has_extn("size") else []
        code, words = client.mail(mail.sender, options)
        if code != 250:
            raise smtplib.SMTPSenderRefused(code, words, mail.sender)
        refused: dict[str, tuple[int, bytes]] = {}
        for recipient in mail.recipients:
            code, words = client.rcpt(recipient)
            if code not in {250, 251, 252}:
                refused[recipient] = (code, words)
        if len(refused) == len(mail.recipients):
            raise smtplib.SMTPRecipientsRefused(refused)
        self._content_sent = True
        code, words = client.data(mail.content)
        if code != 250:
            raise smtplib.SMTPDataError(code, words)
        reply = f"{code} {_text(words)}"
        if refused:
            reply += "; refused: " + ", ".join(f"{who} ({code} {_text(why)})" for who, (code, why) in refused.items())
        self._report("accept", reply[:MAX_REPLY])
        return reply[:MAX_REPLY]

    def failure(self, error: BaseException) -> DeliveryError:
        """What went wrong, in words, with the step and whether trying again can help."""
        host, stage = f"{self._config.host}:{_port(self._config)}", self._stage
        if isinstance(error, smtplib.SMTPServerDisconnected) and isinstance(error.__context__, OSError):
            error = error.__context__  # smtplib hides why behind its own
        if isinstance(error, (smtplib.SMTPRecipientsRefused, smtplib.SMTPResponseException)):
            return _refusal(error, stage)
        if isinstance(error, (smtplib.SMTPNotSupportedError, UnicodeError)):
            return DeliveryError(f"{host} cannot be used as configured: {error}.", retryable=False, stage=stage)
        if isinstance(error, ssl.SSLError) and stage in {"connect", "tls"}:
            invalid = isinstance(error, ssl.SSLCertVerificationError)
            why = f"its certificate is not valid: {error.verify_message}" if invalid else error.reason or str(error)
            return DeliveryError(f"No TLS with {host}: {why}.", stage="tls")
        if isinstance(error, socket.gaierror):
            return DeliveryError(f"The name {self._config.host} could not be resolved.", stage="dns")
        if isinstance(error, TimeoutError):
            text = f"{host} did not answer within {self._config.timeout:g} s"
        else:
            text = f"{host}: {getattr(error, 'strerror', None) or error or 'the connection was closed'}"
        if self._content_sent:
            text += "; it may have taken the message all the same"
        return DeliveryError(f"{text}.", stage=stage, ambiguous=self._content_sent)


def _port(config: SmtpConfig) -> int:
    return config.port or PORTS[config.security]


def _tls_context(config: SmtpConfig) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if config.ca_file:
        context.load_verify_locations(cafile=config.ca_file)
    if not config.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _refusal(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPResponseException, stage: str) -> DeliveryError:
    """What a reply of the server means: 4xx asks to try again, 5xx does not."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        replies = error.recipients.items()
        return DeliveryError(
            "The server refused every recipient.",
            retryable=any(code < 500 for _, (code, _) in replies),
            reply="; ".join(f"{who}: {code} {_text(why)}" for who, (code, why) in replies)[:MAX_REPLY],
            stage="accept",
            about_message=True,
        )
    words = {"auth": "the user name or password", "accept": "the message", "tls": "to start TLS"}
    return DeliveryError(
        f"The server refused {words.get(stage, 'the connection')}.",
        retryable=error.smtp_code < 500,
        reply=f"{error.smtp_code} {_text(error.smtp_error)}"[:MAX_REPLY],
        stage=stage,
        about_message=isinstance(error, smtplib.SMTPDataError),
    )


def _mend(stage: str, config: SmtpConfig) -> str:
    port = _port(config)
    blocked = (
        f'If nothing answers, the provider may block port {port}: try 587, 465 (security = "tls") or 2525, or use '
        "Resend. If it hangs up, the port may expect the other kind of security."
    )
    other = "starttls" if config.security == "tls" else "tls"
    mends = {
        "config": "Put the address of your provider's mail server there, or use Resend.",
        "dns": "Check [plugins.smtp] host and this machine's DNS.",
        "connect": "Most providers block port 25: use 587 or 2525, or Resend." if port == 25 else blocked,
        "tls": f'host must be the name that the certificate is for; or the port needs security = "{other}".',
        "auth": "Check [plugins.smtp] username and password; many providers want an app password or an API key.",
        "accept": "See what it said; most often the domain of [mail] from is not one that it may send for.",
    }
    return mends[stage]


def _message_id(notification_id: str, sender: str) -> str:
    domain = re.sub(r"[^A-Za-z0-9.-]", "", sender.rpartition("@")[2]) or "localhost"
    return f"<{re.sub(r'[^A-Za-z0-9._-]', '-', notification_id)[:120]}@{domain}>"


def _helo_name(mail_from: str) -> str:
    """What we call ourselves: the standard library would ask the DNS, which can take seconds."""
    domain = re.sub(r"[^A-Za-z0-9.-]", "", _sender(mail_from)[1].rpartition("@")[2])
    return domain if "." in domain else "[127.0.0.1]"


def _sender(mail_from: str) -> tuple[str, str]:
    """Name and address, also of a name with commas that nobody quoted."""
    name, bracket, address = mail_from.strip().removesuffix(">").rpartition("<")
    return (name.strip().strip('"'), address.strip()) if bracket else parseaddr(mail_from)


def _ascii(address: str) -> str:
    """An address as the envelope takes it. Raises `UnicodeError` when the part before the @ has other letters."""
    local, _, domain = address.rpartition("@")
    if any(character in address for character in "\r\n<> "):
        raise ValueError(f"{address!r} is not an address")
    return f"{local.encode('ascii').decode()}@{domain.encode('idna').decode()}"


def _text(words: bytes | str | None) -> str:
    text = words.decode("utf-8", "replace") if isinstance(words, bytes) else words or ""
    return " ".join(text.split())


def _ignore(_step: str, _detail: str) -> None:
    """Deliveries report nothing but their end."""


plugin = PluginInfo(
    name="smtp", version="1.0", requires_api="1.0", config=SmtpConfig, summary="Mail through an SMTP server."
)


@hookimpl
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """One notifier, "smtp"."""
    return [SmtpNotifier(context)]
