"""The event model: what a protocol decodes to, what processors change, what an event store keeps.

Three families, in the order data meets them:

* `Record`: one accepted request body, as the spool holds it.
* items (`Event`, `Measurement`, `PageView`, `Session`, `Span`, `ReplaySegment`, `Outcome`): what a protocol
  decodes a record to. Times are integer microseconds since the epoch, UTC.
* rows (`EventRow`, …) and `Batch`: items as an event store takes them, flat, with their place in the spool.

Nothing here reads a clock or draws a random number: rows are a function of the spooled bytes and the receive time.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from msgspec import Struct, field

if TYPE_CHECKING:
    Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
else:
    Json = Any  # msgspec does not resolve a recursive alias; what it decodes from JSON is JSON all the same
JsonObject: TypeAlias = dict[str, Json]

MICROSECONDS: Final = 1_000_000

# ── Bounds on what one event may carry. Each protocol cuts to these when it decodes; `truncated` says what was cut. ──
MAX_TAGS: Final = 60  # twice what any recorded SDK sends; each tag is a map entry in every row
MAX_TAG_KEY: Final = 64
MAX_TAG_VALUE: Final = 200  # Sentry's own limit for a tag value
MAX_MESSAGE: Final = 8_192  # characters; browsers put whole responses into messages
MAX_TITLE: Final = 300
MAX_URL: Final = 2_048
MAX_FRAMES: Final = 250  # a stack overflow reports its first and last frames; Sentry's SDKs cut at 50
MAX_EXCEPTIONS: Final = 20  # a cause chain longer than this is a loop
MAX_BREADCRUMBS: Final = 200  # SDKs keep 100 by default
MAX_LABEL: Final = 200  # release, environment, dist, transaction, user id, …
MAX_PAYLOAD_BYTES: Final = 512 * 1024  # one event's JSON after normalising; Sentry's own limit is 1 MiB
MAX_DEPTH: Final = 24  # of nested JSON in extra and contexts; deeper is replaced by a note


class Kind(StrEnum):
    """What an event is. Decides its icon, its grouping and whether it opens an issue."""

    ERROR = "error"
    MESSAGE = "message"
    CUSTOM = "custom"
    WHITE_SCREEN = "white_screen"
    RESOURCE_ERROR = "resource_error"
    CSP = "csp"
    FEEDBACK = "feedback"


# Kinds that are grouped into issues. Feedback is a person's message and custom events are facts, not faults.
ISSUE_KINDS: Final = frozenset({Kind.ERROR, Kind.MESSAGE, Kind.WHITE_SCREEN, Kind.RESOURCE_ERROR, Kind.CSP})


class Level(StrEnum):
    """Severity, as Sentry names it."""

    FATAL = "fatal"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


class Category(StrEnum):
    """What a request mostly carries, in the order in which it is shed when the spool fills: last first."""

    ERROR = "error"
    SESSION = "session"
    TRANSACTION = "transaction"
    MEASUREMENT = "measurement"
    REPLAY = "replay"
    OTHER = "other"


# ───────────────────────────────────────────── records ─────────────────────────────────────────────


class Record(Struct, frozen=True, kw_only=True):
    """One accepted request, decompressed for its protocol. `headers` has lower-case names and only what was kept."""

    protocol: str
    route: str  # the Route.name it came in by
    project_id: int
    received_at: int  # µs, our clock
    body: bytes
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    address: str = ""  # the client's, after trusted_proxies; "" when unknown
    record_id: str = ""  # spool epoch, segment and offset: the same at every attempt
    refused: list[Category] = field(default_factory=list)  # what the project did not want when it was accepted


# ───────────────────────────────────────────── items ─────────────────────────────────────────────


class Frame(Struct, omit_defaults=True, kw_only=True):
    """One stack frame. Frames go from the oldest call to the newest, as in Sentry."""

    function: str = ""
    filename: str = ""
    abs_path: str = ""
    module: str = ""
    lineno: int | None = None
    colno: int | None = None
    in_app: bool | None = None  # None: the SDK did not say
    context_line: str | None = None
    pre_context: list[str] = field(default_factory=list)
    post_context: list[str] = field(default_factory=list)
    vars: JsonObject = field(default_factory=dict)
    debug_id: str = ""


class ExceptionValue(Struct, omit_defaults=True, kw_only=True):
    """One exception of a chain; the outermost, the one that was thrown, is the last."""

    type: str = ""
    value: str = ""
    module: str = ""
    mechanism: str = ""
    handled: bool | None = None
    frames: list[Frame] = field(default_factory=list)


class Breadcrumb(Struct, omit_defaults=True, kw_only=True):
    """Something that happened before the event."""

    timestamp: int | None = None  # µs
    type: str = ""
    category: str = ""
    level: str = ""
    message: str = ""
    data: JsonObject = field(default_factory=dict)


class User(Struct, omit_defaults=True, kw_only=True):
    """Who was affected, as far as the page said."""

    id: str = ""
    email: str = ""
    username: str = ""
    ip_address: str = ""
    data: JsonObject = field(default_factory=dict)


class Request(Struct, omit_defaults=True, kw_only=True):
    """The page (or the server request) in which it happened."""

    url: str = ""
    method: str = ""
    query_string: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    data: Json = None
    cookies: JsonObject = field(default_factory=dict)
    env: JsonObject = field(default_factory=dict)


class Client(Struct, omit_defaults=True, kw_only=True):
    """The browser and machine behind a user agent; the `user_agent` processor fills it."""

    browser: str = ""
    browser_version: str = ""
    os: str = ""
    os_version: str = ""
    device: str = ""


class DebugImage(Struct, omit_defaults=True, kw_only=True):
    """A bundle that took part, by its debug id: how source maps are found."""

    code_file: str
    debug_id: str


class Event(Struct, tag="event", omit_defaults=True, kw_only=True):
    """One thing an SDK reported. Its JSON form is the stored payload, so processors change it here, before storing."""

    id: str  # 32 lower-case hex digits
    kind: Kind
    timestamp: int  # µs; skew-corrected and clamped to the receive time by the protocol
    level: Level = Level.ERROR
    platform: str = "javascript"
    message: str = ""
    message_template: str = ""  # `logentry.message`, or what a message is grouped by when the SDK has it
    message_params: list[Json] = field(default_factory=list)
    logger: str = ""
    transaction: str = ""
    url: str = ""
    release: str = ""
    dist: str = ""
    environment: str = ""
    server_name: str = ""
    fingerprint: list[str] = field(default_factory=list)
    exceptions: list[ExceptionValue] = field(default_factory=list)
    stack: list[Frame] = field(default_factory=list)  # of a message or a thread, when there is no exception
    breadcrumbs: list[Breadcrumb] = field(default_factory=list)
    user: User | None = None
    request: Request | None = None
    user_agent: str = ""
    client: Client = field(default_factory=Client)
    tags: dict[str, str] = field(default_factory=dict)
    contexts: dict[str, Json] = field(default_factory=dict)
    extra: JsonObject = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    debug_images: list[DebugImage] = field(default_factory=list)
    sdk_name: str = ""
    sdk_version: str = ""
    trace_id: str = ""
    span_id: str = ""
    session_id: str = ""
    page_view_id: str = ""
    replay_id: str = ""
    truncated: list[str] = field(default_factory=list)  # what was cut or could not be read, in words

    @property
    def unhandled(self) -> bool:
        """True if any exception of the chain says so (SDKs disagree on which one carries it)."""
        return any(value.handled is False for value in self.exceptions)


class Measurement(Struct, tag="measurement", omit_defaults=True, kw_only=True):
    """One sample of a metric: LCP, INP, CLS, FCP, TTFB, LOAD, long_task, jank, low_fps, …"""

    id: str  # 32 hex; made from the record's bytes where the SDK gives none
    metric: str
    value: float  # milliseconds, but CLS has no unit and low_fps is frames per second
    timestamp: int
    unit: str = "millisecond"
    rating: str = ""
    url: str = ""
    route: str = ""
    release: str = ""
    environment: str = ""
    element: str = ""  # attribution: what was measured
    client: Client = field(default_factory=Client)
    user_agent: str = ""
    user_id: str = ""
    session_id: str = ""
    page_view_id: str = ""
    trace_id: str = ""
    attributes: JsonObject = field(default_factory=dict)
    # 0: the first value of this id. Above: it takes the place of every value of the same id with a lower one.
    revision: int = 0


class PageView(Struct, tag="page_view", omit_defaults=True, kw_only=True):
    """One page shown in a session; a client-side route change is one too.

    A protocol whose requests belong to a page view gives one of these for each request: what they tell is put together
    by `id`, and `envelope_id` says which of them are the same request sent again.
    """

    id: str
    timestamp: int  # when the page view began
    envelope_id: str = ""  # 32 hex, of the request; "" = there is one request only, and `id` stands for it
    url: str = ""
    route: str = ""
    title: str = ""
    referrer: str = ""
    release: str = ""
    environment: str = ""
    client: Client = field(default_factory=Client)
    user_agent: str = ""
    user_id: str = ""
    session_id: str = ""
    last_sequence: int = 0  # the highest sequence number given out so far, from 1: gaps in all `sequences` are losses
    sequences: list[int] = field(default_factory=list)  # those that are accounted for: arrived, or dropped and said so


class Session(Struct, tag="session", omit_defaults=True, kw_only=True):
    """A visit, upserted by `id`. Aggregates (server SDKs) have `quantity` > 1 and an id made from their content."""

    id: str
    started: int
    timestamp: int
    status: str = "ok"  # ok, exited, crashed, unhandled, errored, abnormal
    errors: int = 0
    duration: float | None = None  # seconds
    user_id: str = ""
    release: str = ""
    environment: str = ""
    client: Client = field(default_factory=Client)
    user_agent: str = ""
    quantity: int = 1


class Span(Struct, tag="span", omit_defaults=True, kw_only=True):
    """A timed operation; `is_segment` marks the root of its service's part of a trace, the former transaction."""

    trace_id: str
    span_id: str
    start: int
    end: int
    parent_span_id: str = ""
    op: str = ""
    name: str = ""
    status: str = ""
    is_segment: bool = False
    event_id: str = ""  # of the transaction it came in
    release: str = ""
    environment: str = ""
    url: str = ""
    client: Client = field(default_factory=Client)
    user_agent: str = ""
    user_id: str = ""
    attributes: JsonObject = field(default_factory=dict)


