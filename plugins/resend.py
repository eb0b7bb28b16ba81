"""Delivers mail through Resend's HTTP API: for machines whose provider blocks outgoing SMTP.

The notification's id is the idempotency key, so that a retry after a lost answer sends no second mail.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from appliance.hookspecs import (
    CheckStep,
    DeliveryError,
    HttpAnswer,
    Notification,
    Notifier,
    PluginContext,
    PluginInfo,
    Receipt,
    Secret,
    hookimpl,
)

TIMEOUT_SECONDS: Final = 15.0  # Resend answers in under a second; the host allows 30 for all of deliver()
MAX_RECIPIENTS: Final = 50  # Resend's own limit for `to`
KEY_MEND: Final = "Make a key at https://resend.com/api-keys and put it into [plugins.resend] api_key."
DOMAIN_MEND: Final = "Verify the domain of [mail] from at https://resend.com/domains."


class ResendConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.resend]`."""

    api_key: Secret | None = None
    base_url: str = "https://api.resend.com"


class _Reply(Struct):
    """Resend's JSON, of both kinds: `id` when it took the mail, `name` and `message` when it did not."""

    id: str = ""
    name: str = ""
    message: str = ""


class ResendNotifier(Notifier):
    """Sends one mail per notification."""

    name = "resend"

    def __init__(self, context: PluginContext) -> None:
        """Args: context: ours, with a `ResendConfig`."""
        self._context = context
        self._config: ResendConfig = context.config
        self._base = self._config.base_url.rstrip("/")

    def configured(self) -> str:
        """See `Notifier.configured`."""
        if not self._key():
            return "Resend needs [plugins.resend] api_key."
        if urlsplit(self._base).scheme not in {"http", "https"}:
            return f"[plugins.resend] base_url must be an http or https address, not {self._base!r}."
        return ""

    async def deliver(self, notification: Notification) -> Receipt:
        """See `Notifier.deliver`."""
        if problem := self.configured():
            raise DeliveryError(problem, retryable=False, stage="config")
        if not notification.recipients:
            raise DeliveryError("There is no address to send to.", retryable=False, stage="config", about_message=True)
        mail = {
            "from": self._context.mail_from,
            "to": list(notification.recipients[:MAX_RECIPIENTS]),
            "subject": notification.subject,
            "html": notification.html,
            "text": notification.text,
            "tags": [{"name": "kind", "value": re.sub(r"[^A-Za-z0-9_-]", "_", notification.kind) or "other"}],
        }
        answer = await self._ask("POST", "/emails", msgspec.json.encode(mail), notification.id)
        reply = _decode(answer)
        if 200 <= answer.status < 300:
            return Receipt(reply=f"{answer.status}, id {reply.id[:100]}", provider_id=reply.id[:200])
        raise _refusal(answer, reply)

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        """See `Notifier.check`."""
        if problem := self.configured():
            return [CheckStep(name="config", ok=False, detail=problem, mend=KEY_MEND)]
        steps = [CheckStep(name="config", ok=True, detail=f"key set, {self._base}, from {self._context.mail_from}")]
        steps += await self._check_way()
        if steps[-1].ok and notification is not None:
            started = self._context.clock.monotonic()
            try:
                receipt = await self.deliver(notification)
                ok, detail, mend = True, receipt.reply, ""
            except DeliveryError as error:
                ok, detail, mend = False, str(error), DOMAIN_MEND if error.stage == "accept" else KEY_MEND
            seconds = self._context.clock.monotonic() - started
            steps.append(CheckStep(name="accept", ok=ok, detail=detail, mend=mend, seconds=seconds))
        return steps

    async def _check_way(self) -> list[CheckStep]:
        """dns, connect, tls, auth: up to the first that fails."""
        url = urlsplit(self._base)
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        names = ["dns", "connect", *(["tls"] if url.scheme == "https" else []), "auth"]
        details = {"connect": f"{host}:{port}", "tls": f"the certificate of {host} is valid"}
        clock = self._context.clock
        started = clock.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
            details["dns"] = f"{host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}"
        except OSError as error:
            seconds = clock.monotonic() - started
            mend = "Check the host name and this machine's DNS."
            detail = f"{host} could not be resolved: {error}"
            return [CheckStep(name="dns", ok=False, detail=detail, mend=mend, seconds=seconds)]
        started = clock.monotonic()
        failed, failure, mend = "", "", ""
        try:
            answer = await self._ask("GET", "/domains")
            ok, details["auth"] = _authorised(answer)
            if not ok:
                failed, failure, mend = "auth", details["auth"], KEY_MEND
        except DeliveryError as error:
            failed = error.stage if error.stage in names else "connect"
            failure = str(error)
            mend = "Outgoing HTTPS must be allowed; [outbound] proxy names a proxy where one is needed."
        seconds = clock.monotonic() - started
        steps: list[CheckStep] = []
        for name in names:
            if name == failed:
                return [*steps, CheckStep(name=name, ok=False, detail=failure, mend=mend, seconds=seconds)]
            took = seconds if name == "auth" else 0.0
            steps.append(CheckStep(name=name, ok=True, detail=details[name], seconds=took))
        return steps

    async def _ask(self, method: str, path: str, body: bytes = b"", idempotency_key: str = "") -> HttpAnswer:
        headers = {"Authorization": f"Bearer {self._key()}"}
        if body:
            headers["Content-Type"] = "application/json"
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key[:256]  # Resend's limit
        return await self._context.http.request(
            method, self._base + path, headers=headers, body=body, timeout=TIMEOUT_SECONDS, trusted=True
        )

    def _key(self) -> str:
        return self._config.api_key.reveal().strip() if self._config.api_key else ""


