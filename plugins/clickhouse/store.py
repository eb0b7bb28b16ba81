"""`ClickHouseStore`: the `EventStore` contract, each method handed to the file that knows how."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Final, Literal

import structlog
from msgspec.structs import replace

from appliance.hookspecs import (
    Bucket,
    Clock,
    Dropped,
    EventFilter,
    EventStore,
    EventStoreError,
    EventSummary,
    FieldTable,
    GroupStats,
    JsonObject,
    LatestEvent,
    Measure,
    MetricBucket,
    MetricElement,
    MetricSummary,
    Neighbours,
    Page,
    PageViewSummary,
    PluginContext,
    ReleaseSummary,
    ReplaySummary,
    SessionSummary,
    SpanSummary,
    StoreChunk,
    StoreExport,
    StoreSchema,
    StoreStats,
    TagCount,
)
from appliance.model import TABLES, Batch, Event

from . import (
    queries_events,
    queries_groups,
    queries_metrics,
    queries_pages,
    queries_spans,
    queries_tags,
    queries_visits,
)
from .config import ClickHouseConfig, derive_caps
from .disk_guard import DiskGuard
from .engine import Engine
from .engine_embedded import EmbeddedEngine
from .engine_server import ServerEngine
from .export import ClickHouseExport, drop_copies, load
from .known_ids import KnownIds
from .migrations import migrate, set_disk_reserve
from .retention import ALL_TABLES, Retention, stats
from .schema import READABLE_FROM, SCHEMA_VERSION
from .summaries import HOUR, ISSUES, MEASUREMENTS, Summariser, SummaryState
from .write import Writer, present, seen

EMBEDDED_ANSWER: Final = 20.0  # s
SERVER_ANSWER: Final = 60.0  # s

log = structlog.get_logger(__name__)


class ClickHouseStore(EventStore):
    """Events in ClickHouse, embedded or a server."""

    def __init__(self, engine: Engine, clock: Clock, disk_reserve: int) -> None:
        """Args: engine: not started yet. clock: for "today". disk_reserve: bytes, see the config."""
        self.engine = engine  # for tests and tools that need SQL of their own
        # The watchdog ends the process after 30 times: longer than the longest call of an insert, which is 600 s in the
        # engine and 900 s over HTTP. A server's sockets give up by themselves: only a thread that is lost gets there.
        self.answer_seconds = max(engine.query_seconds, EMBEDDED_ANSWER if engine.name == "embedded" else SERVER_ANSWER)
        self._clock = clock
        self._disk_reserve = disk_reserve
        self._issues, self._metrics = SummaryState(), SummaryState()
        self._states = {"events": self._issues, "measurements": self._metrics}
        # What another process stores on a server is not known here.
        self._known = KnownIds(engine) if isinstance(engine, EmbeddedEngine) else None
        self._writer = Writer(engine, self._known)
        self._retention = Retention(engine, self._states)
        self._summarising = asyncio.Lock()
        self._exporting = asyncio.Lock()
        self._export: ClickHouseExport | None = None
        self._dropping: asyncio.Task[None] | None = None  # of what an export that failed left
        # A server's disk is its operator's.
        self.guard = DiskGuard(engine, ALL_TABLES, disk_reserve) if isinstance(engine, EmbeddedEngine) else None

    @classmethod
    def from_context(cls, context: PluginContext) -> ClickHouseStore:
        """The store that a plugin's config asks for; nothing is opened yet."""
        config = context.config if isinstance(context.config, ClickHouseConfig) else ClickHouseConfig()
        caps = derive_caps(config, context.memory_bytes, context.cpus)
        engine: Engine
        if config.engine == "server":
            engine = ServerEngine(config, caps)
        else:
            path = context.data_root / "clickhouse"
            engine = EmbeddedEngine(path, config.database, caps, config.query_timeout_seconds)
        return cls(engine, context.clock, config.disk_reserve)

    def schema(self) -> StoreSchema:
        """The newest migration this program knows."""
        return StoreSchema(version=SCHEMA_VERSION, readable_from=READABLE_FROM)

    async def open(self) -> None:
        """Connect, migrate, set the caps and read them back."""
        await self.engine.start()
        try:
            await migrate(self.engine, self._clock.now())
            await self._drop_copies()  # of a backup that was killed
            await set_disk_reserve(self.engine, self._disk_reserve)
            if self.guard is not None:
                await self.guard.start()
        except BaseException:
            await self.engine.stop()
            raise

    async def close(self) -> None:
        """Finish what runs and release everything."""
        if self.guard is not None:
            await self.guard.stop()
        if self._known is not None:
            await self._known.close()
        task, self._dropping = self._dropping, None
        if task is not None:
            task.cancel()  # what is left is dropped when the store is opened
            await asyncio.wait([task])
        await self.engine.stop()

    async def write(self, batch: Batch, missing: Mapping[str, frozenset[int]] | None = None) -> None:
        """Store a batch durably."""
        hours = {
            "events": {row.timestamp // HOUR * HOUR for row in batch.events},
            "measurements": {row.timestamp // HOUR * HOUR for row in batch.measurements},
        }
        for table, state in self._states.items():
            state.touch(hours[table])
        try:
            await self._writer.write(batch, missing)
            if self.guard is not None and (missing is None or any(missing.values())):
                await self.guard.after_write()
        finally:
            for table, state in self._states.items():
                state.touch(hours[table])

    async def present(self, batch_id: int, received: tuple[int, int]) -> Mapping[str, frozenset[int]]:
        """Which ordinals each table has of a batch, once no lost insert of it can add to them."""
        await self.engine.settle(batch_id)
        return await present(self.engine, TABLES, batch_id, received)

    async def seen(
        self, ids: Sequence[tuple[int, str, str]], *, since: int, ignore_batch: int
    ) -> frozenset[tuple[int, str, str]]:
        """Which ids other batches stored."""
        return await seen(self.engine, ids, since, ignore_batch, self._known)

    async def drop_before(self, table: str, received_before: int) -> list[Dropped]:
        """Drop whole days that lie before a time."""
        return await self._retention.drop_before(table, received_before)

    async def drop_oldest(self, table: str) -> Dropped | None:
        """Drop a table's oldest day, never today's."""
        return await self._retention.drop_oldest(table, self._clock.now())

    async def summarise(self, now: int) -> int:
        """Make the hourly sums that new rows made stale again."""
        async with self._summarising:  # two at once would share the staging tables
            done = await Summariser(self.engine, ISSUES, self._issues).run(now)
            return done + await Summariser(self.engine, MEASUREMENTS, self._metrics).run(now)

    async def stats(self) -> StoreStats:
        """Sizes, memory and settings."""
        found = await stats(self.engine, SCHEMA_VERSION)
        return replace(found, notes=(*found.notes, *self.guard.notes)) if self.guard is not None else found

    async def export(self) -> StoreExport:
        """Everything as it is now, for a backup."""
        async with self._exporting:
            if self._export is not None and not self._export.closed:
                raise EventStoreError("A backup of the event store is being made already: wait until it is done.")
            if self._dropping is not None:
                await asyncio.shield(self._dropping)  # goes on when the caller waits no longer
            try:
                self._export = await ClickHouseExport.take(self.engine)
            except BaseException:
                # Not awaited: the pipeline stands still around this call, and dropping may take minutes.
                self._dropping = asyncio.create_task(self._drop_copies(), name="clickhouse-drop-copies")
                raise
            return self._export

    async def _drop_copies(self) -> None:
        """Drop what an export left; where that fails, all but disk space is well, and the next export does it."""
        try:
            await drop_copies(self.engine)
        except EventStoreError as error:
            log.warning("copies of a backup could not be dropped", error=str(error))

    async def load(self, description: JsonObject, chunks: AsyncIterator[StoreChunk]) -> None:
        """Replace everything by what a backup has."""
        async with self._summarising:
            self._forget()
            await load(self.engine, description, chunks)
            self._forget()

    def _forget(self) -> None:
        """What is remembered of rows that are replaced."""
        for state in self._states.values():
            state.forget()
        if self._known is not None:
            self._known.forget()

    async def group_stats(
        self,
        where: EventFilter,
        *,
        order: Literal["last_seen", "first_seen", "events", "users"] = "last_seen",
        limit: int = 1000,
    ) -> list[GroupStats]:
        """Which groups occurred."""
        return await queries_groups.group_stats(self.engine, self._issues, where, order, limit)

    async def group_histograms(self, where: EventFilter, bucket: int) -> Mapping[int, list[Bucket]]:
        """Sparklines."""
        return await queries_groups.group_histograms(self.engine, self._issues, where, bucket)

    async def histogram(self, where: EventFilter, bucket: int) -> list[Bucket]:
        """Events and users per bucket."""
        return await queries_groups.histogram(self.engine, self._issues, where, bucket)

    async def events(self, where: EventFilter, page: Page) -> tuple[list[EventSummary], str]:
        """Events, newest first."""
        return await queries_events.events(self.engine, where, page)

    async def event(self, project_ids: Sequence[int], event_id: str) -> tuple[EventSummary, Event | None]:
        """One event with its payload."""
        return await queries_events.event(self.engine, project_ids, event_id)

    async def latest(self, where: EventFilter) -> LatestEvent | None:
        """The newest event with its payload."""
        return await queries_events.latest(self.engine, where)

    async def neighbours(self, where: EventFilter, event: EventSummary) -> Neighbours:
        """The events around one."""
        return await queries_events.neighbours(self.engine, where, event)

    async def tag_distribution(self, where: EventFilter, keys: Sequence[str], top: int = 5) -> list[TagCount]:
        """The most frequent values of tags."""
        return await queries_tags.tag_distribution(self.engine, where, keys, top)

    async def values(self, where: EventFilter, name: str, prefix: str = "", limit: int = 50) -> list[TagCount]:
        """The values of a field or tag."""
        return await queries_tags.values(self.engine, where, name, prefix, limit)

    async def field_values(self, table: FieldTable, where: EventFilter, name: str, limit: int = 50) -> list[TagCount]:
        """The values of a field of what is not an event."""
        return await queries_tags.field_values(self.engine, table, where, name, limit)

    async def count(self, where: EventFilter) -> tuple[int, int]:
        """(events, users)."""
        return await queries_groups.count(self.engine, self._issues, where)

    async def metric_summaries(
        self,
        where: EventFilter,
        metrics: Sequence[str] = (),
        by_url: bool = False,
        limit: int = 100,
        by_route: bool = False,
    ) -> list[MetricSummary]:
        """Percentiles of measurements."""
        by = [name for name, wanted in (("url", by_url), ("route", by_route)) if wanted]
        return await queries_metrics.metric_summaries(self.engine, self._metrics, where, metrics, by, limit)

    async def metric_histograms(
        self, where: EventFilter, metrics: Sequence[str], bucket: int
    ) -> Mapping[str, list[MetricBucket]]:
        """Percentiles of measurements over time."""
        return await queries_metrics.metric_histograms(self.engine, self._metrics, where, metrics, bucket)

    async def metric_elements(self, where: EventFilter, metric: str, limit: int = 20) -> list[MetricElement]:
        """What a metric was measured on."""
        return await queries_metrics.metric_elements(self.engine, where, metric, limit)

    async def measurements(self, where: EventFilter, metric: str, page: Page) -> tuple[list[Measure], str]:
        """Single samples."""
        return await queries_metrics.measurements(self.engine, where, metric, page)

    async def replays(self, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
        """Recorded sessions."""
        return await queries_visits.replays(self.engine, where, page)

    async def replay(self, project_ids: Sequence[int], replay_id: str) -> ReplaySummary | None:
        """One recorded session."""
        return await queries_visits.replay(self.engine, project_ids, replay_id)

    async def releases(self, where: EventFilter, limit: int = 100) -> list[ReleaseSummary]:
        """Releases."""
        return await queries_visits.releases(self.engine, where, limit)

    async def outcomes(self, where: EventFilter) -> list[tuple[str, str, str, int]]:
        """What was not kept."""
        return await queries_visits.outcomes(self.engine, where)

    async def sessions(self, where: EventFilter, page: Page) -> tuple[list[SessionSummary], str]:
        """Visits."""
        return await queries_pages.sessions(self.engine, where, page)

    async def session(self, project_ids: Sequence[int], session_id: str) -> SessionSummary | None:
        """One visit."""
        return await queries_pages.session(self.engine, project_ids, session_id)

    async def page_views(self, where: EventFilter, page: Page) -> tuple[list[PageViewSummary], str]:
        """Page views with what is missing of them."""
        return await queries_pages.page_views(self.engine, where, page)

    async def page_view_count(self, where: EventFilter) -> tuple[int, int, int]:
        """(page views, those with gaps, missing in all)."""
        return await queries_pages.page_view_count(self.engine, where)

    async def spans(self, where: EventFilter, page: Page) -> tuple[list[SpanSummary], str]:
        """Root spans, or a trace's."""
        return await queries_spans.spans(self.engine, where, page)

    async def trace(self, project_ids: Sequence[int], trace_id: str, limit: int = 1000) -> list[SpanSummary]:
        """The spans of one trace."""
        return await queries_spans.trace(self.engine, project_ids, trace_id, limit)
