"""Shapes of spans in the JSON API."""

from __future__ import annotations

from msgspec import Struct

from appliance.hookspecs import SpanSummary
from appliance.model import JsonObject
from appliance.web.formats import iso


class SpanBody(Struct, frozen=True, kw_only=True):
    """One span; `duration` is in milliseconds."""

    trace_id: str
    span_id: str
    parent_span_id: str
    project_id: int
    op: str
    name: str
    status: str
    is_segment: bool
    started_at: str
    ended_at: str
    duration: float
    url: str
    release: str
    environment: str
    browser: str
    attributes: JsonObject


class SpanList(Struct, frozen=True, kw_only=True):
    """A page of spans, newest first."""

    items: list[SpanBody]
    next: str | None


def span_body(found: SpanSummary) -> SpanBody:
    """As the API shows it."""
    return SpanBody(
        trace_id=found.trace_id,
        span_id=found.span_id,
        parent_span_id=found.parent_span_id,
        project_id=found.project_id,
        op=found.op,
        name=found.name,
        status=found.status,
        is_segment=found.is_segment,
        started_at=iso(found.start),
        ended_at=iso(found.end),
        duration=(found.end - found.start) / 1_000,
        url=found.url,
        release=found.release,
        environment=found.environment,
        browser=found.browser,
        attributes=found.attributes,
    )
