"""What delivers a notification, and how it tells of what went wrong."""

from __future__ import annotations

from abc import ABC, abstractmethod

from msgspec import Struct, field

from appliance.model import JsonObject


class Notification(Struct, frozen=True, kw_only=True):
    """One message for one channel. Text from events is plain here; `html` is already escaped."""

    id: str  # stable over retries: the idempotency key
    kind: str  # new_issue, regression, digest, test, invitation, password_reset, …
    subject: str  # one line, no CR or LF
    text: str
    html: str
    recipients: tuple[str, ...] = ()  # mail addresses; empty for channels that have none
    url: str = ""  # of the page it is about
    data: JsonObject = field(default_factory=dict)  # for machines: what a webhook sends


class Receipt(Struct, frozen=True, kw_only=True):
    """The other side took it."""

    reply: str  # what it said, at most 500 characters, no secrets
    provider_id: str = ""


class DeliveryError(Exception):
    """It was not delivered.

    Args:
        message: one sentence for a person: what failed and what to do.
        retryable: False when trying again cannot help (bad address, refused key).
        retry_after: seconds that the other side asked for.
        reply: what it said, if anything.
        ambiguous: True when it may have been delivered after all (the answer was lost).
        stage: how far it came: config, dns, connect, tls, auth, accept, answer; "" when unknown.
        about_message: True when this one message was refused and others may well pass: it then says nothing about
            the notifier's health.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        retry_after: float | None = None,
        reply: str = "",
        ambiguous: bool = False,
        stage: str = "",
        about_message: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        self.reply = reply
        self.ambiguous = ambiguous
        self.stage = stage
        self.about_message = about_message


class CheckStep(Struct, frozen=True, kw_only=True):
    """One step of trying a notifier out: config, dns, connect, tls, auth, accept."""

    name: str
    ok: bool
    detail: str
    mend: str = ""  # what to do when it is not ok
    seconds: float = 0.0


class Notifier(ABC):
    """Delivers notifications. The host sets the order, retries, breaks and logs."""

    name: str

    @abstractmethod
    def configured(self) -> str:
        """ "" when it could be used, else the one sentence that says which key is missing."""

    @abstractmethod
    async def deliver(self, notification: Notification) -> Receipt:
        """Deliver once, within 30 s. Raise `DeliveryError` when that failed."""

    @abstractmethod
    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        """Try each step without sending; with a notification, send it as the last step. Never raises."""
