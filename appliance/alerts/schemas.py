"""The shapes of alerts, deliveries and rules: what the service hands out (times in µs), and what the JSON API gives."""

from __future__ import annotations

from typing import Final, Generic, Literal, TypeAlias, TypeVar

from msgspec import Struct, field

from appliance.hookspecs import Form

T = TypeVar("T")

MAX_PAGE: Final = 200  # rows of one answer; what the event store's pages allow too

MessageState: TypeAlias = Literal["waiting", "sending", "delivered", "failed", "discarded"]
MESSAGE_STATES: Final[tuple[MessageState, ...]] = ("waiting", "sending", "delivered", "failed", "discarded")


def bounded_id(number: int) -> int:
    """An id from an address: 0, which nothing has, when the database could not even hold it."""
    return number if 0 < number < 1 << 63 else 0


class Listing(Struct, Generic[T], frozen=True, kw_only=True):
    """One page of a list."""

    items: list[T]
    next: str | None = None  # cursor of the next page


class AlertItem(Struct, frozen=True, kw_only=True):
    """One firing of a rule."""

    id: int
    project_id: int
    project_slug: str
    rule_id: int | None  # None: the rule was deleted
    rule: str
    issue_id: int | None
    change: str  # opened, regressed
    title: str
    level: str
    at: int
    message_id: int | None  # None: waits for a digest
    state: str  # of its message: collecting, or one of MESSAGE_STATES


class DeliveryItem(Struct, frozen=True, kw_only=True):
    """One attempt of one notifier to deliver one message."""

    id: int
    message_id: int
    project_id: int | None  # None: account mail and the like
    channel: str
    notifier: str
    attempt: int
    at: int
    seconds: float
    ok: bool
    skipped: bool  # it is not configured, or its breaker was open
    reply: str
    provider_id: str
    subject: str
    recipients: list[str]


class MessageItem(Struct, frozen=True, kw_only=True):
    """One message of the outbox, with what became of it."""

    id: int
    project_id: int | None
    project_slug: str
    purpose: str
    channel: str
    rule: str
    subject: str
    recipients: list[str]
    state: str
    attempts: int
    created_at: int
    next_at: int | None  # None: it is finished
    finished_at: int | None
    error: str
    retryable: bool
    deliveries: list[DeliveryItem] = field(default_factory=list["DeliveryItem"])


class RuleItem(Struct, frozen=True, kw_only=True):
    """One rule of a project."""

    id: int
    project_id: int
    name: str
    condition: str
    condition_label: str
    settings: dict[str, str]
    channel: str
    recipients: list[str]
    throttle_minutes: int | None  # None: the appliance's
    enabled: bool
    problem: str  # "" or what keeps it from telling anybody


class ConditionItem(Struct, frozen=True, kw_only=True):
    """A condition that a plugin brings, with the form of its settings."""

    name: str
    label: str
    help: str
    form: Form


class RuleDraft(Struct, frozen=True, kw_only=True):
    """What a person typed into a rule's form; texts as they came."""

    name: str = ""
    condition: str = ""
    channel: str = "email"
    recipients: str = ""
    throttle_minutes: str = ""  # "" = the appliance's
    settings: dict[str, str] = field(default_factory=dict[str, str])


class NotifierItem(Struct, frozen=True, kw_only=True):
    """A notifier of a channel."""

    name: str
    problem: str  # "" when it is configured
    open_until: int | None  # left alone until then
    failures: int  # in a row
    last_error: str


class ChannelItem(Struct, frozen=True, kw_only=True):
    """A channel and its chain."""

    name: str
    problem: str  # "" when something of it could deliver
    notifiers: list[NotifierItem]


# ── the JSON API: times are RFC 3339, UTC ──


class AlertBody(Struct, kw_only=True):
    """One firing of a rule."""

    id: int
    project_id: int
    rule_id: int | None
    rule: str
    issue_id: int | None
    change: str
    title: str
    level: str
    at: str
    message_id: int | None  # of `deliveries`; null while a digest collects
    state: str  # collecting, waiting, sending, delivered, failed, discarded


class AlertPage(Struct, kw_only=True):
    """A page of alerts, newest first."""

    items: list[AlertBody]
    next: str | None


class DeliveryBody(Struct, kw_only=True):
    """One attempt of one notifier."""

    id: int
    message_id: int
    project_id: int | None
    channel: str
    notifier: str
    attempt: int
    at: str
    seconds: float
    ok: bool
    skipped: bool
    reply: str
    provider_id: str
    subject: str
    recipients: list[str]


class DeliveryPage(Struct, kw_only=True):
    """A page of deliveries, newest first."""

    items: list[DeliveryBody]
    next: str | None
