"""Transactions, spans of both versions, and the web vitals that ride on them."""

from __future__ import annotations

import re
from typing import Final

from appliance.decoding import (
    cut,
    hash_id,
    hex_id,
    json_value,
    line,
    number,
    parse_seconds,
    read_object,
    span_id,
    text,
    whole,
)
from appliance.decoding.coerce import MAX_ENTRIES
from appliance.model import MAX_LABEL, MAX_TITLE, MAX_URL, Item, Json, JsonObject, Measurement, Span

from .sender import Sender

MAX_ATTRIBUTES: Final = 100  # of one span; the recorded SDKs send up to 60
_MAX_ATTRIBUTE: Final = 2_048  # characters of one value; database statements are the longest
_DEPTH: Final = 4  # of nesting in an attribute; OpenTelemetry knows none, Sentry's arrays and links are flat
# Metrics under the names that the model gives them; others keep their own.
_VITALS: Final = {name.lower(): name for name in ("LCP", "INP", "CLS", "FCP", "TTFB", "FID", "FP")}
_VITAL_ATTRIBUTE: Final = re.compile(r"browser\.web_vital\.([a-z]{2,5})\.value")
_LONG_TASKS: Final = frozenset({"ui.long-task", "ui.long_task", "ui.long-animation-frame", "ui.long_animation_frame"})
# Attributes that became columns; kept twice they would be most of a span.
_LIFTED: Final = frozenset(
    {
        "sentry.op",
        "sentry.release",
        "sentry.environment",
        "sentry.sdk.integrations",
        "user_agent.original",
        "user.id",
        "url.full",
        "release",
        "environment",
    }
)


