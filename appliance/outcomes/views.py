"""What was not kept, by who dropped it, and what each reason means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

# Reasons as SDKs and the appliance write them: ours, and those of Sentry's client reports.
CLIENT_REASONS: Final[Mapping[str, str]] = {
    "before_send": "the application's beforeSend said no",
    "event_processor": "a plugin of the SDK, or ignoreErrors, allowUrls and the like, said no",
    "sample_rate": "sampling left it out, as it was told to",
    "flood": "the same error again and again, or too many in a minute: counted, not sent",
    "queue_overflow": "the SDK's queue was full",
    "cache_overflow": "the SDK's cache was full",
    "buffer_overflow": "too many requests were under way at once",
    "ratelimit_backoff": "the appliance had asked the SDK to wait",
    "network_error": "it could not be delivered, and its tries were used up",
    "too_old": "it lay in the offline queue for too long",
    "opt_out": "the visitor has not agreed, or asked not to be tracked",
    "page_slow": "the page was too slow for it, so the SDK stopped",
    "send_error": "the appliance refused it",
    "internal_sdk_error": "the SDK failed at it",
    "insufficient_data": "there was too little in it to be worth sending",
    "backpressure": "the SDK had more to send than it could",
    "too_large": "it was larger than a request may be",
    "rejected": "the appliance refused it",
}
SERVER_REASONS: Final[Mapping[str, str]] = {
    "rate_limited": "the project's, the address's or the appliance's rate was reached",
    "overloaded": "the spool was too full for things of this kind",
    "unsupported_item": "this kind of item is not taken",
    "malformed": "it could not be read",
    "duplicate": "it had come before",
    "too_many_items": "more in one request than is taken",
    "invalid_value": "a value in it that no column can hold",
    "too_large": "it was larger than is taken",
    "gone": "the project does not take this kind",
}


class OutcomeLine(Struct, frozen=True, kw_only=True):
    """One reason and one category."""

    source: str
    reason: str
    category: str
    quantity: int
    words: str


class OutcomePage(Struct, frozen=True, kw_only=True):
    """All of it: what SDKs dropped, what the appliance dropped, the largest first."""

    client: tuple[OutcomeLine, ...]
    server: tuple[OutcomeLine, ...]
    client_total: int
    server_total: int
    categories: tuple[tuple[str, int], ...]

    @property
    def total(self) -> int:
        """Of both."""
        return self.client_total + self.server_total


def outcome_page(found: Iterable[tuple[str, str, str, int]]) -> OutcomePage:
    """Lay out what the event store counted: (source, reason, category, quantity)."""
    lines = [
        OutcomeLine(
            source=source,
            reason=reason,
            category=category,
            quantity=quantity,
            words=(CLIENT_REASONS if source == "client" else SERVER_REASONS).get(reason, ""),
        )
        for source, reason, category, quantity in found
    ]
    sums: dict[str, int] = {}
    for line in lines:
        sums[line.category] = sums.get(line.category, 0) + line.quantity
    client, server = (tuple(one for one in lines if (one.source == "client") is wanted) for wanted in (True, False))
    return OutcomePage(
        client=client,
        server=server,
        client_total=sum(one.quantity for one in client),
        server_total=sum(one.quantity for one in server),
        categories=tuple(sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))),
    )
