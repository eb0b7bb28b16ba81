"""What the pipeline and its decode worker say to each other: tagged structs as msgpack, and a shared marker.

The worker answers `Ready` once, then for each `Job` any number of `Chunk`s and one `Done`. How they go through the
pipes stands in `pipes.py`.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

import msgspec
from msgspec import Struct, field

from appliance.issues.grouping.result import Grouping
from appliance.model import Batch, JsonObject
from appliance.pipeline.rows import Blob

MARKER_BYTES: Final = 8
_MARKER: Final = struct.Struct("<II")


class Start(Struct, tag=True, kw_only=True):
    """The first frame: how the worker finds its plugins."""

    loader: str  # "package.module:function", called with `options`; returns a `PluginSet`
    options: JsonObject


class Job(Struct, tag=True, kw_only=True):
    """Decode one spool range, or one dead letter."""

    batch_id: bytes  # 16, big-endian: msgpack has no integers of 128 bits
    directory: str  # the spool's; for a dead letter the file
    epoch: int = 0
    segment: int = 0
    start: int = 0
    end: int = 0
    record_id: str = ""  # of a dead letter
    skip: list[int] = field(default_factory=list)  # offsets of records that are dead letters already
    first: int = 0  # only records with first <= index < last: bisection
    last: int = 1 << 31
    careful: bool = False  # one record at a time, so that the marker says which one it was
    max_output: int = 0  # bytes of rows after which to stop and say so; 0 = none


class DeadRecord(Struct, array_like=True):
    """A record that cannot be processed, with its bytes as they were spooled."""

    index: int
    record_id: str
    protocol: str
    route: str
    project_id: int
    received_at: int
    reason: str
    detail: str
    payload: bytes


class Drop(Struct, array_like=True, frozen=True):
    """A line of `drop_counts`."""

    day: int
    project_id: int
    source: str
    reason: str
    category: str
    quantity: int


class ProcessorFailure(Struct, array_like=True):
    """How often a processor raised in a chunk, and the last text."""

    name: str
    times: int
    detail: str


class Chunk(Struct, tag=True, kw_only=True):
    """What some records of the range became. `batch.batch_id` is 0 here: see `Job.batch_id`."""

    batch: Batch
    groupings: dict[int, Grouping]  # by group hash: the first of each in this chunk
    blobs: list[Blob] = field(default_factory=list)
    dead: list[DeadRecord] = field(default_factory=list)
    drops: list[Drop] = field(default_factory=list)
    failures: list[ProcessorFailure] = field(default_factory=list)
    records: int = 0
    bytes: int = 0  # of the records as spooled
    received_min: int = 0  # 0: no record with rows
    received_max: int = 0


class Done(Struct, tag=True, kw_only=True):
    """The job is finished. `end` lies before `Job.end` when `max_output` was reached there."""

    end: int
    records: int  # in the whole range up to `end`, those outside the window included


class Ready(Struct, tag=True, kw_only=True):
    """The worker has its plugins, or cannot have them (`error`)."""

    error: str = ""
    protocols: list[str] = field(default_factory=list)
    processors: list[str] = field(default_factory=list)


Message: TypeAlias = Start | Job | Chunk | Done | Ready
_decoder: Final = msgspec.msgpack.Decoder(Message)
_encoder: Final = msgspec.msgpack.Encoder()


def encode(message: Message) -> bytes:
    """A frame's body.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
        OverflowError: an integer needs more than 64 bits.
    """
    return _encoder.encode(message)


def decode(body: bytes | memoryview) -> Message:
    """Read a frame's body; nothing of it is referred to afterwards.

    Raises:
        msgspec.DecodeError: it is none.
    """
    return _decoder.decode(body)


class Marker:
    """Which record the worker is at, in memory that outlives it: after a crash or a hang the first suspect."""

    def __init__(self, buffer: memoryview) -> None:
        """Args: buffer: at least `MARKER_BYTES`, shared by both processes."""
        self._buffer = buffer

    def set(self, index: int) -> None:
        """The worker begins with a record."""
        _MARKER.pack_into(self._buffer, 0, index, 1)

    def clear(self) -> None:
        """The worker is between records."""
        _MARKER.pack_into(self._buffer, 0, 0, 0)

    def get(self) -> int | None:
        """The index of the record it was at."""
        index, known = _MARKER.unpack_from(self._buffer, 0)
        return index if known else None
