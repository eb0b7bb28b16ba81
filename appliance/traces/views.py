"""A trace as a waterfall: its spans as a tree, each with a bar on the trace's own time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from appliance.hookspecs import EventSummary, SpanSummary
from appliance.issues.views import IssueMention
from appliance.model import Json

MAX_DEPTH: Final = 12  # of indentation; deeper spans stand at this depth
LEAST_WIDTH: Final = 0.4  # of 100: a span of no length is still seen
MAX_VALUE: Final = 500  # characters of one attribute
MAX_ATTRIBUTES: Final = 60
FINE: Final = frozenset({"", "ok", "unset", "unknown"})


class SpanRow(Struct, frozen=True, kw_only=True):
    """One span; `x` and `width` are of 100."""

    span: SpanSummary
    depth: int
    x: float
    width: float
    seconds: float
    offset: float  # seconds after the trace's start
    failed: bool
    attributes: tuple[tuple[str, str], ...]


class TraceEvent(Struct, frozen=True, kw_only=True):
    """An event of the trace, and the issue that it belongs to."""

    event: EventSummary
    issue: IssueMention | None
    offset: float


class TracePage(Struct, frozen=True, kw_only=True):
    """A trace."""

    trace_id: str
    name: str
    start: int
    seconds: float
    rows: tuple[SpanRow, ...]
    events: tuple[TraceEvent, ...]
    failed: int
    cut: bool


def trace_page(
    trace_id: str,
    spans: Sequence[SpanSummary],
    events: Sequence[EventSummary],
    issues: Mapping[int, IssueMention],
    *,
    cut: bool,
) -> TracePage:
    """Lay a trace out.

    Args:
        trace_id: of the trace.
        spans: without any, there is an event at least.
        events: those that name the trace.
        issues: by group hash, those that the events belong to.
        cut: whether there are more spans than were given.
    """
    start = min([span.start for span in spans] or [event.timestamp for event in events])
    end = max([span.end for span in spans], default=start)
    length = max(end - start, 1)
    rows = tuple(_row(span, depth, start, length) for span, depth in in_order(spans))
    return TracePage(
        trace_id=trace_id,
        name=(rows[0].span.name or rows[0].span.op if rows else "") or f"Trace {trace_id[:8]}",
        start=start,
        seconds=(end - start) / 1_000_000,
        rows=rows,
        events=tuple(
            TraceEvent(event=event, issue=issues.get(event.group_hash), offset=(event.timestamp - start) / 1_000_000)
            for event in sorted(events, key=lambda event: event.timestamp)
        ),
        failed=sum(row.failed for row in rows),
        cut=cut,
    )


def in_order(spans: Sequence[SpanSummary]) -> list[tuple[SpanSummary, int]]:
    """Spans as a tree read from above, each with its depth; one whose parent is not here is a root.

    Every span comes once, also where parents lead in a circle.
    """
    ids = {span.span_id for span in spans}
    children: dict[str, list[SpanSummary]] = {}
    for span in sorted(spans, key=lambda span: (span.start, -span.end, span.span_id)):
        parent = span.parent_span_id if span.parent_span_id in ids and span.parent_span_id != span.span_id else ""
        children.setdefault(parent, []).append(span)
    found: list[tuple[SpanSummary, int]] = []
    seen: set[str] = set()
    for begin in (children.get("", []), sorted(spans, key=lambda span: span.start)):  # then what is in a circle
        stack = [(span, 0) for span in reversed(begin)]
        while stack:
            span, depth = stack.pop()
            if span.span_id in seen:
                continue
            seen.add(span.span_id)
            found.append((span, depth))
            stack += [(child, depth + 1) for child in reversed(children.get(span.span_id, []))]
    return found


def _row(span: SpanSummary, depth: int, start: int, length: int) -> SpanRow:
    width = max(LEAST_WIDTH, max(span.end - span.start, 0) / length * 100)
    return SpanRow(
        span=span,
        depth=min(depth, MAX_DEPTH),
        x=min((span.start - start) / length * 100, 100 - LEAST_WIDTH),
        width=width,
        seconds=max(span.end - span.start, 0) / 1_000_000,
        offset=(span.start - start) / 1_000_000,
        failed=span.status not in FINE,
        attributes=tuple((name, _text(value)) for name, value in list(span.attributes.items())[:MAX_ATTRIBUTES]),
    )


def _text(value: Json) -> str:
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_VALUE else text[:MAX_VALUE] + "…"
