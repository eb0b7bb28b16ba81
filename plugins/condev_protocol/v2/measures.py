"""Measurements, spans and outcomes: what is counted and timed."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from appliance.decoding import (
    UnreadableError,
    cut,
    hash_id,
    hex_id,
    json_object,
    line,
    number,
    parse_milliseconds,
    span_id,
    text,
    whole,
)
from appliance.model import MAX_LABEL, MAX_TITLE, MAX_URL, Json, JsonObject, Measurement, Outcome, Span

from .envelope import Envelope, label, sequence_of

MAX_ATTRIBUTES_BYTES: Final = 16 * 1024  # JSON of one item; attribution of a web vital has 1 KiB
MAX_NUMBERS: Final = 10_000  # of one outcome
_MAX_QUANTITY: Final = 1_000_000_000
_DEPTH: Final = 6
# Of these there is one value a page view: they belong to the time at which it began, however late they are known, so
# that all values of one lie in one hour.
_OF_THE_PAGE: Final = frozenset({"LCP", "INP", "CLS", "FCP", "TTFB", "load"})
_UNITS: Final = {"CLS": "none", "low_fps": "fps"}
_RATINGS: Final = frozenset({"good", "needs-improvement", "poor"})
_LATEST: Final = 2.0**42  # ms: the year 2109; beyond it a clock tells nothing
_NUMBER_BITS: Final = 20  # of MAX_SEQUENCE
_NO_WORD: Final = re.compile(r"[^a-z0-9_.:]+")


def decode_measurement(found: JsonObject, raw: bytes, place: int, envelope: Envelope) -> Measurement:
    """One value of a metric.

    Raises:
        UnreadableError: it has no metric or no value.
    """
    metric, value = label(found.get("metric")), number(found.get("value"))
    if not metric or value is None:
        raise UnreadableError("a measurement has a metric and a value")
    at = envelope.time(found.get("at"))
    url = cut(text(found.get("url")), MAX_URL)  # of an earlier page of the tab
    said, rating = text(found.get("id")), line(found.get("rating")).replace("_", "-")
    return Measurement(
        # Two metrics may share an id; the values of one metric do on purpose.
        id=hash_id("measurement", envelope.project_id, said, metric)
        if said
        else hash_id("condev2", envelope.project_id, envelope.id, place, raw),
        metric=metric,
        value=value,
        timestamp=_dated(found, envelope) or at if metric in _OF_THE_PAGE else at,
        unit=label(found.get("unit")) or _UNITS.get(metric, "millisecond"),
        rating=rating if rating in _RATINGS else "",
        url=url or envelope.url,
        route=label(found.get("route")) or envelope.route,
        release=envelope.release,
        environment=envelope.environment,
        element=label(found.get("element")),
        user_agent=envelope.user_agent,
        user_id=envelope.user_id,
        session_id=envelope.session_id,
        page_view_id=envelope.page_view_id,
        attributes=_attributes(found.get("attributes")),
        revision=_revision(found, envelope) if found.get("replaces") is True else 0,
    )


def _dated(found: JsonObject, envelope: Envelope) -> int | None:
    """When the page began that the value belongs to, in µs: the envelope's, or the earlier one that the item names."""
    started = parse_milliseconds(found.get("started"))
    return envelope.started if started is None else envelope.clock.at(started)


def _revision(found: JsonObject, envelope: Envelope) -> int:
    """What was captured last counts: numbers begin at 1 in each page view, so the beginning of that comes first.

    By the client's own clock, which does not change when the envelope is sent again.
    """
    started = number(envelope.page.get("started"))
    milliseconds = int(min(max(0.0, started), _LATEST)) if started is not None else 0
    return max(1, milliseconds << _NUMBER_BITS | sequence_of(found.get("n")))


def decode_span(found: JsonObject, raw: bytes, place: int, envelope: Envelope) -> Span:
    """One span.

    Raises:
        UnreadableError: it has no beginning or no end.
    """
    start, end = parse_milliseconds(found.get("start")), parse_milliseconds(found.get("end"))
    if start is None or end is None:
        raise UnreadableError("a span has a start and an end")
    started, ended = envelope.clock.between(start, end)
    envelope.time(found.get("at") or found.get("end"))
    parent = span_id(text(found.get("parent_span_id")))
    segment = found.get("is_segment")
    return Span(
        trace_id=hex_id(text(found.get("trace_id"))) or hash_id("trace", envelope.project_id, envelope.id),
        span_id=span_id(text(found.get("span_id"))) or hash_id("span", envelope.id, place, raw)[:16],
        start=started,
        end=ended,
        parent_span_id=parent,
        op=label(found.get("op")),
        name=cut(line(found.get("name")), MAX_TITLE),
        status=label(found.get("status")),
        is_segment=segment if isinstance(segment, bool) else not parent,
        release=envelope.release,
        environment=envelope.environment,
        url=envelope.url,
        user_agent=envelope.user_agent,
        user_id=envelope.user_id,
        attributes=_attributes(found.get("attributes")),
    )


def decode_outcome(found: JsonObject, envelope: Envelope) -> Outcome:
    """Something that the page did not send; its numbers are no gaps."""
    numbers = found.get("numbers")
    for entry in numbers[:MAX_NUMBERS] if isinstance(numbers, list) else ():
        envelope.account_for(sequence_of(entry))
    quantity = whole(found.get("quantity"))
    return Outcome(
        reason=_word(found.get("reason")),
        category=_word(found.get("category")),
        timestamp=envelope.time(found.get("at")),
        quantity=min(max(1, quantity if quantity is not None else 1), _MAX_QUANTITY),
        source="client",
    )


def _word(value: Json) -> str:
    """A reason or category in few characters: it comes from strangers and goes into a column of few values."""
    return _NO_WORD.sub("_", cut(line(value), MAX_LABEL).lower()).strip("_")[:40] or "unknown"


def _attributes(value: Json) -> JsonObject:
    bounded = json_object(value, _DEPTH)
    while bounded and len(msgspec.json.encode(bounded)) > MAX_ATTRIBUTES_BYTES:
        longest = max(bounded, key=lambda name: len(msgspec.json.encode(bounded[name])) + len(name))
        del bounded[longest]
    return bounded
