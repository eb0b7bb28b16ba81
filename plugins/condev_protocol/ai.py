"""AI streams and spans, of the browser SDK and of the server-side ones, to the model's spans."""

from __future__ import annotations

from typing import Final

from appliance.decoding import cut, hash_id, hex_id, json_value, line, number, parse_milliseconds, span_id, text
from appliance.model import MAX_LABEL, MAX_TITLE, MAX_URL, Json, JsonObject, Span

from .common import Report

MAX_VALUE: Final = 8_192  # characters of one attribute; prompts and answers are documents
_MAX_ATTRIBUTES: Final = 60  # the recorded spans have up to 30
_DEPTH: Final = 6
# Keys that became columns of the span, and those that every entry has.
_LIFTED: Final = frozenset(
    {
        "_clientCreatedAt",
        "_eventId",
        "appId",
        "at",
        "browserInfo",
        "dist",
        "durationMs",
        "endedAt",
        "environment",
        "event_type",
        "message",
        "name",
        "parentSpanId",
        "path",
        "release",
        "spanId",
        "startedAt",
        "traceId",
        "userEmail",
        "userId",
    }
)


def decode_span(report: Report) -> Span:
    """An ai_span or ai_observation: one step of a server's work. Sent at its start and again at its end."""
    found = report.found
    trace_id = hex_id(text(found.get("traceId"))) or report.id
    kind = line(found.get("spanKind")) or "span"
    started, ended = _interval(report, number(found.get("durationMs")))
    parent = span_id(text(found.get("parentSpanId")))
    return _span(
        report,
        trace_id=trace_id,
        identity=span_id(text(found.get("spanId"))) or hash_id("ai_span", report.id)[:16],
        started=started,
        ended=ended,
        parent=parent,
        op=f"ai.{kind}",
        name=line(found.get("name")) or line(found.get("model")) or kind,
        status=line(found.get("status")),
        is_segment=not parent,
    )


def decode_stream(report: Report) -> Span:
    """An ai_streaming entry: how an answer streamed into the page, by the network or by the AI library's own events."""
    found = report.found
    started, ended = _interval(report, number(found.get("sseTtlb")))
    address = text(found.get("url"))
    failed = found.get("failureStage") or found.get("aborted") is True or text(found.get("errorName"))
    layer = line(found.get("layer")) or "network"
    return _span(
        report,
        trace_id=hex_id(text(found.get("traceId"))) or report.id,
        identity=hash_id("ai_stream", layer, report.id)[:16],
        started=started,
        ended=ended,
        parent=span_id(text(found.get("parentSpanId"))),
        op=f"ai.stream.{layer}",
        name=f"{line(found.get('method')) or 'POST'} {address}" if address else line(found.get("name")) or "stream",
        status=line(found.get("completionReason")) if failed else "ok",
        is_segment=layer == "network",
    )


def merge_spans(spans: list[Span]) -> list[Span]:
    """Join the spans of one body that are the same: what the later one does not say stays from the earlier."""
    merged: dict[tuple[str, str], Span] = {}
    for span in spans:
        key = (span.trace_id, span.span_id)
        before = merged.get(key)
        if before is None:
            merged[key] = span
            continue
        before.start, before.end = min(before.start, span.start), max(before.end, span.end)
        before.attributes = {**before.attributes, **span.attributes}
        for name in ("parent_span_id", "status", "release", "environment", "url", "user_agent", "user_id"):
            setattr(before, name, getattr(span, name) or getattr(before, name))
        before.op, before.name = span.op or before.op, span.name or before.name
        before.is_segment = not before.parent_span_id and (before.is_segment or span.is_segment)
    return list(merged.values())


def _interval(report: Report, milliseconds: float | None) -> tuple[int, int]:
    """Start and end; one of them may have to be made from the duration."""
    start = parse_milliseconds(report.found.get("startedAt"))
    end = parse_milliseconds(report.found.get("endedAt"))
    if milliseconds is not None and milliseconds >= 0:
        length = round(min(milliseconds, 86_400_000.0) * 1_000)
        if start is not None and end is None:
            end = start + length
        elif end is not None and start is None:
            start = end - length
    if start is None and end is None:
        return report.timestamp, report.timestamp
    return report.clock.between(start if start is not None else end, end if end is not None else start)


def _span(
    report: Report,
    *,
    trace_id: str,
    identity: str,
    started: int,
    ended: int,
    parent: str,
    op: str,
    name: str,
    status: str,
    is_segment: bool,
) -> Span:
    return Span(
        trace_id=trace_id,
        span_id=identity,
        start=started,
        end=ended,
        parent_span_id=parent,
        op=cut(op, MAX_LABEL),
        name=cut(name, MAX_TITLE),
        status=cut(status, MAX_LABEL),
        is_segment=is_segment,
        release=report.release,
        environment=report.environment,
        url=cut(report.url, MAX_URL),
        user_agent=report.user_agent,
        user_id=report.user_id,
        attributes=_attributes(report.found),
    )


def _attributes(found: JsonObject) -> JsonObject:
    kept: JsonObject = {}
    for name, value in found.items():
        if name in _LIFTED or value is None or value == "":
            continue
        if len(kept) >= _MAX_ATTRIBUTES:
            break
        kept[cut(text(name), MAX_LABEL)] = _bounded(value)
    return kept


def _bounded(value: Json) -> Json:
    bounded = json_value(value, _DEPTH)
    if isinstance(bounded, str):
        return cut(bounded, MAX_VALUE)
    if isinstance(bounded, (dict, list)):
        as_text = text(bounded)
        return bounded if len(as_text) <= MAX_VALUE else cut(as_text, MAX_VALUE)
    return bounded
