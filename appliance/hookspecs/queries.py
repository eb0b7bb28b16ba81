"""What the event store is asked with, and what it answers: one filter, and a row type for each question."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from appliance.model import Event, JsonObject


class EventFilter(Struct, frozen=True, kw_only=True):
    """The one filter that all queries take. Empty tuples filter nothing; values of one field are alternatives."""

    project_ids: tuple[int, ...]  # empty: nothing is selected, never everything
    start: int = 0  # µs, inclusive, on the event's timestamp
    end: int = 0  # µs, exclusive; 0: no end
    group_hashes: tuple[int, ...] = ()
    kinds: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    environments: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    browsers: tuple[str, ...] = ()
    oses: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    user_ids: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()  # exact
    routes: tuple[str, ...] = ()  # of measurements and page views
    statuses: tuple[str, ...] = ()  # of sessions, as they ended
    ratings: tuple[str, ...] = ()  # of measurements: good, needs-improvement, needs_improvement, poor
    tags: tuple[tuple[str, str], ...] = ()  # all must hold
    trace_id: str = ""
    replay_id: str = ""
    session_id: str = ""
    page_view_id: str = ""
    text: str = ""  # words, all of which stand in title, message, culprit or URL; case-insensitive


FieldTable = Literal["measurements", "page_views", "sessions", "spans"]


class Page(Struct, frozen=True, kw_only=True):
    """Keyset paging: an opaque cursor from the last answer, newest first."""

    limit: int = 50  # at most 200
    cursor: str = ""


class EventSummary(Struct, frozen=True, kw_only=True):
    """An event without its payload, for lists."""

    project_id: int
    event_id: str
    group_hash: int
    kind: str
    level: str
    title: str
    culprit: str
    timestamp: int
    received_at: int
    release: str
    environment: str
    url: str
    user_id: str
    browser: str
    browser_version: str
    os: str
    os_version: str
    device: str
    trace_id: str
    replay_id: str
    handled: bool
    tags: dict[str, str]
    payload_withheld: bool
    session_id: str = ""
    page_view_id: str = ""


class GroupStats(Struct, frozen=True, kw_only=True):
    """What happened under one group hash within a filter."""

    group_hash: int
    events: int
    users: int  # approximate
    first_seen: int
    last_seen: int


class Bucket(Struct, frozen=True, kw_only=True):
    """One bar of a histogram."""

    start: int
    events: int
    users: int = 0


class TagCount(Struct, frozen=True, kw_only=True):
    """How often a value occurs."""

    key: str
    value: str
    events: int
    last_seen: int = 0


class LatestEvent(Struct, frozen=True, kw_only=True):
    """The newest event of a filter."""

    summary: EventSummary
    event: Event | None  # None: its payload was held back
    previous: str  # id of the event before it; "" when it is the only one


class Neighbours(Struct, frozen=True, kw_only=True):
    """Event ids around one event within a filter; "" at the ends."""

    previous: str
    next: str
    oldest: str
    newest: str


class MetricSummary(Struct, frozen=True, kw_only=True):
    """The distribution of one metric, for one page or for all."""

    metric: str
    samples: int
    p50: float
    p75: float
    p95: float
    good: int
    needs_improvement: int
    poor: int
    url: str = ""
    route: str = ""


class MetricBucket(Struct, frozen=True, kw_only=True):
    """The distribution of one metric within one bar of a histogram."""

    start: int
    samples: int
    p75: float
    good: int
    needs_improvement: int
    poor: int


class MetricElement(Struct, frozen=True, kw_only=True):
    """What a metric was measured on: an element, a script, a request."""

    element: str
    samples: int
    poor: int
    p75: float
    worst: float
    route: str  # of the worst sample


class Measure(Struct, frozen=True, kw_only=True):
    """One measurement, for lists."""

    measurement_id: str
    metric: str
    value: float
    unit: str
    timestamp: int
    url: str
    release: str
    environment: str
    browser: str
    attributes: JsonObject
    project_id: int = 0
    rating: str = ""
    route: str = ""
    element: str = ""
    session_id: str = ""
    page_view_id: str = ""
    trace_id: str = ""


class SessionSummary(Struct, frozen=True, kw_only=True):
    """One visit, as its newest row says, and what was seen of its page views."""

    project_id: int
    session_id: str
    started: int
    timestamp: int  # of the newest row
    status: str
    errors: int
    duration: float  # seconds
    user_id: str
    user_hash: int
    release: str
    environment: str
    browser: str
    os: str
    device: str
    quantity: int  # above 1: a sum that a server's SDK sent
    page_views: int = 0
    missing: int = 0  # of all its page views, see `PageViewSummary`
    url: str = ""  # of its first page view
    route: str = ""


class PageViewSummary(Struct, frozen=True, kw_only=True):
    """One page view, put together from everything that was sent in it."""

    project_id: int
    page_view_id: str
    session_id: str
    timestamp: int  # when it began
    url: str
    route: str
    title: str
    referrer: str
    release: str
    environment: str
    browser: str
    os: str
    device: str
    user_hash: int
    last_sequence: int  # how many things the page captured in it
    arrived: int  # how many of those came, or were dropped and said so
    envelopes: int  # requests that told of it

    @property
    def missing(self) -> int:
        """How many were captured and never heard of: the page was killed, or the network never came back."""
        return max(0, self.last_sequence - self.arrived)


class SpanSummary(Struct, frozen=True, kw_only=True):
    """One span."""

    project_id: int
    trace_id: str
    span_id: str
    parent_span_id: str
    event_id: str
    start: int
    end: int
    op: str
    name: str
    status: str
    is_segment: bool
    release: str
    environment: str
    url: str
    browser: str
    os: str
    device: str
    user_hash: int
    attributes: JsonObject


class ReplaySummary(Struct, frozen=True, kw_only=True):
    """One recorded session."""

    project_id: int
    replay_id: str
    started: int
    ended: int
    segments: int
    blob_bytes: int
    urls: tuple[str, ...]
    error_ids: tuple[str, ...]
    release: str
    environment: str
    browser: str
    blob_keys: tuple[str, ...]  # in order of segments
    session_ids: tuple[str, ...] = ()  # of the visits it was recorded in, the first one first


class ReleaseSummary(Struct, frozen=True, kw_only=True):
    """What is known of a release from what carried its name."""

    release: str
    events: int
    users: int
    sessions: int
    crashed_sessions: int
    first_seen: int
    last_seen: int
