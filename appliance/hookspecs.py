"""The plugin contract: everything that a plugin implements, is given, and may import.

A plugin is a module (or an object) with a `plugin` attribute, a `PluginInfo`, and functions marked `@hookimpl`
with the names below. It imports this module and `appliance.model`, nothing else of ours; what it needs at run time
comes in its `PluginContext`. See docs/plugins/ for a page per hook.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal, runtime_checkable
from typing import Protocol as Interface

import pluggy
from msgspec import Struct, field
from structlog.typing import FilteringBoundLogger

from appliance.model import Batch, Category, Event, Item, JsonObject, Record
from appliance.secret import Secret

__all__ = [
    "API_VERSION", "Answer", "BadCursorError", "BlobInfo", "BlobStore", "BlobStoreFactory", "Bucket", "CheckStep",
    "Clock", "Command", "DecodeError", "Decoded", "DeliveryError", "Dropped", "EventFilter", "EventNotFoundError",
    "EventStore", "EventStoreError", "EventStoreFactory", "EventSummary", "FieldTable", "Form", "FormField",
    "GroupStats", "HealthCheck", "HealthResult", "HttpAnswer", "HttpClient", "IngestRequest", "IssueChange",
    "LatestEvent", "Measure", "MetricBucket", "MetricElement", "MetricSummary", "Neighbours", "Notification",
    "Notifier", "Page", "PageViewSummary", "Peek", "PluginContext", "PluginInfo", "PluginPage", "Processor",
    "ProjectSettings", "Protocol", "Receipt", "ReleaseSummary", "ReplaySummary", "Route", "Rule", "Secret",
    "ServiceSpec", "SessionSummary", "SpanSummary", "StoreRefusedError", "StoreStats", "StoreUnavailableError",
    "TableStats", "TagCount", "Verdict", "VerdictKind", "hookimpl", "hookspec",
]  # fmt: skip

API_VERSION: Final = "1.0"  # a plugin's requires_api is compared by major, then at-least by minor

hookspec = pluggy.HookspecMarker("condev")
hookimpl = pluggy.HookimplMarker("condev")


# ───────────────────────────────────────────── plugin and context ─────────────────────────────────────────────


class PluginInfo(Struct, frozen=True, kw_only=True):
    """What a plugin states about itself, in a module attribute `plugin`."""

    name: str  # the table [plugins.NAME] in config.toml
    version: str
    requires_api: str = API_VERSION
    config: type[Struct] | None = None  # a kw_only Struct, all fields with defaults; unknown keys are errors
    summary: str = ""


@runtime_checkable
class Clock(Interface):
    """Time, as something that tests can move."""

    def now(self) -> int:
        """Microseconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class HttpAnswer(Struct, frozen=True, kw_only=True):
    """What the other side answered; the body is cut at the client's limit."""

    status: int
    headers: Mapping[str, str]  # lower-case names
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """Seconds that `Retry-After` asks to wait, at most a day; None when it says nothing readable."""
        value = self.headers.get("retry-after", "").strip()
        if value.isdecimal():
            return min(float(value[:9]), 86_400.0)
        try:
            until, since = (parsedate_to_datetime(text) for text in (value, self.headers.get("date", "")))
            return min(max((until - since).total_seconds(), 0.0), 86_400.0)
        except (TypeError, ValueError):  # absent, not a date, or one of the two without its zone
            return None


class HttpClient(Interface):
    """The one guarded way out. Raises `DeliveryError` with words for the reader when nothing was answered."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float = 10.0,
        trusted: bool = False,
    ) -> HttpAnswer:
        """Send one request; never follows a redirect to another host.

        Args:
            method: the HTTP method.
            url: an absolute http or https URL.
            headers: sent as given; a secret is revealed by the caller, at the call.
            body: the request body.
            timeout: seconds for the whole exchange.
            trusted: True only for a URL from config.toml; any other must resolve to a public address, to which
                the connection is then pinned.
        """
        ...


class PluginContext(Struct, frozen=True, kw_only=True):
    """What a plugin is given. It holds this plugin's own config alone."""

    name: str
    config: Any  # an instance of PluginInfo.config
    http: HttpClient
    clock: Clock
    log: FilteringBoundLogger
    data_dir: Path  # data/plugins/NAME, mode 0700; made when first asked for by the host
    site_url: str  # without a trailing slash
    mail_from: str = "Condev Monitor <monitor@localhost>"  # [mail] from: what notifiers send mail as
    memory_bytes: int  # what this appliance may use in all, for plugins that size caches
    cpus: float
    data_root: Path  # the appliance's data directory; for storage backends only
    sdk_path: str = "v2"  # [sdk] path: the name of the endpoint that our SDK reports to; for its protocol only


