"""Rows with everything filled in, for tests that care about a field or two: `event_row(7, level="fatal")`."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from appliance.model import (
    EventRow,
    MeasurementRow,
    OutcomeRow,
    PageViewRow,
    ReplaySegmentRow,
    SessionRow,
    SpanRow,
)

NOW: Final = 1_800_000_000_000_000  # µs; 2027-01-15 08:00 UTC, where `FakeClock` starts
SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR


def hex_id(number: int) -> str:
    """32 hex digits from a number."""
    return f"{number:032x}"


def event_row(ordinal: int = 0, **changes: object) -> EventRow:
    """An error in Chrome. Its id follows from its ordinal, its time is an hour before `NOW`."""
    row = EventRow(
        ordinal=ordinal, project_id=1, event_id=hex_id(ordinal + 1), kind="error", level="error",
        timestamp=NOW - HOUR, received_at=NOW - HOUR, group_hash=101, grouping_version=1,
        title="TypeError: x is undefined", culprit="checkout(app.js)", type="TypeError", message="x is undefined",
        platform="javascript", release="shop@1.0.0", dist="", environment="production", transaction="/cart",
        url="https://shop.example/cart", user_id="", user_hash=0, browser="Chrome", browser_version="148.0",
        os="Windows", os_version="11", device="", sdk="sentry.javascript.browser", sdk_version="10.11.0",
        handled=False, trace_id="", session_id="", page_view_id="", replay_id="", tags={}, payload=b"",
    )  # fmt: skip
    return replace(row, **changes)


def measurement_row(ordinal: int = 0, **changes: object) -> MeasurementRow:
    """One good LCP."""
    row = MeasurementRow(
        ordinal=ordinal, project_id=1, measurement_id=hex_id(ordinal + 1), metric="LCP", value=1_200.0,
        unit="millisecond", rating="good", timestamp=NOW - HOUR, received_at=NOW - HOUR,
        url="https://shop.example/", route="/", release="shop@1.0.0", environment="production", element="",
        browser="Chrome", os="Windows", device="", user_hash=0, session_id="", page_view_id="", trace_id="",
        attributes=b"",
    )  # fmt: skip
    return replace(row, **changes)


def page_view_row(ordinal: int = 0, **changes: object) -> PageViewRow:
    """One page shown."""
    row = PageViewRow(
        ordinal=ordinal, project_id=1, page_view_id=hex_id(ordinal + 1), timestamp=NOW - HOUR,
        received_at=NOW - HOUR, url="https://shop.example/", route="/", referrer="", release="shop@1.0.0",
        environment="production", browser="Chrome", os="Windows", device="", user_hash=0, session_id="",
        last_sequence=0,
    )  # fmt: skip
    return replace(row, **changes)


def session_row(ordinal: int = 0, **changes: object) -> SessionRow:
    """A healthy visit."""
    row = SessionRow(
        ordinal=ordinal, project_id=1, session_id=hex_id(ordinal + 1), started=NOW - HOUR, timestamp=NOW - HOUR,
        received_at=NOW - HOUR, status="ok", errors=0, duration=1.5, user_hash=0, release="shop@1.0.0",
        environment="production", browser="Chrome", os="Windows", device="", quantity=1,
    )  # fmt: skip
    return replace(row, **changes)


def span_row(ordinal: int = 0, **changes: object) -> SpanRow:
    """A page load's root span."""
    row = SpanRow(
        ordinal=ordinal, project_id=1, trace_id=hex_id(1), span_id=f"{ordinal + 1:016x}", parent_span_id="",
        event_id="", start=NOW - HOUR, end=NOW - HOUR + SECOND, received_at=NOW - HOUR, op="pageload", name="/",
        status="ok", is_segment=True, release="shop@1.0.0", environment="production", url="", browser="Chrome",
        os="Windows", device="", user_hash=0, attributes=b"",
    )  # fmt: skip
    return replace(row, **changes)


def replay_segment_row(ordinal: int = 0, **changes: object) -> ReplaySegmentRow:
    """The first five seconds of a recorded session."""
    row = ReplaySegmentRow(
        ordinal=ordinal, project_id=1, replay_id=hex_id(1), segment=0, timestamp=NOW - HOUR + 5 * SECOND,
        received_at=NOW - HOUR + 5 * SECOND, started=NOW - HOUR, replay_type="session",
        blob_key=f"replays/1/2027-01-15/{ordinal}", blob_bytes=100, blob_sha256="0" * 64, error_ids=[],
        trace_ids=[], urls=[], release="shop@1.0.0", environment="production", browser="Chrome", os="Windows",
        device="", user_hash=0, session_id="",
    )  # fmt: skip
    return replace(row, **changes)


def outcome_row(ordinal: int = 0, **changes: object) -> OutcomeRow:
    """One error that an SDK's rate limit kept back."""
    row = OutcomeRow(
        ordinal=ordinal, project_id=1, timestamp=NOW - HOUR, received_at=NOW - HOUR, source="client",
        reason="ratelimit_backoff", category="error", quantity=1,
    )  # fmt: skip
    return replace(row, **changes)