def _decode(answer: HttpAnswer) -> _Reply:
    try:
        return msgspec.json.decode(answer.body, type=_Reply, strict=False)
    except msgspec.MsgspecError:  # an HTML page of something in between
        return _Reply(message=answer.body[:200].decode("utf-8", "replace"))


def _authorised(answer: HttpAnswer) -> tuple[bool, str]:
    """What asking for the account's domains tells about the key."""
    reply = _decode(answer)
    if 200 <= answer.status < 300:
        return True, "the key is accepted"
    if reply.name == "restricted_api_key":
        return True, "the key is accepted; it may send and nothing else, which is all it needs"
    if answer.status in {401, 403} or answer.status >= 500:
        return False, _words(answer, reply)
    return True, f"the key was not tried: {_words(answer, reply)}"  # 429, or a stand-in that only takes mail


def _refusal(answer: HttpAnswer, reply: _Reply) -> DeliveryError:
    status, name = answer.status, reply.name
    stage, retryable, ambiguous, about_message = "accept", False, False, False
    if status == 401 or name in {"invalid_api_key", "missing_api_key"}:
        text, stage = f"Resend refused the key. {KEY_MEND}", "auth"
    elif status == 403 or name == "invalid_from_address":
        text = f"Resend does not let us send this. {DOMAIN_MEND}"
    elif name == "invalid_idempotent_request":
        text = "Resend had a mail under this id already, with another text; it may have been delivered."
        ambiguous = about_message = True
    elif status in {408, 409, 425, 429}:
        text = "Resend's rate or quota is used up." if status == 429 else "Resend asks to try again later."
        retryable = True
    elif status in {400, 413, 422}:
        text, about_message = "Resend refused this message: see its reply.", True
    elif status >= 500:
        text, stage = f"Resend has a problem of its own ({status}).", "answer"
        retryable, ambiguous = True, status in {502, 504}
    else:
        text = f"This is not Resend's API: it answered {status}. Check [plugins.resend] base_url."
        stage = "answer"
    return DeliveryError(
        text,
        retryable=retryable,
        retry_after=answer.retry_after,
        reply=_words(answer, reply),
        ambiguous=ambiguous,
        stage=stage,
        about_message=about_message,
    )


def _words(answer: HttpAnswer, reply: _Reply) -> str:
    text = f"{answer.status} {reply.name}: {reply.message}" if reply.name else f"{answer.status} {reply.message}"
    return " ".join(text.split())[:500]


plugin = PluginInfo(
    name="resend",
    version="1.0",
    requires_api="1.0",
    config=ResendConfig,
    summary="Mail through Resend's HTTP API.",
)


@hookimpl
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """One notifier, "resend"."""
    return [ResendNotifier(context)]