# ───────────────────────────────────────────── protocols ─────────────────────────────────────────────


class Route(Struct, frozen=True, kw_only=True):
    """A path that a protocol answers on. `{project_id}` matches digits, any other `{name}` one segment.

    Repeated slashes are collapsed and a trailing slash is optional before matching.
    """

    path: str
    methods: tuple[str, ...]
    name: str
    takes_body: bool = True  # False: `inform` answers at once, nothing is spooled


class IngestRequest(Struct, frozen=True, kw_only=True):
    """What a protocol sees of a request before it is accepted."""

    route: str
    method: str
    params: Mapping[str, str]  # from the path
    query: str
    headers: Mapping[str, str]  # lower-case names, the first of duplicates
    head: bytes  # the first 4 KiB of the decompressed body
    address: str
    received_at: int


class Peek(Struct, frozen=True, kw_only=True):
    """What `peek` found out: enough to admit the request, nothing more."""

    key: str  # the ingest key; "" when there is none
    project_id: int | None = None  # when the address names one; must then be the key's
    event_id: str = ""
    category: Category = Category.ERROR  # the most important thing in the body
    keep_headers: tuple[str, ...] = ()  # which request headers decode will need


class VerdictKind(StrEnum):
    """How a request ended."""

    ACCEPTED = "accepted"
    UNKNOWN_KEY = "unknown_key"  # no such key, a disabled key, or the key of another project
    FORBIDDEN_ORIGIN = "forbidden_origin"
    MALFORMED = "malformed"  # cannot even be peeked, or cannot be decompressed
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"  # spool watermark, body bytes in flight, disk: answered as a rate limit
    TIMED_OUT = "timed_out"  # the body did not arrive within its deadline
    GONE = "gone"  # the project does not want this (replay switched off)


class Verdict(Struct, frozen=True, kw_only=True):
    """The core's decision, which the protocol words in its own way."""

    kind: VerdictKind
    route: str
    event_id: str = ""
    category: Category = Category.OTHER
    retry_after: int = 0  # seconds
    detail: str = ""  # one sentence for the person who reads the network tab
    max_bytes: int = 0
    now: int = 0  # µs, for protocols that answer with absolute times


class Answer(Struct, frozen=True, kw_only=True):
    """An HTTP answer. The core adds CORS headers and Content-Length."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class ProjectSettings(Struct, frozen=True, kw_only=True):
    """What ingest knows of a project: published by the core in admission.json."""

    project_id: int
    replay_enabled: bool = True
    sdk: JsonObject = field(default_factory=dict)  # options that the server may override in our SDK


class DecodeError(Exception):
    """The record cannot be read at all. It becomes a dead letter with this text as the reason."""


class Decoded(Struct, kw_only=True):
    """What a record holds. `Outcome` items tell what was there and not kept (unsupported item types, broken ones)."""

    items: list[Item] = field(default_factory=list)


class Protocol(ABC):
    """A wire format. `peek` and `answer` run on the ingest loop and must be quick; `decode` runs in the decode worker.

    `decode` must not read a clock or draw random numbers: the same record must give the same items, with the same ids.
    """

    name: str
    routes: Sequence[Route]
    exposed_headers: tuple[str, ...] = ()  # Access-Control-Expose-Headers

    @abstractmethod
    def peek(self, request: IngestRequest) -> Peek:
        """Find the key, the event id and the category. Raise `DecodeError` when the head makes no sense."""

    @abstractmethod
    def decode(self, record: Record) -> Decoded:
        """Turn an accepted body into items. One broken item must not cost its neighbours: report it as an `Outcome`."""

    @abstractmethod
    def answer(self, verdict: Verdict) -> Answer:
        """Word the verdict as this protocol's clients expect it."""

    def encoding_of(self, query: str, headers: Mapping[str, str]) -> str:
        """How a body is compressed: gzip, deflate, br, zstd; "" = it is not. Asked before anything of it is read.

        By default what Content-Encoding says. For formats that say it elsewhere, since that header costs a browser a
        preflight. The bounds on compressed bodies hold whatever is said here; what cannot be is answered as malformed.

        Args:
            query: of the address, as it came.
            headers: lower-case names, the first of duplicates.
        """
        return headers.get("content-encoding", "")

    def inform(self, request: IngestRequest, settings: ProjectSettings | None) -> Answer:
        """Answer a route that takes no body; `settings` is None when the key is unknown."""
        raise NotImplementedError(f"{self.name} has a route without a body but no inform()")

    def key_of(self, request: IngestRequest) -> str:
        """The ingest key of a request to a route that takes no body."""
        return ""


