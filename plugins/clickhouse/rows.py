"""Rows as columns: what the engine takes from what the pipeline gives. Each microsecond here is paid for each event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from operator import attrgetter, itemgetter
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from appliance.model import (
    Batch,
    EventRow,
    MeasurementRow,
    OutcomeRow,
    PageViewRow,
    ReplaySegmentRow,
    SessionRow,
    SpanRow,
)

DAY: Final = 86_400_000_000  # µs
ROW_TYPES: Final[dict[str, type[Struct]]] = {
    "events": EventRow,
    "measurements": MeasurementRow,
    "page_views": PageViewRow,
    "sessions": SessionRow,
    "spans": SpanRow,
    "replay_segments": ReplaySegmentRow,
    "outcomes": OutcomeRow,
}
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    **{table: (*kind.__struct_fields__, "batch_id") for table, kind in ROW_TYPES.items()},
    "event_ids": (
        "id_hash", "project_id", "kind", "id", "timestamp", "received_at", "group_hash", "ordinal", "batch_id",
    ),
}  # fmt: skip

# How `events` is sorted. Rows that come in this order are written as they stand; of others the engine makes a sorted
# copy, payloads and all, in memory that is new each time.
_PLACE_OF_EVENT: Final = attrgetter("project_id", "group_hash", "timestamp")


class Columns(Struct):
    """A block of one table and one received day, column by column."""

    table: str
    count: int
    data: list[Sequence[object]]

    @property
    def names(self) -> Sequence[str]:
        """Of the columns."""
        return COLUMNS[self.table]

    def halves(self) -> tuple[Columns, Columns]:
        """Two smaller blocks, for an engine short of memory."""
        middle = self.count // 2
        return (
            Columns(self.table, middle, [column[:middle] for column in self.data]),
            Columns(self.table, self.count - middle, [column[middle:] for column in self.data]),
        )


def rows_of(batch: Batch, table: str) -> Sequence[Struct]:
    """The rows of a batch for one table."""
    return getattr(batch, table)


def id_hash(project_id: int, kind: str, identity: str) -> int:
    """64 bits by which ids are sorted; a hit is confirmed on the id itself.

    Keyed by nothing, but not to be steered cheaply: a sender who could place ids side by side would make lookups slow.
    """
    text = f"{project_id}/{kind}/{identity}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(text, digest_size=8).digest())


def blocks(table: str, rows: Sequence[Struct], batch_id: int) -> Iterator[Columns]:
    """Split rows by received day: an insert of several days would become visible day by day."""
    fields = COLUMNS[table]
    place = fields.index("received_at")
    if table == "events":
        rows = sorted(rows, key=_PLACE_OF_EVENT)
    columns: list[Sequence[object]] = list(zip(*map(astuple, rows), strict=True))
    columns.append((batch_id,) * len(rows))
    yield from split_by_day(table, columns, place)


def split_by_day(table: str, columns: list[Sequence[object]], place: int) -> Iterator[Columns]:
    """One block for each day of the column at `place`."""
    received: Sequence[int] = columns[place]  # pyright: ignore[reportAssignmentType] -- ours, all µs
    if min(received) // DAY == max(received) // DAY:
        yield Columns(table, len(received), columns)
        return
    by_day: dict[int, list[int]] = {}
    for index, at in enumerate(received):
        by_day.setdefault(at // DAY, []).append(index)
    for _, indexes in sorted(by_day.items()):
        yield Columns(table, len(indexes), [[column[i] for i in indexes] for column in columns])


def id_blocks(batch: Batch, wanted: Callable[[int], bool] | None = None) -> Iterator[Columns]:
    """The rows of `event_ids` that follow from a batch; `wanted` picks by ordinal."""
    kinds: tuple[tuple[str, Sequence[EventRow | MeasurementRow | PageViewRow]], ...] = (
        ("event", batch.events), ("measurement", batch.measurements), ("page_view", batch.page_views),
    )  # fmt: skip
    lines = [_id_line(kind, row) for kind, rows in kinds for row in rows if wanted is None or wanted(row.ordinal)]
    if lines:
        lines.sort(key=itemgetter(0))  # as their table is
        columns: list[Sequence[object]] = list(zip(*lines, strict=True))
        columns.append((batch.batch_id,) * len(lines))
        yield from split_by_day("event_ids", columns, COLUMNS["event_ids"].index("received_at"))


def _id_line(kind: str, row: EventRow | MeasurementRow | PageViewRow) -> tuple[object, ...]:
    identity, group_hash = row.identity, row.group_hash if isinstance(row, EventRow) else 0
    key = id_hash(row.project_id, kind, identity)
    return (key, row.project_id, kind, identity, row.timestamp, row.received_at, group_hash, row.ordinal)