class ReplaySegment(Struct, tag="replay_segment", omit_defaults=True, kw_only=True):
    """One segment of a recorded session; `body` (rrweb events as JSON) goes to the blob store."""

    replay_id: str
    segment: int
    timestamp: int  # of the segment's end
    started: int
    body: bytes = b""
    replay_type: str = "session"  # session, buffer
    error_ids: list[str] = field(default_factory=list)
    trace_ids: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    release: str = ""
    environment: str = ""
    client: Client = field(default_factory=Client)
    user_agent: str = ""
    user_id: str = ""
    session_id: str = ""


class Outcome(Struct, tag="outcome", omit_defaults=True, kw_only=True):
    """Something that was not kept, and why: by the SDK (client reports) or by us."""

    reason: str  # before_send, ratelimit_backoff, unsupported_item, …
    category: str  # error, transaction, replay, …
    timestamp: int
    quantity: int = 1
    source: str = "client"  # client, server


Item: TypeAlias = Event | Measurement | PageView | Session | Span | ReplaySegment | Outcome


# ───────────────────────────────────────────── rows ─────────────────────────────────────────────
# Flat, array-like: they cross from the decode worker to the core as msgpack. `ordinal` is the row's place in its
# batch: record index × 65,536 + item index, the same at every attempt. One counter per batch, shared by all tables.