# ───────────────────────────────────────────── processors ─────────────────────────────────────────────


class Processor(ABC):
    """Changes or drops items before they are grouped and stored. Runs in the decode worker.

    Must be deterministic: sampling is by a hash of the item's id, never by a random number.
    """

    name: str
    order: int = 100  # lower runs first: scrub 10, user_agent 50
    on_failure: Literal["skip", "dead_letter"] = "skip"

    @abstractmethod
    def process_batch(self, items: list[Item]) -> list[Item]:
        """Return the items to keep, changed in place or replaced. Those left out are counted as dropped by it.

        When it raises, the host calls it again item by item; an item that still raises is kept as it was before
        (`skip`) or its record becomes a dead letter (`dead_letter`).
        """


# ───────────────────────────────────────────── notifiers ─────────────────────────────────────────────


class Notification(Struct, frozen=True, kw_only=True):
    """One message for one channel. Text from events is plain here; `html` is already escaped."""

    id: str  # stable over retries: the idempotency key
    kind: str  # new_issue, regression, digest, test, invitation, password_reset, …
    subject: str  # one line, no CR or LF
    text: str
    html: str
    recipients: tuple[str, ...] = ()  # mail addresses; empty for channels that have none
    url: str = ""  # of the page it is about
    data: JsonObject = field(default_factory=dict)  # for machines: what a webhook sends


class Receipt(Struct, frozen=True, kw_only=True):
    """The other side took it."""

    reply: str  # what it said, at most 500 characters, no secrets
    provider_id: str = ""


