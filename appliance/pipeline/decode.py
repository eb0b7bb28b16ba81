"""Spooled records to rows: what the decode worker does with each job. Pure but for reading the spool.

The rows are a function of the spooled bytes alone: an item's ordinal is its record's index in the range × 65,536 + its
index in what the protocol decoded, whatever else is skipped, dropped or dead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from appliance.decoding import names_nul
from appliance.hookspecs import DecodeError, Processor, Protocol
from appliance.ingest.decompress import BadEncodingError, BodyTooLargeError, decompress
from appliance.issues.grouping import group
from appliance.model import (
    MICROSECONDS,
    ORDINALS_PER_RECORD,
    Batch,
    Category,
    Event,
    EventRow,
    Item,
    Outcome,
    OutcomeRow,
    Record,
    ReplaySegment,
)
from appliance.pipeline.processing import Placed, ProcessorFailedError, run_processors
from appliance.pipeline.rows import (
    Place,
    UnstorableError,
    add_row,
    category_of,
    event_row,
    made_encodable,
    other_row,
    replay_row,
    time_of,
)
from appliance.pipeline.wire import Chunk, DeadRecord, Done, Drop, Job, Marker, encode
from appliance.spool.framing import SpoolRange
from appliance.spool.reader import read_records
from appliance.spool.record import SpooledDrops, SpooledRecord, SpooledRecordError, decode_record

# Records that go through all steps together. So few that their objects stay in the processor's cache from decoding to
# encoding: measured on 10 KB events, 64 at a time cost 1.35 times as much CPU, and one at a time nothing less.
CHUNK_RECORDS: Final = 4
CHUNK_BYTES: Final = 2 * 1024 * 1024  # of spooled bytes, for the same reason
MAX_DETAIL: Final = 1_000
MAX_QUANTITY: Final = 1_000_000_000  # of one client report: sums of what strangers claim must stay within 64 bits
DAY: Final = 86_400 * MICROSECONDS
_LAST_ORDINAL: Final = ORDINALS_PER_RECORD - 1  # of a record: kept free for "too many items"


class PluginSet(Struct, frozen=True):
    """The plugins that a decode worker needs."""

    protocols: Sequence[Protocol]
    processors: Sequence[Processor]


class Raw(Struct, frozen=True):
    """A record as it lies in the spool."""

    index: int
    record_id: str
    payload: bytes


class _Opened(Struct):
    """A record that could be read."""

    raw: Raw
    spooled: SpooledRecord
    placed: list[Placed]


def record_id_of(epoch: int, segment: int, offset: int) -> str:
    """What names a record for ever."""
    return f"{epoch:016x}-{segment:08x}-{offset:08x}"


class Decoder:
    """Turns jobs into chunks."""

    def __init__(self, plugins: PluginSet, max_body: int, marker: Marker) -> None:
        """Args: max_body: bytes that one body may have decompressed; ingest refused larger ones."""
        self._protocols = {protocol.name: protocol for protocol in plugins.protocols}
        self._processors = plugins.processors
        self._max_body = max_body
        self._marker = marker

    def run(self, job: Job, emit: Callable[[bytes], None]) -> Done:
        """Decode a job's records.

        Args:
            job: what to decode.
            emit: takes each chunk's frame.

        Raises:
            FileNotFoundError: the segment or the dead letter is gone.
        """
        waiting: list[Raw] = []
        waiting_bytes = written = count = 0
        per_chunk = 1 if job.careful else CHUNK_RECORDS
        for index, (offset, raw) in enumerate(_records(job)):
            if job.max_output and written >= job.max_output and not waiting:
                return Done(end=offset, records=count)
            count += 1
            if offset in job.skip or not job.first <= index < job.last:
                continue
            waiting.append(raw)
            waiting_bytes += len(raw.payload)
            if len(waiting) >= per_chunk or waiting_bytes >= CHUNK_BYTES:
                written += self._emit(waiting, emit)
                waiting, waiting_bytes = [], 0
        if waiting:
            self._emit(waiting, emit)
        return Done(end=job.end, records=count)

    def _emit(self, raws: list[Raw], emit: Callable[[bytes], None]) -> int:
        written = 0
        self._marker.set(raws[0].index)
        try:
            frames = [encode(chunk) for chunk in self._chunks(raws, sanitise=False)]
        except (UnicodeEncodeError, OverflowError):  # a text or number that no column can hold
            frames = [encode(chunk) for chunk in self._chunks(raws, sanitise=True)]
        self._marker.clear()
        for frame in frames:
            emit(frame)
            written += len(frame)
        return written

    def _chunks(self, raws: list[Raw], *, sanitise: bool) -> Iterator[Chunk]:
        """One chunk; one for each record when a processor failed, so that the failure stays with its record."""
        try:
            yield self._chunk(raws, careful=False, sanitise=sanitise)
        except ProcessorFailedError:
            for raw in raws:
                try:
                    yield self._chunk([raw], careful=False, sanitise=sanitise)
                except ProcessorFailedError:
                    yield self._chunk([raw], careful=True, sanitise=sanitise)

    def _chunk(self, raws: list[Raw], *, careful: bool, sanitise: bool) -> Chunk:
        chunk = Chunk(batch=Batch(batch_id=0), groupings={})
        opened = [record for raw in raws if (record := self._open(raw, chunk)) is not None]
        records = {record.raw.index: record for record in opened}
        processed = run_processors(
            self._processors, [placed for record in opened for placed in record.placed], careful=careful
        )
        chunk.failures += processed.failures.values()
        for ordinal, detail in processed.dead.items():
            dead = records.pop(ordinal // ORDINALS_PER_RECORD, None)
            if dead is not None:
                chunk.dead.append(_dead(dead.raw, dead.spooled, "processor", detail))
        for placed, name in processed.dropped:
            processed.kept.append(Placed(placed.ordinal, _outcome(placed.item, f"processor:{name}")))
        for placed in processed.kept:
            record = records.get(placed.ordinal // ORDINALS_PER_RECORD)
            if record is not None:
                item = made_encodable(placed.item) if sanitise else placed.item
                place = Place(placed.ordinal, record.spooled.project_id, record.spooled.received_at)
                _add_item(chunk, place, item)
        times = [record.spooled.received_at for record in records.values()]
        if times:
            chunk.received_min, chunk.received_max = min(times), max(times)
        return chunk

    def _open(self, raw: Raw, chunk: Chunk) -> _Opened | None:
        """Read one record; what is no request, or cannot be read, goes to the chunk."""
        try:
            spooled = decode_record(raw.payload)
        except SpooledRecordError as error:
            unknown = SpooledRecord(protocol="", route="", project_id=0, received_at=0)
            chunk.dead.append(_dead(raw, unknown, "undecodable", str(error)))
            return None
        if isinstance(spooled, SpooledDrops):
            day = spooled.counted_at // DAY
            chunk.drops += [
                Drop(day, drop.project_id, "ingest", drop.reason, drop.category, drop.quantity)
                for drop in spooled.drops
            ]
            return None
        self._marker.set(raw.index)
        chunk.records += 1
        chunk.bytes += len(raw.payload)
        try:
            items = self._items(raw, spooled)
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything; the reason stays with the dead letter
            chunk.dead.append(_dead(raw, spooled, "undecodable", _words(error)))
            return None
        base = raw.index * ORDINALS_PER_RECORD
        placed = [Placed(base + place, item) for place, item in enumerate(items[:_LAST_ORDINAL])]
        if len(items) > _LAST_ORDINAL:
            reason = Outcome(
                reason="too_many_items",
                category=category_of(items[-1]),
                timestamp=spooled.received_at,
                quantity=len(items) - _LAST_ORDINAL,
                source="server",
            )
            placed.append(Placed(base + _LAST_ORDINAL, reason))
        return _Opened(raw, spooled, placed)

    def _items(self, raw: Raw, spooled: SpooledRecord) -> list[Item]:
        protocol = self._protocols.get(spooled.protocol)
        if protocol is None:
            known = ", ".join(sorted(self._protocols)) or "none"
            raise DecodeError(f"no plugin speaks the protocol {spooled.protocol!r}; installed are {known}")
        body = decompress(spooled.body, spooled.headers.get("content-encoding", ""), self._max_body)
        record = Record(
            protocol=spooled.protocol,
            route=spooled.route,
            project_id=spooled.project_id,
            received_at=spooled.received_at,
            body=body,
            query=spooled.query,
            headers=spooled.headers,
            address=spooled.address,
            record_id=raw.record_id,
            refused=[Category(name) for name in spooled.refused],
        )
        return protocol.decode(record).items


def _records(job: Job) -> Iterator[tuple[int, Raw]]:
    if job.record_id:
        yield 0, Raw(0, job.record_id, Path(job.directory).read_bytes())
        return
    spool_range = SpoolRange(job.segment, job.start, job.end, 0)
    for index, (offset, payload) in enumerate(read_records(Path(job.directory), spool_range)):
        yield offset, Raw(index, record_id_of(job.epoch, job.segment, offset), payload)


def _add_item(chunk: Chunk, place: Place, item: Item) -> None:
    if isinstance(item, Event):
        row = _event(chunk, place, item)
        if names_nul(row.payload):  # Postgres takes no NUL in a text
            row = _event(chunk, place, made_encodable(item))
        chunk.batch.events.append(row)
        return
    if isinstance(item, ReplaySegment):
        row, blob = replay_row(item, place)
        chunk.batch.replay_segments.append(row)
        chunk.blobs.append(blob)
        return
    try:
        row = other_row(item, place)
    except UnstorableError as error:
        row = other_row(_outcome(item, str(error)), place)
    add_row(chunk.batch, row)
    if isinstance(row, OutcomeRow):
        chunk.drops.append(drop_of(row))


def drop_of(row: OutcomeRow) -> Drop:
    """The line of the totals that an outcome is counted in."""
    source = "client" if row.source == "client" else "pipeline"
    quantity = min(max(row.quantity, 0), MAX_QUANTITY)
    return Drop(row.received_at // DAY, row.project_id, source, row.reason, row.category, quantity)


def _event(chunk: Chunk, place: Place, event: Event) -> EventRow:
    grouping = group(event)
    row = event_row(event, place, grouping)
    if row.group_hash:
        chunk.groupings.setdefault(row.group_hash, grouping)
    return row


def _outcome(item: Item, reason: str) -> Outcome:
    quantity = item.quantity if isinstance(item, Outcome) else 1
    return Outcome(
        reason=reason, category=category_of(item), timestamp=time_of(item), quantity=quantity, source="server"
    )


def _dead(raw: Raw, spooled: SpooledRecord, reason: str, detail: str) -> DeadRecord:
    return DeadRecord(
        index=raw.index,
        record_id=raw.record_id,
        protocol=spooled.protocol,
        route=spooled.route,
        project_id=spooled.project_id,
        received_at=spooled.received_at,
        reason=reason,
        detail=detail.encode(errors="replace").decode().replace("\0", "\ufffd")[:MAX_DETAIL],
        payload=raw.payload,
    )


def _words(error: Exception) -> str:
    if isinstance(error, DecodeError | BadEncodingError | BodyTooLargeError):
        return str(error)
    return f"the protocol plugin raised {type(error).__name__}: {error}"