ORDINALS_PER_RECORD: Final = 65_536


class EventRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `events`."""

    ordinal: int
    project_id: int
    event_id: str
    kind: str
    level: str
    timestamp: int
    received_at: int
    group_hash: int  # unsigned 64 bit; 0 where the kind opens no issue
    grouping_version: int
    title: str
    culprit: str
    type: str
    message: str
    platform: str
    release: str
    dist: str
    environment: str
    transaction: str
    url: str
    user_id: str  # what identifies the user for counting: id, else e-mail, else username, else address
    user_hash: int  # unsigned 64 bit; 0 without a user
    browser: str
    browser_version: str
    os: str
    os_version: str
    device: str
    sdk: str
    sdk_version: str
    handled: bool
    trace_id: str
    session_id: str
    page_view_id: str
    replay_id: str
    tags: dict[str, str]
    payload: bytes  # the event's JSON; b"" when a payload bound held it back
    payload_withheld: bool = False

    @property
    def identity(self) -> str:
        """What duplicates are told by."""
        return self.event_id


class MeasurementRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `measurements`."""

    ordinal: int
    project_id: int
    measurement_id: str
    metric: str
    value: float
    unit: str
    rating: str
    timestamp: int
    received_at: int
    url: str
    route: str
    release: str
    environment: str
    element: str
    browser: str
    os: str
    device: str
    user_hash: int
    session_id: str
    page_view_id: str
    trace_id: str
    attributes: bytes  # JSON
    revision: int = 0  # of the rows of one measurement_id, those with the highest count

    @property
    def identity(self) -> str:
        """What duplicates are told by: each revision is stored once."""
        return f"{self.measurement_id}/{self.revision}" if self.revision else self.measurement_id


class PageViewRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `page_views`: what one request told of a page view; the view is all rows of its id."""

    ordinal: int
    project_id: int
    page_view_id: str
    timestamp: int
    received_at: int
    url: str
    route: str
    referrer: str
    release: str
    environment: str
    browser: str
    os: str
    device: str
    user_hash: int
    session_id: str
    last_sequence: int
    envelope_id: str = ""
    title: str = ""
    sequences: list[int] = field(default_factory=list)  # unsigned 32 bit

    @property
    def identity(self) -> str:
        """What duplicates are told by: the request it came in."""
        return self.envelope_id or self.page_view_id


class SessionRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `sessions`; the row with the newest timestamp of a session_id counts."""

    ordinal: int
    project_id: int
    session_id: str
    started: int
    timestamp: int
    received_at: int
    status: str
    errors: int
    duration: float
    user_hash: int
    release: str
    environment: str
    browser: str
    os: str
    device: str
    quantity: int
    user_id: str = ""


class SpanRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `spans`, upserted by (trace_id, span_id)."""

    ordinal: int
    project_id: int
    trace_id: str
    span_id: str
    parent_span_id: str
    event_id: str
    start: int
    end: int
    received_at: int
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
    attributes: bytes  # JSON


class ReplaySegmentRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `replay_segments`: the index of a blob."""

    ordinal: int
    project_id: int
    replay_id: str
    segment: int
    timestamp: int
    received_at: int
    started: int
    replay_type: str
    blob_key: str
    blob_bytes: int
    blob_sha256: str
    error_ids: list[str]
    trace_ids: list[str]
    urls: list[str]
    release: str
    environment: str
    browser: str
    os: str
    device: str
    user_hash: int
    session_id: str


class OutcomeRow(Struct, array_like=True, gc=False, kw_only=True):
    """One row of `outcomes`."""

    ordinal: int
    project_id: int
    timestamp: int
    received_at: int
    source: str
    reason: str
    category: str
    quantity: int


class Batch(Struct, array_like=True, kw_only=True):
    """What one spool range became. Every row in every table carries `batch_id` and its ordinal."""

    batch_id: int  # 128 bits: spool epoch (64), segment (32), start offset (32)
    events: list[EventRow] = field(default_factory=list)
    measurements: list[MeasurementRow] = field(default_factory=list)
    page_views: list[PageViewRow] = field(default_factory=list)
    sessions: list[SessionRow] = field(default_factory=list)
    spans: list[SpanRow] = field(default_factory=list)
    replay_segments: list[ReplaySegmentRow] = field(default_factory=list)
    outcomes: list[OutcomeRow] = field(default_factory=list)


# The tables whose rows have an `identity`, and what `EventStore.seen` calls their kind.
IDENTIFIED: Final = {"events": "event", "measurements": "measurement", "page_views": "page_view"}

# The tables of an event store, by the name of the `Batch` field that fills each.
TABLES: Final = (
    "events",
    "measurements",
    "page_views",
    "sessions",
    "spans",
    "replay_segments",
    "outcomes",
)