class DeliveryError(Exception):
    """It was not delivered.

    Args:
        message: one sentence for a person: what failed and what to do.
        retryable: False when trying again cannot help (bad address, refused key).
        retry_after: seconds that the other side asked for.
        reply: what it said, if anything.
        ambiguous: True when it may have been delivered after all (the answer was lost).
        stage: how far it came: config, dns, connect, tls, auth, accept, answer; "" when unknown.
        about_message: True when this one message was refused and others may well pass: it then says nothing about
            the notifier's health.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        retry_after: float | None = None,
        reply: str = "",
        ambiguous: bool = False,
        stage: str = "",
        about_message: bool = False,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after
        self.reply = reply
        self.ambiguous = ambiguous
        self.stage = stage
        self.about_message = about_message


class CheckStep(Struct, frozen=True, kw_only=True):
    """One step of trying a notifier out: config, dns, connect, tls, auth, accept."""

    name: str
    ok: bool
    detail: str
    mend: str = ""  # what to do when it is not ok
    seconds: float = 0.0


class Notifier(ABC):
    """Delivers notifications. The host sets the order, retries, breaks and logs."""

    name: str

    @abstractmethod
    def configured(self) -> str:
        """ "" when it could be used, else the one sentence that says which key is missing."""

    @abstractmethod
    async def deliver(self, notification: Notification) -> Receipt:
        """Deliver once, within 30 s. Raise `DeliveryError` when that failed."""

    @abstractmethod
    async def check(self, notification: Notification | None = None) -> list[CheckStep]:
        """Try each step without sending; with a notification, send it as the last step. Never raises."""


# ───────────────────────────────────────────── rules ─────────────────────────────────────────────


class FormField(Struct, frozen=True, kw_only=True):
    """One field of a form that the dashboard draws."""

    name: str
    label: str
    type: Literal["text", "number", "checkbox", "select", "duration", "email_list"] = "text"
    default: str = ""
    help: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None


class Form(Struct, frozen=True, kw_only=True):
    """The settings of a rule, as fields."""

    fields: tuple[FormField, ...] = ()


class IssueChange(Struct, frozen=True, kw_only=True):
    """What happened to an issue: what rules look at and hooks are told."""

    change: Literal["opened", "regressed", "resolved", "seen"]
    project_id: int
    issue_id: int
    title: str
    culprit: str
    level: str
    kind: str
    event_id: str
    release: str
    environment: str
    event_count: int
    at: int  # µs
    unhandled: bool = False
    overflow: bool = False  # it is the project's overflow issue


class Rule(ABC):
    """A condition under which a channel is told. Evaluated before the metadata transaction; must be quick and pure."""

    name: str
    label: str
    help: str
    form: Form = Form()

    @abstractmethod
    def applies(self, change: IssueChange, settings: Mapping[str, str]) -> bool:
        """True when this change is what the rule waits for."""


# ───────────────────────────────────────────── event store ─────────────────────────────────────────────


class EventStoreError(Exception):
    """The store could not do it; the text says why and what to do."""


class StoreUnavailableError(EventStoreError):
    """Try again later: nothing is wrong with the data (unreachable, out of memory, disk full, read-only)."""


class StoreRefusedError(EventStoreError):
    """The data itself was refused; trying again cannot help."""


class EventNotFoundError(EventStoreError):
    """No such event in this project."""


class BadCursorError(EventStoreError):
    """A page's cursor is not one of this store's: it came from outside; ask for the first page."""


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


class ReleaseSummary(Struct, frozen=True, kw_only=True):
    """What is known of a release from what carried its name."""

    release: str
    events: int
    users: int
    sessions: int
    crashed_sessions: int
    first_seen: int
    last_seen: int


class TableStats(Struct, frozen=True, kw_only=True):
    """The size of one table."""

    table: str
    rows: int
    bytes_on_disk: int
    oldest: int  # µs of the oldest received_at; 0 when empty
    parts: int = 0


class StoreStats(Struct, frozen=True, kw_only=True):
    """What the System page shows."""

    backend: str
    version: str
    schema_version: int
    tables: tuple[TableStats, ...]
    bytes_on_disk: int
    memory_bytes: int  # tracked by the engine; 0 when unknown
    memory_limit_bytes: int
    settings: Mapping[str, str] = field(default_factory=dict[str, str])  # the caps, as read back from the engine
    notes: tuple[str, ...] = ()  # what a person should know, in sentences


class StoreSchema(Struct, frozen=True, kw_only=True):
    """What a program makes of a database when it opens it: an upgrade compares it with what is there."""

    version: int = 0  # 0: the store has no schema
    readable_from: int = 0  # the oldest schema version whose program can go on with such a database


class Dropped(Struct, frozen=True, kw_only=True):
    """What retention removed."""

    table: str
    partition: str
    rows: int
    bytes_on_disk: int


class StoreChunk(Struct, frozen=True, kw_only=True):
    """Some rows of one table, as bytes that only the kind of store that made them understands."""

    table: str
    rows: int
    body: bytes  # a few MiB at most


class StoreExport(ABC):
    """Everything that a store held at one moment. Holds resources of the store until it is closed."""

    description: JsonObject  # given back to `load`; says what the bodies are, e.g. the schema's version
    rows: Mapping[str, int]  # by table; exactly what `chunks` brings

    @abstractmethod
    def chunks(self) -> AsyncIterator[StoreChunk]:
        """All rows, once. What was written or dropped since the moment of the export changes nothing."""

    @abstractmethod
    async def close(self) -> None:
        """Give back what it holds; also when `chunks` was not read to its end."""


class EventStore(ABC):
    """Where events live. All methods are async; an implementation brings its own threads.

    Every query raises `StoreUnavailableError` when it should be tried again. Times are µs.
    """

    # How long a query may take before the store itself gives it up. The host's watchdog measures by it: a call that
    # has not come back after six times as long is reported, after thirty times as long the process is started anew.
    answer_seconds: float = 10.0

    def schema(self) -> StoreSchema:
        """What `open` brings the database to; asked without opening it. Stores without a schema need not say."""
        return StoreSchema()

    @abstractmethod
    async def open(self) -> None:
        """Connect, migrate the schema in order (safe to re-run), set the caps and read them back."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what runs and release everything."""

    @abstractmethod
    async def write(self, batch: Batch, missing: Mapping[str, frozenset[int]] | None = None) -> None:
        """Store a batch durably. With `missing`, only those ordinals of each table (after a crash).

        A table's rows of one batch and one day become visible together. Raises `StoreUnavailableError` when it should
        be tried again (some tables may have been written: ask `present`), `StoreRefusedError` when that cannot help.
        """

    @abstractmethod
    async def present(self, batch_id: int, received: tuple[int, int]) -> Mapping[str, frozenset[int]]:
        """Which ordinals each table has of a batch whose rows were received within [start, end] µs."""

    @abstractmethod
    async def seen(
        self, ids: Sequence[tuple[int, str, str]], *, since: int, ignore_batch: int
    ) -> frozenset[tuple[int, str, str]]:
        """Which of the (project_id, "event" | "measurement" | …, id) other batches stored, received after `since`."""

    @abstractmethod
    async def drop_before(self, table: str, received_before: int) -> list[Dropped]:
        """Drop whole days of a table that lie before a time."""

    @abstractmethod
    async def drop_oldest(self, table: str) -> Dropped | None:
        """Drop a table's oldest day, never today's; None when there is none."""

    @abstractmethod
    async def summarise(self, now: int) -> int:
        """Recompute and replace the summary hours that new rows made stale; how many hours were done."""

    @abstractmethod
    async def stats(self) -> StoreStats:
        """Sizes, memory and settings."""

    # backups; a store that brings neither works, and cannot be backed up

    async def export(self) -> StoreExport:
        """Take hold of everything as it is now, within seconds: nothing is written meanwhile, and much waits for it."""
        raise EventStoreError(f"{type(self).__name__} cannot be backed up: its plugin lacks `export`.")

    async def load(self, description: JsonObject, chunks: AsyncIterator[StoreChunk]) -> None:
        """Replace everything by what an `export` brought. Raises `EventStoreError` when it is not of this kind.

        Interrupted, it leaves some of it; it can be done again.
        """
        raise EventStoreError(f"{type(self).__name__} cannot be restored: its plugin lacks `load`.")

    # queries, each named for the question that it answers

    @abstractmethod
    async def group_stats(
        self,
        where: EventFilter,
        *,
        order: Literal["last_seen", "first_seen", "events", "users"] = "last_seen",
        limit: int = 1000,
    ) -> list[GroupStats]:
        """Which groups occurred, how often, for how many users."""

    @abstractmethod
    async def group_histograms(self, where: EventFilter, bucket: int) -> Mapping[int, list[Bucket]]:
        """Events per bucket (µs) for each of `where.group_hashes`: sparklines. Empty buckets are left out."""

    @abstractmethod
    async def histogram(self, where: EventFilter, bucket: int) -> list[Bucket]:
        """Events and users per bucket (µs). Empty buckets are left out."""

    @abstractmethod
    async def events(self, where: EventFilter, page: Page) -> tuple[list[EventSummary], str]:
        """Events, newest first, and the next cursor ("" at the end)."""

    @abstractmethod
    async def event(self, project_ids: Sequence[int], event_id: str) -> tuple[EventSummary, Event | None]:
        """One event with its payload, None when it was held back. Raises `EventNotFoundError`."""

    async def latest(self, where: EventFilter) -> LatestEvent | None:
        """The newest event with its payload; None when there is none.

        What an issue's page shows first: a store that can answer in one query overrides this.
        """
        found, _ = await self.events(where, Page(limit=2))
        if not found:
            return None
        summary, event = await self.event([found[0].project_id], found[0].event_id)
        return LatestEvent(summary=summary, event=event, previous=found[1].event_id if len(found) > 1 else "")

    @abstractmethod
    async def neighbours(self, where: EventFilter, event: EventSummary) -> Neighbours:
        """The events before and after one, and the ends."""

    @abstractmethod
    async def tag_distribution(self, where: EventFilter, keys: Sequence[str], top: int = 5) -> list[TagCount]:
        """The most frequent values of tags and of the fields browser, os, device, release, environment, url, level.

        Empty `keys`: all of them. For each key a row with value "" counts the events of the filter without it.
        """

    @abstractmethod
    async def values(self, where: EventFilter, name: str, prefix: str = "", limit: int = 50) -> list[TagCount]:
        """The values of a built-in field or tag, for filter menus."""

    @abstractmethod
    async def field_values(self, table: FieldTable, where: EventFilter, name: str, limit: int = 50) -> list[TagCount]:
        """The most frequent values of release, environment, browser, os, device, route, status or op in a table.

        For filter menus of what is not an event; a name that the table lacks has no values.
        """

    @abstractmethod
    async def count(self, where: EventFilter) -> tuple[int, int]:
        """(events, users) within a filter; users are approximate."""

    @abstractmethod
    async def metric_summaries(
        self,
        where: EventFilter,
        metrics: Sequence[str] = (),
        by_url: bool = False,
        limit: int = 100,
        by_route: bool = False,
    ) -> list[MetricSummary]:
        """Percentiles of measurements, per metric and, with `by_url` or `by_route`, per page or route.

        In the order of the metrics' names, and of each the worst p75 first.
        """

    @abstractmethod
    async def metric_histograms(
        self, where: EventFilter, metrics: Sequence[str], bucket: int
    ) -> Mapping[str, list[MetricBucket]]:
        """The distribution of each of the metrics per bucket (µs). Empty buckets are left out."""

    @abstractmethod
    async def metric_elements(self, where: EventFilter, metric: str, limit: int = 20) -> list[MetricElement]:
        """What a metric was measured on, where that is known: most poor samples first, then the worst p75."""

    @abstractmethod
    async def measurements(self, where: EventFilter, metric: str, page: Page) -> tuple[list[Measure], str]:
        """Single samples of a metric ("": of all), newest first."""

    @abstractmethod
    async def replays(self, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
        """Recorded sessions, newest first."""

    @abstractmethod
    async def replay(self, project_ids: Sequence[int], replay_id: str) -> ReplaySummary | None:
        """One recorded session with the keys of its segments."""

    @abstractmethod
    async def releases(self, where: EventFilter, limit: int = 100) -> list[ReleaseSummary]:
        """Releases by newest first."""

    @abstractmethod
    async def outcomes(self, where: EventFilter) -> list[tuple[str, str, str, int]]:
        """(source, reason, category, quantity) of what was not kept."""

    # what a store may bring; one that does not shows nothing of it

    async def sessions(self, where: EventFilter, page: Page) -> tuple[list[SessionSummary], str]:
        """Visits that began within the filter's time, newest first; each counts as its newest row says."""
        return [], ""

    async def session(self, project_ids: Sequence[int], session_id: str) -> SessionSummary | None:
        """One visit."""
        return None

    async def page_views(self, where: EventFilter, page: Page) -> tuple[list[PageViewSummary], str]:
        """Page views that began within the filter's time, newest first, each with what is missing of it.

        One for each page view, however many requests told of it. The filter's fields hold for any of its rows.
        """
        return [], ""

    async def page_view_count(self, where: EventFilter) -> tuple[int, int, int]:
        """(page views, those with gaps, how much is missing in all) within a filter."""
        return 0, 0, 0

    async def spans(self, where: EventFilter, page: Page) -> tuple[list[SpanSummary], str]:
        """Spans that began within the filter's time, newest first: the roots (`is_segment`), or all of `trace_id`."""
        return [], ""

    async def trace(self, project_ids: Sequence[int], trace_id: str, limit: int = 1000) -> list[SpanSummary]:
        """The spans of one trace, in the order in which they began."""
        return []


# ───────────────────────────────────────────── blob store ─────────────────────────────────────────────


class BlobInfo(Struct, frozen=True, kw_only=True):
    """A stored blob."""

    key: str
    size: int
    sha256: str  # hex


class BlobStore(ABC):
    """Bytes by key. A key is `kind/project_id/YYYY-MM-DD/name`, of [a-z0-9._-] segments, and chosen by the core."""

    @abstractmethod
    async def put(self, key: str, body: bytes) -> BlobInfo:
        """Store durably and atomically; the same key twice replaces."""

    @abstractmethod
    async def get(self, key: str, sha256: str = "") -> bytes:
        """Read; raises KeyError when absent and `EventStoreError` when the bytes do not match `sha256`."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove; absent is fine."""

    @abstractmethod
    def list(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """All blobs below a prefix; `sha256` may be "" here."""


# ───────────────────────────────────────────── extending the appliance ─────────────────────────────────────────────


class PluginPage(Struct, frozen=True, kw_only=True):
    """A page under /plugins/NAME/PATH, inside the dashboard's layout, behind its sign-in and CSRF check."""

    path: str
    title: str
    role: Literal["owner", "admin", "member", "viewer"]
    render: Callable[
        [Mapping[str, str]], Awaitable[str]
    ]  # query or form → the page's main part, HTML escaped by the plugin
    methods: tuple[str, ...] = ("GET",)


class Command(Struct, frozen=True, kw_only=True):
    """A verb `condev NAME ARG…` of a plugin."""

    name: str
    help: str
    run: Callable[[Sequence[str]], int]


class HealthResult(Struct, frozen=True, kw_only=True):
    """One finding: what is so, and what to do if it is bad."""

    ok: bool
    detail: str
    mend: str = ""


class HealthCheck(Struct, frozen=True, kw_only=True):
    """A named check, shown on the System page."""

    name: str
    check: Callable[[], Awaitable[HealthResult]]


class ServiceSpec(Struct, frozen=True, kw_only=True):
    """A Compose service and the files it needs, merged in by `condev render`."""

    name: str
    compose: JsonObject
    files: Mapping[str, str] = field(default_factory=dict[str, str])


EventStoreFactory = Callable[[], EventStore]
BlobStoreFactory = Callable[[], BlobStore]


# ───────────────────────────────────────────── the hooks ─────────────────────────────────────────────
# The host calls each implementation by itself, with that plugin's own context: one that raises harms no other.


@hookspec
def register_storage_backends(context: PluginContext) -> Mapping[str, EventStoreFactory]:
    """Name → factory of an `EventStore`; `[storage] backend` chooses one."""
    raise NotImplementedError


@hookspec
def register_blob_stores(context: PluginContext) -> Mapping[str, BlobStoreFactory]:
    """Name → factory of a `BlobStore`; `[storage] blobs` chooses one."""
    raise NotImplementedError


@hookspec
def register_notifiers(context: PluginContext) -> Sequence[Notifier]:
    """Notifiers, which `[channels]` put in order by name."""
    raise NotImplementedError


@hookspec
def register_processors(context: PluginContext) -> Sequence[Processor]:
    """Processors, run by `order` in the decode worker."""
    raise NotImplementedError


@hookspec
def register_protocols(context: PluginContext) -> Sequence[Protocol]:
    """Wire formats; two that claim one route are an error at boot."""
    raise NotImplementedError


@hookspec
def register_rules(context: PluginContext) -> Sequence[Rule]:
    """Alert conditions."""
    raise NotImplementedError


@hookspec
def register_pages(context: PluginContext) -> Sequence[PluginPage]:
    """Pages under /plugins/NAME."""
    raise NotImplementedError


@hookspec
def register_commands(context: PluginContext) -> Sequence[Command]:
    """Verbs of the `condev` command."""
    raise NotImplementedError


@hookspec
def register_health_checks(context: PluginContext) -> Sequence[HealthCheck]:
    """Checks for the System page and `condev doctor`."""
    raise NotImplementedError


@hookspec
def register_services(context: PluginContext) -> Sequence[ServiceSpec]:
    """Compose services that `condev render` adds.

    Their `mem_limit` counts in the plan (128 MiB when there is none). They are hardened as ours are where they do not
    say otherwise, and may publish no ports. Their files are written below services/NAME/, beside compose.yaml.
    """
    raise NotImplementedError


@hookspec
def on_issue_opened(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """An issue was opened. Called through the outbox: after commit, at least once."""
    raise NotImplementedError


@hookspec
def on_issue_regressed(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """A resolved issue came back. Called through the outbox: after commit, at least once."""
    raise NotImplementedError


@hookspec
def on_issue_resolved(context: PluginContext, change: IssueChange) -> Awaitable[None] | None:
    """A person resolved an issue. Called through the outbox: after commit, at least once."""
    raise NotImplementedError
