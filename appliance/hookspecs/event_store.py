"""Where events live: writing them exactly once, keeping and dropping them, and the questions about them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Literal

from msgspec import Struct, field

from appliance.hookspecs.queries import (
    Bucket,
    EventFilter,
    EventSummary,
    FieldTable,
    GroupStats,
    LatestEvent,
    Measure,
    MetricBucket,
    MetricElement,
    MetricSummary,
    Neighbours,
    Page,
    PageViewSummary,
    ReleaseSummary,
    ReplaySummary,
    SessionSummary,
    SpanSummary,
    TagCount,
)
from appliance.model import Batch, Event, JsonObject


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


EventStoreFactory = Callable[[], EventStore]
