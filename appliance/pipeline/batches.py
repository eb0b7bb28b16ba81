"""Work on a decoded batch before it is stored: putting chunks together, leaving out rows, telling duplicates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TypeAlias

from msgspec import Struct, field

from appliance.issues.grouping.result import Grouping
from appliance.model import (
    IDENTIFIED,
    ORDINALS_PER_RECORD,
    TABLES,
    Batch,
    EventRow,
    MeasurementRow,
    OutcomeRow,
    PageViewRow,
)
from appliance.pipeline.decode import DAY, drop_of
from appliance.pipeline.intents import Intent
from appliance.pipeline.rows import Blob, Row
from appliance.pipeline.wire import Chunk, DeadRecord, Drop, ProcessorFailure

Identity: TypeAlias = tuple[int, str, str]  # project, kind, id: what `EventStore.seen` is asked
Ordinals: TypeAlias = Mapping[str, frozenset[int]]  # by table

# What is counted when a row of a deleted project is left out.
_CATEGORIES: Final[Mapping[str, str]] = {
    "events": "error",
    "measurements": "measurement",
    "page_views": "session",
    "sessions": "session",
    "spans": "transaction",
    "replay_segments": "replay",
}


class Retry(Struct, frozen=True, kw_only=True):
    """A dead letter that somebody wants tried again."""

    id: int
    record_id: str


class Work(Struct, kw_only=True):
    """A decoded range on its way to the stores."""

    intent: Intent
    batch: Batch
    recovered: bool  # effects of an earlier try may be in the store
    groupings: dict[int, Grouping] = field(default_factory=dict)
    blobs: list[Blob] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    failures: list[ProcessorFailure] = field(default_factory=list)
    records: int = 0
    bytes: int = 0
    received: tuple[int, int] = (0, 0)
    duplicates: int = 0
    retry: Retry | None = None  # when this is the retry of a dead letter


def put_together(
    intent: Intent, chunks: Iterable[Chunk], *, batch_id: int, recovered: bool, retry: Retry | None = None
) -> Work:
    """One batch of a job's chunks."""
    work = Work(intent=intent, batch=Batch(batch_id=batch_id), recovered=recovered, retry=retry)
    times: list[int] = []
    for chunk in chunks:
        for table in TABLES:
            rows = rows_of(chunk.batch, table)
            if rows:
                rows_of(work.batch, table).extend(rows)
        for group_hash, grouping in chunk.groupings.items():
            work.groupings.setdefault(group_hash, grouping)
        work.blobs += chunk.blobs
        work.dead += chunk.dead
        work.drops += chunk.drops
        work.failures += chunk.failures
        work.records += chunk.records
        work.bytes += chunk.bytes
        if chunk.received_max:
            times += (chunk.received_min, chunk.received_max)
    if times:
        work.received = (min(times), max(times))
    return work


def rows_of(batch: Batch, table: str) -> list[Row]:
    """The rows of one table, as the list that the batch holds."""
    return getattr(batch, table)


def keep_rows(batch: Batch, keep: Callable[[str, Row], bool]) -> list[tuple[str, Row]]:
    """Leave out of a batch what `keep` does not want; returns it."""
    left_out: list[tuple[str, Row]] = []
    for table in TABLES:
        rows = rows_of(batch, table)
        kept: list[Row] = []
        for row in rows:
            if keep(table, row):
                kept.append(row)
            else:
                left_out.append((table, row))
        if len(kept) != len(rows):
            rows[:] = kept
    return left_out


def project_ids(work: Work) -> frozenset[int]:
    """Whose rows these are."""
    return frozenset(row.project_id for table in TABLES for row in rows_of(work.batch, table))


def drop_projects(work: Work, gone: frozenset[int]) -> None:
    """Leave out the rows of deleted projects, and count them."""
    left_out = keep_rows(work.batch, lambda _, row: row.project_id not in gone)
    kept = {row.blob_key for row in work.batch.replay_segments}
    work.blobs = [blob for blob in work.blobs if blob.key in kept]
    for table, row in left_out:
        category = _CATEGORIES.get(table)
        if category is not None:
            work.drops.append(Drop(row.received_at // DAY, row.project_id, "pipeline", "project_deleted", category, 1))


def identities(batch: Batch) -> list[Identity]:
    """What duplicates are told by, of every row that has it."""
    return [
        identity
        for table in IDENTIFIED
        for row in rows_of(batch, table)
        if (identity := _identity(table, row)) is not None
    ]


def _identity(table: str, row: Row) -> Identity | None:
    if isinstance(row, EventRow | MeasurementRow | PageViewRow):
        return (row.project_id, IDENTIFIED[table], row.identity)
    return None


def drop_duplicates(work: Work, seen: frozenset[Identity]) -> None:
    """Keep the first row of each identity in the batch, and none that other batches have."""
    taken = set(seen)

    def is_new(table: str, row: Row) -> bool:
        identity = _identity(table, row)
        if identity is None:
            return True
        if identity in taken:
            return False
        taken.add(identity)
        return True

    left_out = keep_rows(work.batch, is_new)
    work.duplicates += len(left_out)
    _forget_outcomes(work, {row.ordinal // ORDINALS_PER_RECORD for table, row in left_out if table == "page_views"})


def _forget_outcomes(work: Work, records: set[int]) -> None:
    """Outcomes have no id of their own: what a request told that was applied before is not counted again."""
    if not records:
        return
    again = keep_rows(
        work.batch, lambda table, row: table != "outcomes" or row.ordinal // ORDINALS_PER_RECORD not in records
    )
    for _, row in again:
        if isinstance(row, OutcomeRow):
            counted = drop_of(row)
            if counted in work.drops:  # equal ones stand for each other
                work.drops.remove(counted)


def ordinals(batch: Batch) -> dict[str, frozenset[int]]:
    """All ordinals, by table."""
    return {table: frozenset(row.ordinal for row in rows_of(batch, table)) for table in TABLES}


def missing_of(batch: Batch, present: Ordinals) -> dict[str, frozenset[int]]:
    """The ordinals that the store does not have yet."""
    return {table: every - present.get(table, frozenset()) for table, every in ordinals(batch).items()}


def record_indexes(batch: Batch) -> list[int]:
    """Which records have rows, ascending."""
    return sorted({row.ordinal // ORDINALS_PER_RECORD for table in TABLES for row in rows_of(batch, table)})


def part_of(batch: Batch, records: Iterable[int]) -> Batch:
    """The rows of some records, under the same batch id and ordinals."""
    wanted = frozenset(records)
    part = Batch(batch_id=batch.batch_id)
    for table in TABLES:
        rows = rows_of(batch, table)
        rows_of(part, table).extend(row for row in rows if row.ordinal // ORDINALS_PER_RECORD in wanted)
    return part
