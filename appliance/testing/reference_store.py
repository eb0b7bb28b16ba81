"""An `EventStore` in dictionaries: what the contract means, in the fewest words. For tests, never for an appliance.

It passes the suite in `appliance.testing.event_store`, opens at once and forgets everything when it is dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from math import isfinite
from typing import Final, Literal, TypeVar

import msgspec

from appliance.hookspecs import (
    Bucket,
    Clock,
    Dropped,
    EventFilter,
    EventNotFoundError,
    EventStore,
    EventStoreError,
    EventSummary,
    FieldTable,
    GroupStats,
    Measure,
    MetricBucket,
    MetricElement,
    MetricSummary,
    Neighbours,
    Page,
    ReleaseSummary,
    ReplaySummary,
    StoreChunk,
    StoreExport,
    StoreStats,
    TableStats,
    TagCount,
)
from appliance.model import (
    IDENTIFIED,
    TABLES,
    Batch,
    Event,
    EventRow,
    JsonObject,
    MeasurementRow,
    OutcomeRow,
    PageViewRow,
    ReplaySegmentRow,
    SessionRow,
    SpanRow,
)
from appliance.testing.clock import FakeClock
from appliance.testing.reference_answers import (
    FIELD_NAMES,
    FOREVER,
    Row,
    buckets_of,
    fits,
    grouped,
    paged,
    replay_of,
    summary_of,
    time_of,
    users_of,
)
from appliance.testing.reference_metrics import elements_of, histograms_of, measure_of, summaries_of
from appliance.testing.reference_visits import VisitAnswers, releases_of

R = TypeVar("R", EventRow, MeasurementRow, SessionRow, ReplaySegmentRow, OutcomeRow)

DAY: Final = 86_400_000_000
BUILT_IN: Final = ("browser", "os", "device", "release", "environment", "url", "level")
MENU_FIELDS: Final = (*BUILT_IN, "kind", "user_id")
ROW_TYPES: Final[Mapping[str, type[Row]]] = {
    "events": EventRow, "measurements": MeasurementRow, "page_views": PageViewRow, "sessions": SessionRow,
    "spans": SpanRow, "replay_segments": ReplaySegmentRow, "outcomes": OutcomeRow,
}  # fmt: skip


DESCRIPTION: Final[JsonObject] = {"format": "memory"}  # of what `export` brings


class MemoryExport(StoreExport):
    """Copies of the dictionaries."""

    def __init__(self, tables: Mapping[str, Mapping[tuple[int, int], Row]]) -> None:
        """Args: tables: not changed any more."""
        self.description = dict(DESCRIPTION)
        self._tables = tables
        self.rows = {table: len(rows) for table, rows in tables.items()}

    async def chunks(self) -> AsyncIterator[StoreChunk]:
        for table, rows in self._tables.items():
            # MessagePack has no numbers of 128 bits.
            body = msgspec.msgpack.encode([((str(batch), ordinal), row) for (batch, ordinal), row in rows.items()])
            if rows:
                yield StoreChunk(table=table, rows=len(rows), body=body)

    async def close(self) -> None:
        """Nothing to give back."""


class MemoryStore(VisitAnswers, EventStore):
    """Everything in memory.

    `fail_before` lets a test break a write: the error is raised when the turn of that table comes, after the tables
    before it were written, as a real store may.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Args: clock: for "today"; a `FakeClock` by default."""
        self._clock = clock or FakeClock()
        self.tables: dict[str, dict[tuple[int, int], Row]] = {name: {} for name in TABLES}
        self.fail_before: dict[str, EventStoreError] = {}

    async def open(self) -> None:
        """Nothing to do."""

    async def close(self) -> None:
        """Nothing to do."""

    # ── backups ──

    async def export(self) -> StoreExport:
        return MemoryExport({table: dict(rows) for table, rows in self.tables.items()})

    async def load(self, description: JsonObject, chunks: AsyncIterator[StoreChunk]) -> None:
        if description != DESCRIPTION:
            raise EventStoreError(f"The backup's events are not of this store but {description}.")
        for rows in self.tables.values():
            rows.clear()
        async for chunk in chunks:
            kind = ROW_TYPES[chunk.table]
            for (batch, ordinal), row in msgspec.msgpack.decode(chunk.body, type=list[tuple[tuple[str, int], kind]]):
                self.tables[chunk.table][(int(batch), ordinal)] = row

    # ── writing ──

    async def write(self, batch: Batch, missing: Mapping[str, frozenset[int]] | None = None) -> None:
        for table in TABLES:
            rows: list[Row] = getattr(batch, table)
            if rows and table in self.fail_before:
                raise self.fail_before[table]
            for row in rows:
                if missing is None or row.ordinal in missing.get(table, ()):
                    self.tables[table][(batch.batch_id, row.ordinal)] = row

    async def present(self, batch_id: int, received: tuple[int, int]) -> Mapping[str, frozenset[int]]:
        first, last = received
        return {
            table: frozenset(
                ordinal
                for (batch, ordinal), row in rows.items()
                if batch == batch_id and first <= row.received_at <= last
            )
            for table, rows in self.tables.items()
        }

    async def seen(
        self, ids: Sequence[tuple[int, str, str]], *, since: int, ignore_batch: int
    ) -> frozenset[tuple[int, str, str]]:
        stored = {
            (row.project_id, kind, row.identity)
            for table, kind in IDENTIFIED.items()
            for (batch, _), row in self.tables[table].items()
            if batch != ignore_batch
            and row.received_at >= since
            and isinstance(row, EventRow | MeasurementRow | PageViewRow)
        }
        return frozenset(ids) & stored

    # ── keeping ──

    async def drop_before(self, table: str, received_before: int) -> list[Dropped]:
        days = self._days(table)
        return [self._drop(table, day) for day in sorted(days) if (day + 1) * DAY <= received_before]

    async def drop_oldest(self, table: str) -> Dropped | None:
        past = [day for day in sorted(self._days(table)) if day < self._clock.now() // DAY]
        return self._drop(table, past[0]) if past else None

    def _days(self, table: str) -> set[int]:
        if table not in self.tables:
            raise ValueError(f"no table {table!r}: it must be one of {', '.join(TABLES)}")
        return {row.received_at // DAY for row in self.tables[table].values()}

    def _drop(self, table: str, day: int) -> Dropped:
        rows = self.tables[table]
        gone = [key for key, row in rows.items() if row.received_at // DAY == day]
        for key in gone:
            del rows[key]
        return Dropped(table=table, partition=str(day), rows=len(gone), bytes_on_disk=0)

    async def summarise(self, now: int) -> int:
        return 0

    async def stats(self) -> StoreStats:
        tables = tuple(
            TableStats(
                table=name, rows=len(rows), bytes_on_disk=0,
                oldest=min((row.received_at for row in rows.values()), default=0),
            )
            for name, rows in self.tables.items()
        )  # fmt: skip
        return StoreStats(
            backend="memory", version="1", schema_version=1, tables=tables, bytes_on_disk=0, memory_bytes=0,
            memory_limit_bytes=0,
        )  # fmt: skip

    # ── counting ──

    async def group_stats(
        self,
        where: EventFilter,
        *,
        order: Literal["last_seen", "first_seen", "events", "users"] = "last_seen",
        limit: int = 1000,
    ) -> list[GroupStats]:
        groups = grouped((row for row in self._events(where) if row.group_hash), lambda row: row.group_hash)
        found = [
            GroupStats(
                group_hash=group, events=len(rows), users=users_of(rows), first_seen=min(row.timestamp for row in rows),
                last_seen=max(row.timestamp for row in rows),
            )
            for group, rows in groups.items()
        ]  # fmt: skip
        return sorted(found, key=lambda one: (-getattr(one, order), one.group_hash))[:limit]

    async def group_histograms(self, where: EventFilter, bucket: int) -> Mapping[int, list[Bucket]]:
        groups = grouped(self._events(where), lambda row: row.group_hash)
        return {
            group: [Bucket(start=one.start, events=one.events) for one in buckets_of(groups.get(group, []), bucket)]
            for group in where.group_hashes
        }

    async def histogram(self, where: EventFilter, bucket: int) -> list[Bucket]:
        return buckets_of(self._events(where), bucket)

    async def count(self, where: EventFilter) -> tuple[int, int]:
        rows = self._events(where)
        return len(rows), users_of(rows)

    # ── single events ──

    async def events(self, where: EventFilter, page: Page) -> tuple[list[EventSummary], str]:
        rows = self._events(where)
        found, cursor = paged(rows, page, lambda row: (row.timestamp, row.project_id, row.event_id))
        return [summary_of(row) for row in found], cursor

    async def event(self, project_ids: Sequence[int], event_id: str) -> tuple[EventSummary, Event | None]:
        for row in self._rows("events", EventRow):
            if row.project_id in project_ids and row.event_id == event_id:
                return summary_of(row), msgspec.json.decode(row.payload, type=Event) if row.payload else None
        raise EventNotFoundError(f"There is no event {event_id} here, or retention has dropped it.")

    async def neighbours(self, where: EventFilter, event: EventSummary) -> Neighbours:
        keys = sorted((row.timestamp, row.project_id, row.event_id) for row in self._events(where))
        here = (event.timestamp, event.project_id, event.event_id)
        older = [key[2] for key in keys if key < here]
        newer = [key[2] for key in keys if key > here]
        return Neighbours(
            previous=older[-1] if older else "", next=newer[0] if newer else "",
            oldest=keys[0][2] if keys else "", newest=keys[-1][2] if keys else "",
        )  # fmt: skip

    # ── values ──

    async def tag_distribution(self, where: EventFilter, keys: Sequence[str], top: int = 5) -> list[TagCount]:
        rows = self._events(where)
        result: list[TagCount] = []
        for key in keys or [
            *BUILT_IN,
            *sorted({key for row in rows for key, value in row.tags.items() if value} - {"", *BUILT_IN}),
        ]:
            values = Counter(getattr(row, key) if key in BUILT_IN else row.tags.get(key, "") for row in rows)
            without = values.pop("", 0)
            ranked = sorted(values.items(), key=lambda pair: (-pair[1], pair[0]))[:top]
            result += [TagCount(key=key, value=value, events=events) for value, events in ranked]
            if without:
                result.append(TagCount(key=key, value="", events=without))
        return result

    async def values(self, where: EventFilter, name: str, prefix: str = "", limit: int = 50) -> list[TagCount]:
        groups = grouped(
            self._events(where), lambda row: getattr(row, name) if name in MENU_FIELDS else row.tags.get(name, "")
        )
        found = [
            TagCount(key=name, value=value, events=len(rows), last_seen=max(row.timestamp for row in rows))
            for value, rows in groups.items()
            if value and value.lower().startswith(prefix.lower())
        ]
        return sorted(found, key=lambda one: (-one.events, one.value))[:limit]

    async def field_values(self, table: FieldTable, where: EventFilter, name: str, limit: int = 50) -> list[TagCount]:
        rows = [
            row
            for row in self.tables[table].values()
            if row.project_id in where.project_ids
            and where.start <= time_of(row) < (where.end or FOREVER)
            and fits(row, where)
        ]
        groups = grouped(rows, lambda row: str(getattr(row, name, "")) if name in FIELD_NAMES else "")
        found = [
            TagCount(key=name, value=value, events=len(some), last_seen=max(map(time_of, some)))
            for value, some in groups.items()
            if value
        ]
        return sorted(found, key=lambda one: (-one.events, one.value))[:limit]

    # ── measurements ──

    async def metric_summaries(
        self,
        where: EventFilter,
        metrics: Sequence[str] = (),
        by_url: bool = False,
        limit: int = 100,
        by_route: bool = False,
    ) -> list[MetricSummary]:
        return summaries_of(self._measured(where, metrics), by_url, by_route)[:limit]

    async def metric_histograms(
        self, where: EventFilter, metrics: Sequence[str], bucket: int
    ) -> Mapping[str, list[MetricBucket]]:
        return histograms_of(self._measured(where, metrics), metrics, bucket)

    async def metric_elements(self, where: EventFilter, metric: str, limit: int = 20) -> list[MetricElement]:
        return elements_of(self._measured(where, (metric,)))[:limit]

    async def measurements(self, where: EventFilter, metric: str, page: Page) -> tuple[list[Measure], str]:
        rows = [row for row in self._measurements(where) if metric in ("", row.metric)]
        found, cursor = paged(rows, page, lambda row: (row.timestamp, row.project_id, row.measurement_id))
        return [measure_of(row) for row in found], cursor

    def _measurements(self, where: EventFilter) -> list[MeasurementRow]:
        newest: dict[tuple[int, str], int] = {}
        for row in self._rows("measurements", MeasurementRow):
            key = (row.project_id, row.measurement_id)
            newest[key] = max(newest.get(key, 0), row.revision)
        rows = self._select("measurements", MeasurementRow, where)
        return [row for row in rows if row.revision == newest[row.project_id, row.measurement_id]]

    def _measured(self, where: EventFilter, metrics: Sequence[str]) -> list[MeasurementRow]:
        rows = self._measurements(where)
        return [row for row in rows if isfinite(row.value) and (row.metric in metrics or not metrics)]

    # ── visits ──

    async def replays(self, where: EventFilter, page: Page) -> tuple[list[ReplaySummary], str]:
        untimed = msgspec.structs.replace(where, start=0, end=0, urls=(), trace_id="", session_id="")
        segments = self._select("replay_segments", ReplaySegmentRow, untimed)
        groups = grouped(segments, lambda row: (row.project_id, row.replay_id))
        found = [
            replay_of(rows)
            for rows in groups.values()
            if (not where.urls or any(url in row.urls for row in rows for url in where.urls))
            and (not where.trace_id or any(where.trace_id in row.trace_ids for row in rows))
            and (not where.session_id or any(where.session_id == row.session_id for row in rows))
        ]
        found = [one for one in found if one.ended >= where.start and one.started < (where.end or FOREVER)]
        return paged(found, page, lambda one: (one.started, one.project_id, one.replay_id))

    async def replay(self, project_ids: Sequence[int], replay_id: str) -> ReplaySummary | None:
        where = EventFilter(project_ids=tuple(project_ids), replay_id=replay_id)
        rows = self._select("replay_segments", ReplaySegmentRow, where) if replay_id else []
        groups = grouped(rows, lambda row: row.project_id)
        return replay_of(groups[min(groups)]) if groups else None

    async def releases(self, where: EventFilter, limit: int = 100) -> list[ReleaseSummary]:
        return releases_of(self._events(where), self._select("sessions", SessionRow, where))[:limit]

    async def outcomes(self, where: EventFilter) -> list[tuple[str, str, str, int]]:
        sums: Counter[tuple[str, str, str]] = Counter()
        for row in self._select("outcomes", OutcomeRow, where):
            sums[(row.source, row.reason, row.category)] += row.quantity
        return [(*key, number) for key, number in sorted(sums.items(), key=lambda pair: (-pair[1], pair[0]))]

    # ── selecting ──

    def _rows(self, table: str, kind: type[R]) -> Iterable[R]:
        return (row for row in self.tables[table].values() if isinstance(row, kind))

    def _events(self, where: EventFilter) -> list[EventRow]:
        return self._select("events", EventRow, where)

    def _select(self, table: str, kind: type[R], where: EventFilter) -> list[R]:
        return [
            row
            for row in self._rows(table, kind)
            if row.project_id in where.project_ids
            and where.start <= row.timestamp < (where.end or FOREVER)
            and fits(row, where)
        ]
