"""Delivers notifications as JSON to one address of the operator's choice, signed so that the other side can check them.

The signature is `X-Condev-Signature: t=SECONDS,v1=HEX`, where HEX is HMAC-SHA256 over `SECONDS.BODY` with the secret.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import socket
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, field

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

MAX_REPLY: Final = 500
MEND: Final = "See that the receiver runs, that this machine may reach it, and what its own log says."


class WebhookConfig(Struct, kw_only=True, forbid_unknown_fields=True):
    """`[plugins.webhook]`."""

    url: str = ""
    secret: Secret | None = None  # None: not signed
    headers: dict[str, Secret] = field(default_factory=dict[str, Secret])  # such as Authorization
    timeout: float = 10.0  # seconds


class WebhookNotifier(Notifier):
    """Posts one JSON document per notification."""

    name = "webhook"

    def __init__(self, context: PluginContext) -> None:
        """Args: context: ours, with a `WebhookConfig`."""
        self._context = context
        self._config: WebhookConfig = context.config

    def configured(self) -> str:
        """See `Notifier.configured`."""
        if not self._config.url:
            return "The webhook needs [plugins.webhook] url."
        parts = urlsplit(self._config.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            return "[plugins.webhook] url must be an http or https address."
        return ""

    async def deliver(self, notification: Notification) -> Receipt:
        """See `Notifier.deliver`."""
        if problem := self.configured():
            raise DeliveryError(problem, retryable=False, stage="config")
        body = msgspec.json.encode(
            {
                "id": notification.id,
                "kind": notification.kind,
                "subject": notification.subject,
                "text": notification.text,
                "url": notification.url,
                **notification.data,
            }
        )
        answer = await self._context.http.request(
            "POST",
            self._config.url,
            headers=self._headers(notification, body),
            body=body,
            timeout=self._config.timeout,
            trusted=True,
        )
        reply = _words(answer)
        if 200 <= answer.status < 300:
            return Receipt(reply=reply)
        raise _refusal(answer, reply)

    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        """See `Notifier.check`."""
        if problem := self.configured():
            return [CheckStep(name="config", ok=False, detail=problem, mend="Put the receiver's address there.")]
        signed = "signed" if self._config.secret else "not signed: [plugins.webhook] secret is empty"
        steps = [CheckStep(name="config", ok=True, detail=signed)]
        parts = urlsplit(self._config.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        clock = self._context.clock
        started = clock.monotonic()
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            detail = f"{host} could not be resolved: {error}"
            return [*steps, CheckStep(name="dns", ok=False, detail=detail, mend="Check the address and the DNS.")]
        detail = f"{host} is {', '.join(dict.fromkeys(str(entry[4][0]) for entry in found))}"
        steps.append(CheckStep(name="dns", ok=True, detail=detail, seconds=clock.monotonic() - started))
        if notification is None:
            return steps  # anything more than the look-up would be a delivery
        started = clock.monotonic()
        try:
            receipt = await self.deliver(notification)
        except DeliveryError as error:
            name = error.stage if error.stage in {"connect", "tls", "auth"} else "accept"
            detail = f"{error} It said: {error.reply}" if error.reply else str(error)
            return [*steps, CheckStep(name=name, ok=False, detail=detail, mend=MEND)]
        steps.append(CheckStep(name="accept", ok=True, detail=receipt.reply, seconds=clock.monotonic() - started))
        return steps

    def _headers(self, notification: Notification, body: bytes) -> dict[str, str]:
        headers = {name: value.reveal() for name, value in self._config.headers.items()}
        headers |= {"Content-Type": "application/json", "Idempotency-Key": notification.id}
        if self._config.secret:
            seconds = str(self._context.clock.now() // 1_000_000)
            signed = hmac.new(self._config.secret.reveal().encode(), f"{seconds}.".encode() + body, hashlib.sha256)
            headers["X-Condev-Signature"] = f"t={seconds},v1={signed.hexdigest()}"
        return headers


def _refusal(answer: HttpAnswer, reply: str) -> DeliveryError:
    status = answer.status
    if status in {401, 403}:
        text = f"The receiver refused us ({status}): check [plugins.webhook] secret and headers."
        return DeliveryError(text, retryable=False, reply=reply, stage="auth")
    if status in {404, 410} or 300 <= status < 400:
        text = f"The receiver is not at this address ({status}): check [plugins.webhook] url."
        return DeliveryError(text, retryable=False, reply=reply, stage="answer")
    if status in {408, 409, 425, 429} or status >= 500:
        text = f"The receiver could not take it now ({status})."
        ambiguous = status in {502, 504}
        return DeliveryError(text, retry_after=answer.retry_after, reply=reply, stage="answer", ambiguous=ambiguous)
    text = f"The receiver refused this message ({status})."
    return DeliveryError(text, retryable=False, reply=reply, stage="accept", about_message=True)


def _words(answer: HttpAnswer) -> str:
    text = " ".join(answer.body[: 4 * MAX_REPLY].decode("utf-8", "replace").split())
    return f"{answer.status} {text}"[:MAX_REPLY].strip()


plugin = PluginInfo(
    name="webhook",
    version="1.0",
    requires_api="1.0",
    config=WebhookConfig,
    summary="Signed JSON to an address of yours.",
)


@hookimpl
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """One notifier, "webhook"."""
    return [WebhookNotifier(context)]
