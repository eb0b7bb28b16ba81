"""Sessions, session aggregates and client reports."""

from __future__ import annotations

from typing import Final

from appliance.decoding import cut, hash_id, hex_id, line, number, parse_seconds, read_object, text, whole
from appliance.model import MAX_LABEL, MAX_URL, MICROSECONDS, Item, Json, JsonObject, Outcome, Session

from .sender import Sender

_STATUSES: Final = ("ok", "exited", "crashed", "unhandled", "errored", "abnormal")
_MAX_AGGREGATES: Final = 1_000  # of one item; SDKs send one for each minute and user since the last flush
_MAX_REPORTS: Final = 200  # (reason, category) pairs of one client report; there are about 20 × 15
_MAX_QUANTITY: Final = 1_000_000_000  # a counter that says more is broken


def decode_session(payload: bytes, sender: Sender) -> list[Item]:
    """One state of a session.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    attrs = _object(found.get("attrs"))
    started = parse_seconds(found.get("started"))
    seen = parse_seconds(found.get("timestamp"))
    start, at = sender.clock.between(started if started is not None else seen, seen if seen is not None else started)
    status = line(found.get("status"))
    return [
        Session(
            id=hex_id(text(found.get("sid"))) or hash_id("session", sender.project_id, payload),
            started=start,
            timestamp=at,
            status=status if status in _STATUSES else "ok",
            errors=min(max(0, whole(found.get("errors")) or 0), _MAX_QUANTITY),
            duration=_duration(number(found.get("duration")), (at - start) / MICROSECONDS),
            user_id=cut(line(found.get("did")), MAX_LABEL),
            release=cut(line(attrs.get("release")), MAX_LABEL),
            environment=cut(line(attrs.get("environment")), MAX_LABEL),
            user_agent=(text(attrs.get("user_agent")) or sender.user_agent)[:MAX_URL],
        )
    ]


def _duration(said: float | None, elapsed: float) -> float:
    """Seconds. Browser 5 says milliseconds, so a duration longer than the session itself is not believed."""
    return said if said is not None and 0 <= said <= elapsed + 1 else max(0.0, elapsed)


def decode_aggregates(payload: bytes, sender: Sender) -> list[Item]:
    """Counts of sessions that a server SDK sends instead of each. Two servers' equal counts differ in `sent_at`.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    attrs = _object(found.get("attrs"))
    release, environment = (cut(line(attrs.get(name)), MAX_LABEL) for name in ("release", "environment"))
    aggregates = found.get("aggregates")
    identity = hash_id("aggregate", sender.project_id, sender.sent_at, payload)
    items: list[Item] = []
    for place, entry in enumerate((aggregates if isinstance(aggregates, list) else [])[:_MAX_AGGREGATES]):
        aggregate = _object(entry)
        started = sender.clock.at(parse_seconds(aggregate.get("started")))
        user_id = cut(line(aggregate.get("did")), MAX_LABEL)
        for status in _STATUSES[1:]:
            quantity = whole(aggregate.get(status)) or 0
            if quantity <= 0:
                continue
            items.append(
                Session(
                    id=hash_id(identity, place, status),
                    started=started,
                    timestamp=started,
                    status=status,
                    errors=0 if status == "exited" else 1,
                    user_id=user_id,
                    release=release,
                    environment=environment,
                    quantity=min(quantity, _MAX_QUANTITY),
                )
            )
    return items


def decode_client_report(payload: bytes, sender: Sender) -> list[Item]:
    """What the SDK itself dropped, and why.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    at = sender.clock.at(parse_seconds(found.get("timestamp")))
    discarded = found.get("discarded_events")
    items: list[Item] = []
    for entry in (discarded if isinstance(discarded, list) else [])[:_MAX_REPORTS]:
        report = _object(entry)
        quantity = whole(report.get("quantity")) or 0
        if quantity > 0:
            items.append(
                Outcome(
                    reason=cut(line(report.get("reason")) or "unknown", 60),
                    category=cut(line(report.get("category")) or "unknown", 60),
                    timestamp=at,
                    quantity=min(quantity, _MAX_QUANTITY),
                )
            )
    return items


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}