def decode_transaction(payload: bytes, sender: Sender) -> list[Item]:
    """A transaction: its root span, its child spans and its measurements.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    trace = _object(_object(found.get("contexts")).get("trace"))
    request, user = _object(found.get("request")), _object(found.get("user"))
    event_id = hex_id(text(found.get("event_id"))) or sender.event_id or hash_id("event", sender.project_id, payload)
    common = _Common(
        sender,
        event_id=event_id,
        release=line(found.get("release")),
        environment=line(found.get("environment")),
        url=text(request.get("url")),
        user_agent=_user_agent(request) or (sender.user_agent if found.get("platform") == "javascript" else ""),
        user_id=_identity(user),
        trace_id=hex_id(text(trace.get("trace_id"))) or event_id,
    )
    attributes = {**_object(trace.get("tags")), **_object(trace.get("data"))}
    for name, value in (*_object(found.get("tags")).items(), ("sdk", _sdk(found))):
        attributes.setdefault(name, value)
    root = common.span(
        trace,
        start=found.get("start_timestamp"),
        end=found.get("timestamp"),
        name=text(found.get("transaction")) or text(attributes.get("sentry.segment.name")),
        attributes=attributes,
        is_segment=True,
    )
    items: list[Item] = [root]
    for child in _list(found.get("spans")):
        if isinstance(child, dict):
            items += common.child(child)
    items += common.measurements(_object(found.get("measurements")), root)
    return items


def decode_spans(payload: bytes, sender: Sender) -> list[Item]:
    """A span item: a container of version 2, or one standalone span of version 1.

    Raises:
        UnreadableError: the payload is not a JSON object.
    """
    found = read_object(payload)
    contained = found.get("items")
    if isinstance(contained, list):
        settings = _object(found.get("ingest_settings"))
        never = settings.get("infer_ip") == "never"
        return [item for entry in contained if isinstance(entry, dict) for item in _span_v2(entry, sender, never)]
    return _span_v1(found, sender)


def _span_v2(found: JsonObject, sender: Sender, never_infer_address: bool) -> list[Item]:
    attributes = {name: _plain(value) for name, value in _object(found.get("attributes")).items()}
    for name in ("user.ip_address", "client.address"):
        if attributes.get(name) == "{{auto}}":
            attributes[name] = "" if never_infer_address else sender.address
    common = _Common(
        sender,
        release=line(attributes.get("sentry.release")),
        environment=line(attributes.get("sentry.environment")),
        url=text(attributes.get("url.full")),
        user_agent=text(attributes.get("user_agent.original")),
        user_id=line(attributes.get("user.id")) or line(attributes.get("user.email")),
        trace_id=hex_id(text(found.get("trace_id"))),
    )
    span = common.span(
        {"op": attributes.get("sentry.op"), **found},
        start=found.get("start_timestamp"),
        end=found.get("end_timestamp"),
        name=text(found.get("name")),
        attributes=attributes,
        is_segment=found.get("is_segment") is True,
    )
    vitals: JsonObject = {}
    for name, value in attributes.items():
        vital = _VITAL_ATTRIBUTE.fullmatch(name)
        if vital:
            vitals[vital[1]] = {"value": value}
    element = text(attributes.get("browser.web_vital.lcp.element")) or (span.name if "inp" in vitals else "")
    return [span, *common.measurements(vitals, span, element), *common.long_task(span)]


def _span_v1(found: JsonObject, sender: Sender) -> list[Item]:
    data = _object(found.get("data"))
    common = _Common(
        sender,
        release=line(data.get("release")),
        environment=line(data.get("environment")),
        user_agent=text(data.get("user_agent.original")) or sender.user_agent,
        user_id=line(data.get("user")),
        trace_id=hex_id(text(found.get("trace_id"))),
    )
    attributes = {name: ("" if value == "{{auto}}" else value) for name, value in data.items()}
    span = common.span(
        found,
        start=found.get("start_timestamp"),
        end=found.get("timestamp"),
        name=text(found.get("description")),
        attributes=attributes,
        is_segment=found.get("is_segment") is True,
    )
    return [span, *common.measurements(_object(found.get("measurements")), span, span.name), *common.long_task(span)]


class _Common:
    """What the spans of one item share."""

    def __init__(
        self,
        sender: Sender,
        *,
        event_id: str = "",
        release: str,
        environment: str,
        url: str = "",
        user_agent: str = "",
        user_id: str = "",
        trace_id: str = "",
    ) -> None:
        self._sender = sender
        self._event_id = event_id
        self._release = cut(release or sender.release, MAX_LABEL)
        self._environment = cut(environment or sender.environment, MAX_LABEL)
        self._url = cut(url, MAX_URL)
        self._user_agent = user_agent[:MAX_URL]
        self._user_id = cut(user_id, MAX_LABEL)
        self._trace_id = trace_id

    def span(
        self, found: JsonObject, *, start: Json, end: Json, name: str, attributes: JsonObject, is_segment: bool = False
    ) -> Span:
        """One span; an id that is missing is made from what the span says."""
        started, ended = self._sender.clock.between(parse_seconds(start), parse_seconds(end))
        trace_id = hex_id(text(found.get("trace_id"))) or self._trace_id
        identity = span_id(text(found.get("span_id")))
        if not identity:
            identity = hash_id("span", trace_id, self._event_id, text(start), text(end), name)[:16]
        return Span(
            trace_id=trace_id or hash_id("trace", self._event_id, identity),
            span_id=identity,
            start=started,
            end=ended,
            parent_span_id=span_id(text(found.get("parent_span_id"))),
            op=cut(line(found.get("op")) or line(attributes.get("sentry.op")), MAX_LABEL),
            name=cut(line(name), MAX_TITLE),
            status=cut(line(found.get("status")), MAX_LABEL),
            is_segment=is_segment,
            event_id=self._event_id,
            release=self._release,
            environment=self._environment,
            url=self._url,
            user_agent=self._user_agent,
            user_id=self._user_id,
            attributes=_attributes(attributes),
        )

    def child(self, found: JsonObject) -> list[Item]:
        """A child span of a transaction."""
        span = self.span(
            found,
            start=found.get("start_timestamp"),
            end=found.get("timestamp"),
            name=text(found.get("description")),
            attributes={**_object(found.get("tags")), **_object(found.get("data"))},
        )
        return [span, *self.long_task(span)]

    def long_task(self, span: Span) -> list[Item]:
        """A span that stands for a blocked main thread is a measurement too."""
        if span.op not in _LONG_TASKS:
            return []
        return [self._measurement("long_task", (span.end - span.start) / 1_000, "millisecond", span, "")]

    def measurements(self, found: JsonObject, span: Span, element: str = "") -> list[Item]:
        """Measurements by name, each `{value, unit?}`."""
        items: list[Item] = []
        for name, entry in list(found.items())[:MAX_ENTRIES]:
            value = number(entry.get("value") if isinstance(entry, dict) else entry)
            if value is None or not name:
                continue
            metric = _VITALS.get(name.lower(), name)
            unit = line(entry.get("unit")) if isinstance(entry, dict) else ""
            default = "none" if metric == "CLS" else "millisecond"
            items.append(self._measurement(metric, value, unit or default, span, element))
        return items

    def _measurement(self, metric: str, value: float, unit: str, span: Span, element: str) -> Measurement:
        transaction = span.attributes.get("sentry.segment.name") or span.attributes.get("sentry.transaction")
        route = line(transaction) or line(span.attributes.get("transaction")) or (span.name if span.is_segment else "")
        return Measurement(
            id=hash_id("measurement", self._event_id, span.trace_id, span.span_id, metric),
            metric=cut(line(metric), MAX_LABEL),
            value=value,
            timestamp=span.end,
            unit=cut(unit, MAX_LABEL),
            url=span.url,
            route=cut(route, MAX_LABEL),
            release=span.release,
            environment=span.environment,
            element=cut(line(element), MAX_LABEL),
            user_agent=span.user_agent,
            user_id=span.user_id,
            trace_id=span.trace_id,
        )


def _attributes(found: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    for name, value in found.items():
        if name in _LIFTED or value is None or value == "":
            continue
        if len(kept) >= MAX_ATTRIBUTES:
            break
        bounded = json_value(value, _DEPTH)
        kept[cut(text(name), MAX_LABEL)] = cut(bounded, _MAX_ATTRIBUTE) if isinstance(bounded, str) else bounded
    return kept


def _plain(value: Json) -> Json:
    """The value of a typed attribute `{value, type}`."""
    if isinstance(value, dict) and "value" in value:
        found = value["value"]
        return whole(found) if value.get("type") == "integer" and whole(found) is not None else found
    return value


def _identity(user: JsonObject) -> str:
    return line(user.get("id")) or line(user.get("email")) or line(user.get("username"))


def _user_agent(request: JsonObject) -> str:
    headers = _object(request.get("headers"))
    return next((text(value) for name, value in headers.items() if name.lower() == "user-agent"), "")


def _sdk(found: JsonObject) -> str:
    sdk = _object(found.get("sdk"))
    return f"{line(sdk.get('name'))} {line(sdk.get('version'))}".strip()


def _object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
